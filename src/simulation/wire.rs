//! A connection without a socket: what is written is read as one HTTP/1.1 request, and its answer can be read at once, or never.

use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a request that are read at most.
const REQUEST: usize = 64 << 10;

type Answer = Box<dyn FnOnce(&str) -> Option<(u16, String)> + Send>;

/// See the module.
pub(super) struct Wire {
    answer: Option<Answer>,
    request: Vec<u8>,
    reply: Vec<u8>,
    /// Bytes of the reply that were read.
    sent: usize,
    /// The reply is all there is: after it the connection ends.
    ended: bool,
    reader: Option<Waker>,
}

impl Wire {
    /// A fresh connection to a program that answers a path with a status and a body; with `None` it never answers.
    pub(super) fn new(answer: impl FnOnce(&str) -> Option<(u16, String)> + Send + 'static) -> Self {
        Self {
            answer: Some(Box::new(answer)),
            request: Vec::new(),
            reply: Vec::new(),
            sent: 0,
            ended: false,
            reader: None,
        }
    }

    fn take(&mut self) {
        let whole = self.request.windows(4).any(|window| window == b"\r\n\r\n");
        if !whole {
            return;
        }
        let Some(answer) = self.answer.take() else { return };
        let head = String::from_utf8_lossy(&self.request);
        let path = head.split(' ').nth(1).unwrap_or("/");
        if let Some((code, body)) = answer(path.split('?').next().unwrap_or("/")) {
            let mut reply = String::with_capacity(body.len() + 120);
            // Writing to a string does not fail.
            let _ = write!(
                reply,
                "HTTP/1.1 {code} -\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            self.reply = reply.into_bytes();
            self.ended = true;
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.request.len() + bytes.len() > REQUEST {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        }
        self.request.extend_from_slice(bytes);
        self.take();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = this.reply.get(this.sent..).unwrap_or_default();
        if left.is_empty() && !this.ended {
            this.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let part = left.get(..left.len().min(into.remaining())).unwrap_or_default();
        into.put_slice(part);
        this.sent += part.len();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_in_pieces_is_answered_once_it_is_whole() {
        let mut wire = Wire::new(|path| Some((200, format!("at {path}"))));
        wire.write_all(b"GET /metrics?a=1 HTTP/1.1\r\nhost: a\r\n").await.unwrap();
        assert!(wire.reply.is_empty());
        wire.write_all(b"\r\n").await.unwrap();
        let mut text = String::new();
        wire.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 -\r\n") && text.ends_with("\r\n\r\nat /metrics"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_gives_nothing_and_does_not_end() {
        let mut wire = Wire::new(|_| None);
        wire.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let read = wire.read_u8();
        let late = tokio::time::timeout(std::time::Duration::from_secs(5), read).await;
        assert!(late.is_err());
    }
}
