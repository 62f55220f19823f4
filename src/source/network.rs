//! The network as one look may use it: the clients that all sources share, a deadline, a cap on bytes, a way to be stopped, no redirects
//! at all, and errors that say which status came.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::{
    ACCEPT, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Request, Response, StatusCode};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::auth::{AuthError, Clients, Pass};
use super::error::GitError;
use super::report::LookStats;
use crate::config::Access;

/// How long one look may take.
pub(super) const LOOK_DEADLINE: Duration = Duration::from_mins(1);
/// How long a server may take for what it answers from memory; with more, gix gets what is left of the look.
const SHORT_DEADLINE: Duration = Duration::from_secs(15);
/// The longest that a server is left alone for its asking.
const QUIET_LIMIT: u64 = 3_600;
/// Longest greeting that is kept, in bytes: that of protocol v2 is some 200, an older one lists all refs.
const GREETING_LIMIT: usize = 16 << 10;

/// The network as one look may use it. What is async belongs on the runtime, the rest on a thread where gix may block.
#[derive(Debug, Clone)]
pub(super) struct Network {
    clients: Clients,
    pass: Option<Arc<Pass>>,
    runtime: tokio::runtime::Handle,
    until: Instant,
    stop: CancellationToken,
    /// Set when the deadline passes or the daemon stops: gix asks it while it unpacks.
    pub(super) interrupt: Arc<AtomicBool>,
    /// Packs received so far.
    pub(super) fetches: u64,
    told: Arc<Mutex<Told>>,
}

/// What the requests tell past gix, whose errors would lose it.
#[derive(Debug, Default)]
struct Told {
    requests: u64,
    bytes: u64,
    lists: bool,
    greeting: Vec<u8>,
    error: Option<GitError>,
    spent: Option<Duration>,
}

impl Network {
    /// Grants a look its time. Must be called within a runtime.
    pub(super) fn new(clients: Clients, stop: CancellationToken) -> Self {
        Self {
            clients,
            pass: None,
            runtime: tokio::runtime::Handle::current(),
            until: Instant::now() + LOOK_DEADLINE,
            stop,
            interrupt: Arc::default(),
            fetches: 0,
            told: Arc::default(),
        }
    }

    /// Reads anew what a source proves itself with; the requests from now on are its own.
    pub(super) async fn authorize(&mut self, url: &Url, access: &Access) -> Result<(), GitError> {
        self.pass = None;
        let pass = self.within(SHORT_DEADLINE, self.clients.pass(url, access)).await?;
        self.pass = Some(Arc::new(pass));
        Ok(())
    }

    /// As [`Self::authorize`], on gix's thread.
    pub(super) fn authorize_blocking(&mut self, url: &Url, access: &Access) -> Result<(), GitError> {
        let runtime = self.runtime.clone();
        runtime.block_on(self.authorize(url, access))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what was sent and received so far.
    pub(super) fn count_into(&self, stats: &mut LookStats) {
        let told = self.told();
        (stats.requests, stats.fetches, stats.bytes) = (told.requests, self.fetches, told.bytes);
    }

    /// Notes a request that is none of HTTP.
    pub(super) fn note_request(&self) {
        self.told().requests += 1;
    }

    /// How long the server may not be asked any more, as the last answer said.
    pub(super) fn spent(&self) -> Option<Duration> {
        self.told().spent
    }

    /// Tells whether gix found that the server lists refs by protocol v2.
    pub(super) fn lists(&self) -> bool {
        self.told().lists
    }

    /// Notes that gix asks the server for refs by protocol v2.
    pub(super) fn note_listing(&self) {
        self.told().lists = true;
    }

    /// Returns what the server said of itself in this look; nothing where gix did not ask it.
    pub(super) fn greeting(&self) -> Vec<u8> {
        self.told().greeting.clone()
    }

    /// Notes what the server says of itself.
    pub(super) fn note_greeting(&self, part: &[u8]) {
        let greeting = &mut self.told().greeting;
        if greeting.len() + part.len() <= GREETING_LIMIT {
            greeting.extend_from_slice(part);
        }
    }

    /// Returns what went wrong in the transport, else what gix says.
    pub(super) fn error(&self, from_gix: gix::Error) -> GitError {
        let told = self.told().error.take();
        told.unwrap_or_else(|| GitError::Fetch(from_gix.into()))
    }

    /// Notes an error that gix would lose.
    pub(super) fn fail(&self, error: GitError) -> io::Error {
        let text = error.to_string();
        self.told().error.get_or_insert(error);
        io::Error::other(text)
    }

    /// Waits for something until the deadline or the end of the daemon.
    async fn within<T>(
        &self,
        within: Duration,
        answer: impl Future<Output = Result<T, GitError>>,
    ) -> Result<T, GitError> {
        #[cfg(test)]
        let _held = hold_time();
        let until = self.until.min(Instant::now() + within);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(GitError::Stopped),
            () = tokio::time::sleep_until(until) => Err(GitError::TimedOut(within)),
            answer = answer => answer,
        }
    }

