//! Git's smart HTTP as gix asks for it, over the look's [`Network`] instead of gix's own client.

use std::io::{self, BufRead, Cursor, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use gix::protocol::transport::client::blocking_io::http::{
    GetResponse, Http, PostBodyDataKind, PostResponse,
};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Request, Response};
use url::Url;

use super::network::Network;

/// Largest pack that is fetched, in bytes.
pub(super) const PACK_LIMIT: u64 = 256 << 20;
/// Largest answer that lists refs or capabilities, in bytes.
pub(super) const LIST_LIMIT: u64 = 16 << 20;

/// The transport's client for one connection.
pub(super) struct Client {
    pub(super) network: Network,
    /// What gix would ask and is known already: it is asked of nobody.
    pub(super) known: Option<Known>,
}

/// Answers of a server that speaks protocol v2.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// What it can do.
    pub(super) greeting: Bytes,
    /// The refs that matter.
    pub(super) refs: Bytes,
}

type Shared = Arc<Mutex<Exchange>>;

/// One request and its answer. A POST is sent when its answer is first read: its body is complete then.
struct Exchange {
    network: Network,
    request: Option<Request>,
    body: Vec<u8>,
    response: Option<Response>,
    received: u64,
    limit: u64,
    /// The answer to a request for refs, where it is known.
    refs: Option<Bytes>,
    /// What is left of an answer that is known.
    known: Option<Bytes>,
    /// The answer is what the server says of itself.
    greets: bool,
}

impl Exchange {
    /// Sends a request whose answer is not known.
    fn send(&mut self) -> io::Result<()> {
        if is_listing(&self.body)
            && let Some(refs) = self.refs.take()
        {
            (self.request, self.known) = (None, Some(refs));
        }
        if self.known.is_none() {
            self.response()?;
        }
        Ok(())
    }

    fn response(&mut self) -> io::Result<&mut Response> {
        if let Some(mut request) = self.request.take() {
            let body = std::mem::take(&mut self.body);
            if is_listing(&body) {
                self.limit = LIST_LIMIT;
                self.network.note_listing();
            }
            *request.body_mut() = Some(body.into());
            self.response = Some(self.network.send(request)?);
        }
        self.response.as_mut().ok_or_else(|| io::Error::other("the request failed before"))
    }

    fn headers(&mut self) -> io::Result<Vec<u8>> {
        self.send()?;
        if self.known.is_some() {
            let kind = if self.greets { "advertisement" } else { "result" };
            return Ok(format!("content-type:application/x-git-upload-pack-{kind}\n").into_bytes());
        }
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
        self.send()?;
        if let Some(known) = &mut self.known {
            return Ok(std::mem::take(known));
        }
        let (network, limit, mut received) = (self.network.clone(), self.limit, self.received);
        let chunk = network.chunk(self.response()?, &mut received, limit);
        self.received = received;
        if let (true, Ok(chunk)) = (self.greets, &chunk) {
            self.network.note_greeting(chunk);
        }
        chunk
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
        (method, url): (Method, &str),
        limit: u64,
        lines: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<Shared> {
        let mut request = Request::new(method, Url::parse(url).map_err(gix::Error::from_error)?);
        for line in lines {
            let parts = line.as_ref().split_once(':');
            let parts = parts.and_then(|(name, value)| {
                Some((name.parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?))
            });
            request.headers_mut().extend(parts);
        }
        Ok(Arc::new(Mutex::new(Exchange {
            network: self.network.clone(),
            request: Some(request),
            body: Vec::new(),
            response: None,
            received: 0,
            limit,
            refs: self.known.as_ref().map(|known| known.refs.clone()),
            known: None,
            greets: false,
        })))
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
        let exchange = self.exchange((Method::GET, url), LIST_LIMIT, headers)?;
        let mut greeting = locked(&exchange);
        greeting.greets = true;
        greeting.known = self.known.as_ref().map(|known| known.greeting.clone());
        greeting.send().map_err(gix::Error::from_error)?;
        drop(greeting);
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
        let exchange = self.exchange((Method::POST, url), PACK_LIMIT, headers)?;
        let (headers, body) = answer(&exchange);
        Ok(PostResponse { post_body: PostBody(exchange), headers, body })
    }

    fn configure(&mut self, _config: &dyn std::any::Any) -> gix::Result {
        Ok(())
    }
}
