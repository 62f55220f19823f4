//! Git's smart HTTP over one pooled client, with what gix's own does not have: a deadline, a cap on bytes, a way to be stopped, no
//! redirects at all, and errors that say which status came. Credentials are a header of requests to the configured address and stand
//! in no address, log or error.

use std::io::{self, BufRead, Cursor, Read, Write};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use bytes::{Buf, Bytes};
use gix::protocol::transport::client::blocking_io::http::{
    GetResponse, Http, PostBodyDataKind, PostResponse,
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::GitError;
use crate::config::{Credentials, Secret};

/// How long one look may take.
pub(super) const LOOK_DEADLINE: Duration = Duration::from_mins(1);
/// Largest pack that is fetched, in bytes.
const PACK_LIMIT: u64 = 256 << 20;
/// Largest answer that lists refs or capabilities, in bytes.
const LIST_LIMIT: u64 = 16 << 20;

/// The network as one look may use it.
#[derive(Debug, Clone)]
pub(super) struct Network {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
    until: Instant,
    stop: CancellationToken,
    authorization: Option<Secret>,
    /// Set when the deadline passes or the daemon stops: gix asks it while it unpacks.
    pub(super) interrupt: Arc<AtomicBool>,
    /// Packs received so far.
    pub(super) fetches: u64,
    told: Arc<Mutex<Told>>,
}

/// What the transport tells past gix, whose errors would lose it.
#[derive(Debug, Default)]
struct Told {
    bytes: u64,
    error: Option<GitError>,
}

/// Makes the client that all sources share.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30))
        .user_agent(concat!("git/idp-", env!("CARGO_PKG_VERSION")))
        .build()
}

impl Network {
    /// Grants a look its time. Must be called within a runtime, used outside of it.
    pub(super) fn new(client: reqwest::Client, stop: CancellationToken) -> Self {
        Self {
            client,
            runtime: tokio::runtime::Handle::current(),
            until: Instant::now() + LOOK_DEADLINE,
            stop,
            authorization: None,
            interrupt: Arc::default(),
            fetches: 0,
            told: Arc::default(),
        }
    }

    /// Reads the credentials anew and sends them with each request from now on.
    pub(super) fn authorize(&mut self, credentials: Option<&Credentials>) -> Result<(), GitError> {
        self.authorization = None;
        if let Some(Credentials { username, secret }) = credentials {
            let secret = secret.read().map_err(GitError::Secret)?;
            let pair = format!("{username}:{}", secret.expose());
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            self.authorization = Some(Secret::new(format!("Basic {encoded}")));
        }
        Ok(())
    }

    /// Bytes of bodies received so far.
    pub(super) fn bytes(&self) -> u64 {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Returns what went wrong in the transport, else what gix says.
    pub(super) fn error(&self, from_gix: gix::Error) -> GitError {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).error.take();
        told.unwrap_or_else(|| GitError::Fetch(from_gix.into()))
    }

    fn fail(&self, error: GitError) -> io::Error {
        let text = error.to_string();
        self.told.lock().unwrap_or_else(PoisonError::into_inner).error.get_or_insert(error);
        io::Error::other(text)
    }

    /// Waits for an answer until the deadline or the end of the daemon.
    fn wait<T>(&self, answer: impl Future<Output = Result<T, reqwest::Error>>) -> io::Result<T> {
        let outcome = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(GitError::Stopped),
                () = tokio::time::sleep_until(self.until) => Err(GitError::TimedOut(LOOK_DEADLINE)),
                answer = answer => answer.map_err(|error| GitError::Unreachable(error.without_url().into())),
            }
        });
        outcome.map_err(|error| self.fail(error))
    }

    fn count(&self, received: &mut u64, chunk: usize, limit: u64) -> io::Result<()> {
        *received += chunk as u64;
        self.told.lock().unwrap_or_else(PoisonError::into_inner).bytes += chunk as u64;
        if *received <= limit {
            return Ok(());
        }
        let size = format!("more than {received} bytes");
        let limit = format!("{limit} bytes");
        Err(self.fail(GitError::TooLarge { what: "the repository's answer".to_owned(), size, limit }))
    }

    /// Turns every status but success into its error.
    fn check(&self, response: &reqwest::Response) -> io::Result<()> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let after = header(reqwest::header::RETRY_AFTER).and_then(|text| text.trim().parse::<u64>().ok());
        let after = after.map(|seconds| Duration::from_secs(seconds.min(3_600)));
        let error = match status.as_u16() {
            401 if self.authorization.is_some() => {
                GitError::Unauthorized("it does not take these credentials")
            }
            401 => GitError::Unauthorized("it wants credentials: write credentials.token_file"),
            403 => GitError::Forbidden,
            404 | 410 => GitError::NotFound,
            status @ 429 => GitError::Throttled { status, after },
            status @ 503 if after.is_some() => GitError::Throttled { status, after },
            status @ 300..=399 => {
                GitError::Redirected { status, to: target(header(reqwest::header::LOCATION)) }
            }
            status => GitError::Status(status),
        };
        Err(self.fail(error))
    }
}