    /// As [`Self::within`], on gix's thread.
    pub(super) fn wait<T>(
        &self,
        within: Duration,
        answer: impl Future<Output = Result<T, GitError>>,
    ) -> Result<T, GitError> {
        self.runtime.block_on(self.within(within, answer))
    }

    /// Sends gix's request.
    pub(super) fn send(&self, request: Request) -> io::Result<Response> {
        self.wait(LOOK_DEADLINE, self.answer(request)).map_err(|error| self.fail(error))
    }

    /// Receives more of the answer to gix's request, of which no more than `limit` bytes are taken; nothing at its end.
    pub(super) fn chunk(
        &self,
        response: &mut Response,
        received: &mut u64,
        limit: u64,
    ) -> io::Result<bytes::Bytes> {
        let chunk = async {
            let chunk = response.chunk().await.map_err(unreachable)?.unwrap_or_default();
            self.count(received, chunk.len(), limit).map(|()| chunk)
        };
        self.wait(LOOK_DEADLINE, chunk).map_err(|error| self.fail(error))
    }

    /// Sends one command of protocol v2 past gix and returns the whole answer, of which no more than `limit` bytes are taken.
    pub(super) async fn command(&self, url: Url, body: Vec<u8>, limit: u64) -> Result<Vec<u8>, GitError> {
        const ANSWER: &str = "application/x-git-upload-pack-result";
        let mut request = Request::new(Method::POST, url);
        *request.headers_mut() = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/x-git-upload-pack-request")),
            (ACCEPT, HeaderValue::from_static(ANSWER)),
            (HeaderName::from_static("git-protocol"), HeaderValue::from_static("version=2")),
        ]);
        *request.body_mut() = Some(body.into());
        let whole = async {
            let mut response = self.answer(request).await?;
            if response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != ANSWER) {
                return Err(GitError::Fetch("the answer is none of Git's".into()));
            }
            let (mut answer, mut received) = (Vec::new(), 0);
            while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
                self.count(&mut received, chunk.len(), limit)?;
                answer.extend_from_slice(&chunk);
            }
            Ok(answer)
        };
        self.within(SHORT_DEADLINE, whole).await
    }

    /// Sends a request; what is no success is an error. A token that is refused and can be renewed is, once.
    async fn answer(&self, request: Request) -> Result<Response, GitError> {
        let pass = self.pass.as_ref().ok_or_else(|| GitError::Fetch("no repository was named".into()))?;
        let again = request.try_clone();
        let mut response = self.once(pass, request).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(again) = again
            && pass.renew().await?
        {
            response = self.once(pass, again).await?;
        }
        if response.status().is_success() {
            self.told().spent = super::poll::spent(response.headers());
            return Ok(response);
        }
        Err(refused(response.status().as_u16(), response.headers(), pass.proves()))
    }

    async fn once(&self, pass: &Pass, request: Request) -> Result<Response, GitError> {
        self.told().requests += 1;
        pass.send(request).await.map_err(unreachable)
    }

    /// Counts bytes that were received, of which there may be no more than `limit`.
    pub(super) fn count(&self, received: &mut u64, chunk: usize, limit: u64) -> Result<(), GitError> {
        *received += chunk as u64;
        self.told().bytes += chunk as u64;
        if *received <= limit {
            return Ok(());
        }
        let size = format!("more than {received} bytes");
        let limit = format!("{limit} bytes");
        Err(GitError::TooLarge { what: "the repository's answer".to_owned(), size, limit })
    }
}

