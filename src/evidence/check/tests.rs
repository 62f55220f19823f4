//! One check against pods that answer as pods do: well, badly, not in HTTP, without end, over TLS, and through an API server.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tower::service_fn;

use super::*;
use crate::model::samples::Track;

/// A self-signed certificate for nobody in particular, made for this test: nothing verifies it.
const CERTIFICATE: &str = "MIIBcjCCARegAwIBAgIUTlBPsU5+mfCLO6ALYEpyxeUmcREwCgYIKoZIzj0EAwIwDjEMMAoGA1UEAwwDcG9kMB4XDTI2MTEyMTA4NTkxNFoXDTM2MTExODA4NTkxNFowDjEMMAoGA1UEAwwDcG9kMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAETVooSftus9R2pBJcQpgvPbf5UMwmlEtH9Ou0QZke+xrAxhh1u92ywJewSxBe0EACYNQlCotj9eNiU40h3CcY2qNTMFEwHQYDVR0OBBYEFLkFgvMOe7GKBz9zALtjfgxASRDSMB8GA1UdIwQYMBaAFLkFgvMOe7GKBz9zALtjfgxASRDSMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAJkeyls1EaBBJvU2EkpSFPkN/IDfdbQv1jLhbfQ86RRbAiEA/CixqcNCvcB/+POvq5eeiOWt9yeOrV0Gvq39pfO2ZbE=";
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/U2fqTg7zNIZ2B5bvjUBoWxfaAoXNF1NTpwGTe8kEgKhRANCAARNWihJ+26z1HakElxCmC89t/lQzCaUS0f067RBmR77GsDGGHW73bLAl7BLEF7QQAJg1CUKi2P142JTjSHcJxja";

const OK: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

fn pod(ip: &str) -> Target {
    Target {
        uid: "uid".into(),
        namespace: "shop".into(),
        name: "web-1".into(),
        ip: ip.into(),
        track: Track::Candidate,
        ready_since: Timestamp::UNIX_EPOCH,
    }
}

fn health(kind: CheckKind, port: u16) -> HealthCheck {
    HealthCheck {
        kind,
        port,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        threshold: 3,
        success_threshold: 1,
        initial_delay: Duration::ZERO,
    }
}

fn http(tls: bool) -> CheckKind {
    CheckKind::Http { path: "/healthz?deep=1".into(), tls, status: vec![(200, 299), (418, 418)] }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Answers one connection with these bytes, again and again while `endless`, once the request was read.
fn once(answer: &'static [u8], endless: bool) -> SocketAddr {
    let (listener, address) = listen();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        while stream.write_all(answer).is_ok() && endless {}
    });
    address
}

async fn clause(way: &Way, kind: CheckKind, port: u16) -> Result<(), String> {
    let dialer = Dialer::new().unwrap();
    check(&dialer, way, &pod("127.0.0.1"), &health(kind, port)).await.map_err(|error| error.clause())
}

#[tokio::test]
async fn answers_of_all_kinds() {
    let cases: [(&[u8], Result<(), &str>); 6] = [
        (OK, Ok(())),
        (b"HTTP/1.1 418 I'm a teapot\r\ncontent-length: 0\r\n\r\n", Ok(())),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n", Err("HTTP 302")),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Err("HTTP 503")),
        (b"", Err("no HTTP answer")),
        (b"220 mail.test ESMTP\r\n", Err("no HTTP answer")),
    ];
    for (answer, expected) in cases {
        let got = clause(&Way::Direct, http(false), once(answer, false).port()).await;
        let fits = match (&got, expected) {
            (Ok(()), Ok(())) => true,
            (Err(got), Err(expected)) => got.starts_with(expected),
            _ => false,
        };
        assert!(fits, "{:?}: {got:?}", String::from_utf8_lossy(answer));
    }
    assert_eq!(clause(&Way::Direct, CheckKind::Tcp, once(b"", false).port()).await, Ok(()));
    assert_eq!(clause(&Way::Direct, CheckKind::None, 1).await, Ok(()));
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let began = Instant::now();
    let port = once(b"HTTP/1.1 200 OK\r\n\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", true).port();
    assert_eq!(clause(&Way::Direct, http(false), port).await, Ok(()));
    assert!(began.elapsed() < Duration::from_secs(2));
    let port =
        once(b"HTTP/1.1 200 OK\r\nx: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n", true).port();
    let refused = clause(&Way::Direct, http(false), port).await.unwrap_err();
    assert!(refused.starts_with("no HTTP answer"), "{refused}");
}

/// Serves one TLS connection with the certificate above.
fn serve_tls() -> SocketAddr {
    let certificate = CertificateDer::from(STANDARD.decode(CERTIFICATE).unwrap());
    let key = PrivatePkcs8KeyDer::from(STANDARD.decode(KEY).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let (listener, address) = listen();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut tls = rustls::StreamOwned::new(connection, stream);
        let _ = tls.read(&mut [0; 4096]);
        let _ = tls.write_all(OK).and_then(|()| tls.flush());
    });
    address
}

#[tokio::test]
async fn https_without_a_known_certificate() {
    assert_eq!(clause(&Way::Direct, http(true), serve_tls().port()).await, Ok(()));
    let refused = clause(&Way::Direct, http(true), once(OK, false).port()).await.unwrap_err();
    assert!(refused.starts_with("no HTTPS answer"), "{refused}");
    let (listener, address) = listen();
    drop(listener);
    assert_eq!(clause(&Way::Direct, http(true), address.port()).await, Err("connection refused".into()));
}

/// An API server that proxies, or answers itself.
fn api_server(status: u16, body: &'static str) -> Way {
    let service = service_fn(move |request: Request<kube::client::Body>| async move {
        let uri = request.uri().to_string();
        let proxied = "/api/v1/namespaces/shop/pods/http:web-1:8080/proxy/";
        assert!(uri == format!("{proxied}healthz?deep=1") || uri == proxied, "{uri}");
        let response = Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap();
        Ok::<_, Infallible>(response)
    });
    Way::Proxy(kube::Client::new(service, "default"))
}

#[tokio::test]
async fn the_pod_proxy_tells_the_pods_answer_from_its_own() {
    const OWN: &str = r#"{"kind":"Status","apiVersion":"v1","message":"error trying to reach service: EOF"}"#;
    let own = "API server: HTTP 503 error trying to reach service: EOF";
    for (status, body, kind, expected) in [
        (200, "fine", http(false), Ok(())),
        (503, "overloaded", http(false), Err("HTTP 503")),
        (503, OWN, http(false), Err(own)),
        (503, "overloaded", CheckKind::Tcp, Ok(())),
        (503, OWN, CheckKind::Tcp, Err(own)),
    ] {
        let got = clause(&api_server(status, body), kind, 8080).await;
        assert_eq!(got, expected.map_err(str::to_owned), "{status} {body}");
    }
}