/// Returns a redirect's target without credentials, query and fragment.
fn target(location: Option<&str>) -> String {
    let shown = |text: &str| {
        let mut url = url::Url::parse(text).ok()?;
        url.set_username("").ok();
        url.set_password(None).ok();
        url.set_query(None);
        url.set_fragment(None);
        Some(url.to_string())
    };
    let text = location.and_then(shown).unwrap_or_else(|| "another place".to_owned());
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// The transport's client for one connection.
pub(super) struct Client(pub(super) Network);

type Shared = Arc<Mutex<Exchange>>;

/// One request and its answer. A POST is sent when its answer is first read: its body is complete then.
struct Exchange {
    network: Network,
    request: Option<reqwest::RequestBuilder>,
    body: Vec<u8>,
    response: Option<reqwest::Response>,
    received: u64,
    limit: u64,
}

impl Exchange {
    fn response(&mut self) -> io::Result<&mut reqwest::Response> {
        if let Some(request) = self.request.take() {
            let body = std::mem::take(&mut self.body);
            if is_listing(&body) {
                self.limit = LIST_LIMIT;
            }
            let response = self.network.wait(request.body(body).send())?;
            self.network.check(&response)?;
            self.response = Some(response);
        }
        self.response.as_mut().ok_or_else(|| io::Error::other("the request failed before"))
    }

    fn headers(&mut self) -> io::Result<Vec<u8>> {
        let mut lines = Vec::new();
        for (name, value) in self.response()?.headers() {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.push(b':');
            lines.extend_from_slice(value.as_bytes());
            lines.push(b'\n');
        }
        Ok(lines)
    }

    fn chunk(&mut self) -> io::Result<Bytes> {
        let network = self.network.clone();
        let limit = self.limit;
        let chunk = network.wait(self.response()?.chunk())?.unwrap_or_default();
        network.count(&mut self.received, chunk.len(), limit)?;
        Ok(chunk)
    }
}

/// Tells whether a protocol v2 request asks for refs: its first line says so after four digits of length.
fn is_listing(body: &[u8]) -> bool {
    body.get(4..).is_some_and(|rest| rest.starts_with(b"command=ls-refs"))
}

fn locked(exchange: &Shared) -> std::sync::MutexGuard<'_, Exchange> {
    exchange.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer's headers, line by line.
pub(super) struct HeaderLines {
    exchange: Shared,
    lines: Option<Cursor<Vec<u8>>>,
}

impl BufRead for HeaderLines {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let lines = match self.lines.take() {
            Some(lines) => lines,
            None => Cursor::new(locked(&self.exchange).headers()?),
        };
        self.lines.insert(lines).fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(lines) = &mut self.lines {
            lines.consume(amount);
        }
    }
}

impl Read for HeaderLines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read(self, buffer)
    }
}

/// The answer's body.
pub(super) struct Body {
    exchange: Shared,
    chunk: Bytes,
    ended: bool,
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() && !self.ended {
            self.chunk = locked(&self.exchange).chunk()?;
            self.ended = self.chunk.is_empty();
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount.min(self.chunk.len()));
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read(self, buffer)
    }
}

fn read(from: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let count = from.fill_buf()?.read(buffer)?;
    from.consume(count);
    Ok(count)
}

/// The request's body: what gix writes here is sent as one.
pub(super) struct PostBody(Shared);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        locked(&self.0).body.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Client {
    fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        limit: u64,
        lines: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Shared {
        let mut headers = HeaderMap::new();
        for line in lines {
            let parts = line.as_ref().split_once(':');
            let parts = parts.and_then(|(name, value)| {
                Some((name.parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
            });
            headers.extend(parts);
        }
        let authorization = self.0.authorization.as_ref();
        if let Some(mut value) = authorization.and_then(|secret| secret.expose().parse::<HeaderValue>().ok())
        {
            value.set_sensitive(true);
            headers.insert(reqwest::header::AUTHORIZATION, value);
        }
        let request = Some(request.headers(headers));
        let network = self.0.clone();
        Arc::new(Mutex::new(Exchange {
            network,
            request,
            body: Vec::new(),
            response: None,
            received: 0,
            limit,
        }))
    }
}

fn answer(exchange: &Shared) -> (HeaderLines, Body) {
    let headers = HeaderLines { exchange: exchange.clone(), lines: None };
    (headers, Body { exchange: exchange.clone(), chunk: Bytes::new(), ended: false })
}

impl Http for Client {
    type Headers = HeaderLines;
    type ResponseBody = Body;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<HeaderLines, Body>> {
        let exchange = self.exchange(self.0.client.get(url), LIST_LIMIT, headers);
        locked(&exchange).response().map_err(gix::Error::from_error)?;
        let (headers, body) = answer(&exchange);
        Ok(GetResponse { headers, body })
    }

    fn post(
        &mut self,
        url: &str,
        _base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _body: PostBodyDataKind,
    ) -> gix::Result<PostResponse<HeaderLines, Body, PostBody>> {
        let exchange = self.exchange(self.0.client.post(url), PACK_LIMIT, headers);
        let (headers, body) = answer(&exchange);
        Ok(PostResponse { post_body: PostBody(exchange), headers, body })
    }

    fn configure(&mut self, _config: &dyn std::any::Any) -> gix::Result {
        Ok(())
    }
}