pub(super) fn unreachable(error: reqwest::Error) -> GitError {
    GitError::Unreachable(error.without_url().into())
}

/// Turns a status that is no success into its error.
pub(super) fn refused(status: u16, headers: &HeaderMap, authorized: bool) -> GitError {
    let after = retry_after(headers).or_else(|| super::poll::spent(headers));
    match status {
        401 if authorized => GitError::Unauthorized("it does not take these credentials"),
        401 => GitError::Unauthorized("it wants credentials: write credentials.token_file"),
        429 => GitError::Throttled { status, after },
        // GitHub answers 403 to those who ask too often, and then says for how long.
        403 | 503 if after.is_some() => GitError::Throttled { status, after },
        403 => GitError::Forbidden,
        407 => GitError::Auth(AuthError::ProxyRefuses),
        404 | 410 => GitError::NotFound,
        300..=399 => GitError::Redirected { status, to: target(text(headers, &LOCATION)) },
        status => GitError::Status(status),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads `Retry-After` (RFC 9110, 10.2.3): seconds, or a date, which is held against the server's own clock. At most an hour.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let written = text(headers, &RETRY_AFTER)?.trim();
    if !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(written.parse().unwrap_or(QUIET_LIMIT).min(QUIET_LIMIT)));
    }
    let date = |text: &str| rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok();
    let (then, now) = (date(written)?, date(text(headers, &DATE)?.trim())?);
    let seconds = then.as_second().saturating_sub(now.as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(QUIET_LIMIT)))
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

/// Keeps a test's paused time from running on, as it does when nothing but the network is waited for, until the answer is dropped.
#[cfg(test)]
fn hold_time() -> std::sync::mpsc::Sender<()> {
    let (held, ended) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || ended.recv());
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_an_hour() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (written, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("86400", Some(3_600)),
            ("99999999999999999999999", Some(3_600)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("Sun, 06 Nov 2094 08:49:07 GMT", Some(3_600)),
            ("", None),
            ("-1", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, written.parse().unwrap());
            headers.insert(DATE, date.parse().unwrap());
            assert_eq!(retry_after(&headers), seconds.map(Duration::from_secs), "{written:?}");
        }
        let headers = HeaderMap::from_iter([(RETRY_AFTER, date.parse().unwrap())]);
        assert_eq!(retry_after(&headers), None, "a date of a server that does not tell the time");
    }

    #[test]
    fn a_status_says_what_is_wrong() {
        let later = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
        let none_left = HeaderMap::from_iter([
            (HeaderName::from_static("x-ratelimit-remaining"), HeaderValue::from_static("0")),
            (HeaderName::from_static("x-ratelimit-reset"), HeaderValue::from_static("60")),
        ]);
        for (status, headers, expected) in [
            (401, &later, "401: it wants credentials"),
            (403, &HeaderMap::new(), "may not read it"),
            (403, &later, "left alone for a while (403)"),
            (403, &none_left, "left alone for a while (403)"),
            (404, &later, "no repository"),
            (429, &HeaderMap::new(), "left alone for a while (429)"),
            (503, &HeaderMap::new(), "answers 503"),
            (503, &later, "left alone for a while (503)"),
            (302, &later, "sends us to another place"),
        ] {
            let sentence = refused(status, headers, false).sentence();
            assert!(sentence.contains(expected), "{status}: {sentence}");
        }
    }
}
