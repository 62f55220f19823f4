//! For tests: the API of a forge that gives tokens to a GitHub App, a front that speaks TLS, and a proxy.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::source::forge::{Forge, basic};

/// Returns a private key in PEM: PKCS#8, then PKCS#1.
pub(in crate::source) fn pems(key: &KeyPair) -> [String; 2] {
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(key).unwrap();
    let pem = |kind: &str, der: &[u8]| {
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", STANDARD.encode(der))
    };
    // PKCS#8 of an RSA key is 26 bytes that say so, and then PKCS#1.
    [pem("PRIVATE KEY", der.as_ref()), pem("RSA PRIVATE KEY", &der.as_ref()[26..])]
}

/// Asserts that a signature is of a key.
pub(in crate::source) fn verify(key: &KeyPair, message: &str, signature: &[u8]) {
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    public.verify(message.as_bytes(), signature).unwrap();
}

/// The API of a forge with one App, whose tokens a [`Forge`] takes.
#[derive(Clone)]
pub(in crate::source) struct AppApi {
    key: Arc<Mutex<KeyPair>>,
    forge: Forge,
    /// How long tokens last, in seconds.
    pub(in crate::source) lasts: Arc<AtomicI64>,
    /// The status of every answer.
    pub(in crate::source) status: Arc<AtomicU16>,
    /// Tokens that were given.
    given: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    address: std::net::SocketAddr,
}

/// How each token begins.
pub(in crate::source) const APP_TOKEN: &str = "ghs_canary_app_token_";

impl AppApi {
    pub(in crate::source) async fn start(forge: &Forge) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self {
            key: Arc::new(Mutex::new(KeyPair::generate(KeySize::Rsa2048).unwrap())),
            forge: forge.clone(),
            lasts: Arc::new(AtomicI64::new(3_600)),
            status: Arc::new(AtomicU16::new(201)),
            given: Arc::default(),
            asked: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let router = Router::new().fallback(serve).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    /// Writes the App's key and returns the fields of its credentials.
    pub(in crate::source) fn credentials(&self, folder: &Path) -> String {
        let file = folder.join("app.pem");
        let [_, pem] = pems(&self.key.lock().unwrap());
        std::fs::write(&file, pem).unwrap();
        let (url, file) = (format!("http://{}/api/v3", self.address), file.display());
        let fields = format!("private_key_file: {file}, api_url: \"{url}\"");
        format!("credentials: {{github_app: {{app_id: 12, installation_id: 34, {fields}}}}}")
    }

    /// Makes the App a new key; the old one proves nothing any more.
    pub(in crate::source) fn rotate(&self) {
        *self.key.lock().unwrap() = KeyPair::generate(KeySize::Rsa2048).unwrap();
    }

    pub(in crate::source) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn serve(State(api): State<AppApi>, request: Request) -> Response {
    api.asked.fetch_add(1, Ordering::SeqCst);
    let status = api.status.load(Ordering::SeqCst);
    if status != 201 {
        return (StatusCode::from_u16(status).unwrap(), "no").into_response();
    }
    assert_eq!(request.uri().path(), "/api/v3/app/installations/34/access_tokens");
    assert_eq!(request.headers()["accept"], "application/vnd.github+json");
    let token = request.headers()["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let key = api.key.lock().unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref().to_vec());
    if public.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).is_err() {
        return (StatusCode::UNAUTHORIZED, "no").into_response();
    }
    let number = api.given.fetch_add(1, Ordering::SeqCst) + 1;
    let token = format!("{APP_TOKEN}{number}");
    api.forge.take(&basic("x-access-token", &token));
    let ends = crate::source::now() + SignedDuration::from_secs(api.lasts.load(Ordering::SeqCst));
    let body = serde_json::json!({"token": token, "expires_at": ends.to_string()});
    (StatusCode::CREATED, axum::Json(body)).into_response()
}

/// An authority and a server that speaks TLS with a certificate of it before another one.
pub(in crate::source) struct Tls {
    /// The authority's certificate in PEM.
    pub(in crate::source) ca: String,
    pub(in crate::source) address: std::net::SocketAddr,
    /// Connections that were taken.
    pub(in crate::source) connections: Arc<AtomicUsize>,
}

impl Tls {
    pub(in crate::source) async fn before(target: std::net::SocketAddr) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = CertificateParams::new(["127.0.0.1".to_owned(), "git.internal".to_owned()]).unwrap();
        let leaf = names.signed_by(&key, &issuer).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, count) = (acceptor.clone(), count.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    count.fetch_add(1, Ordering::SeqCst);
                    let mut target = TcpStream::connect(target).await.unwrap();
                    copy_bidirectional(&mut stream, &mut target).await.ok();
                });
            }
        });
        Self { ca: issuer.pem(), address, connections }
    }
}

/// The first line and the `Proxy-Authorization` of each connection.
type Seen = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A proxy that resolves every name to one server.
pub(in crate::source) struct Proxy {
    pub(in crate::source) address: std::net::SocketAddr,
    seen: Seen,
    /// What it wants there.
    wants: Arc<Mutex<Option<String>>>,
}

impl Proxy {
    pub(in crate::source) async fn to(target: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, wants) = (Seen::default(), Arc::<Mutex<Option<String>>>::default());
        let (notes, wanted) = (seen.clone(), wants.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(stream, target, notes.clone(), wanted.clone()));
            }
        });
        Self { address, seen, wants }
    }

    /// Wants a password from now on.
    pub(in crate::source) fn want(&self, username: &str, password: &str) {
        *self.wants.lock().unwrap() = Some(basic(username, password));
    }

    /// Returns what it has seen since the last call.
    pub(in crate::source) fn seen(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn pass_on(
    mut stream: TcpStream,
    target: std::net::SocketAddr,
    notes: Seen,
    wanted: Arc<Mutex<Option<String>>>,
) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or_default() == 0 {
            return;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let first = text.lines().next().unwrap().to_owned();
    let given = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
    });
    let is_welcome = wanted.lock().unwrap().as_ref().is_none_or(|wanted| given.as_ref() == Some(wanted));
    notes.lock().unwrap().push((first.clone(), given));
    if !is_welcome {
        let answer =
            "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.ok();
        return;
    }
    let mut target = TcpStream::connect(target).await.unwrap();
    if first.starts_with("CONNECT ") {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    } else {
        target.write_all(&head).await.unwrap();
    }
    copy_bidirectional(&mut stream, &mut target).await.ok();
}
