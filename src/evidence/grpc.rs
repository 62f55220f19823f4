//! A health check over gRPC: `grpc.health.v1.Health/Check` of the whole server, by HTTP/2 without TLS, as kubelet asks it. The two messages
//! have one field each and are written by hand.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use super::dial::{DialError, Dialer, Way};
use crate::model::samples::Target;

const PATH: &str = "/grpc.health.v1.Health/Check";
/// An answer of this service has nine bytes; what is longer is none of it.
const LIMIT: usize = 4 << 10;
/// `ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// Why a pod did not say that it is serving. Each is one clause for people.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The pod did not answer.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Nothing speaks HTTP/2 there.
    #[error("no gRPC answer")]
    Http(#[source] hyper::Error),
    /// Something speaks HTTP and not gRPC there.
    #[error("no gRPC answer: HTTP {0}")]
    Foreign(u16),
    /// The server does not have the health service.
    #[error("the pod does not implement grpc.health.v1 (gRPC status 12)")]
    Unimplemented,
    /// The health service does not know the server as a whole.
    #[error("grpc.health.v1 knows no service of that name (gRPC status 5)")]
    UnknownService,
    /// Another status of gRPC.
    #[error("gRPC status {0}")]
    Status(u32),
    /// It says that it is not serving.
    #[error("NOT_SERVING")]
    NotServing,
    /// The message is none of `grpc.health.v1`.
    #[error("the answer is no message of grpc.health.v1")]
    Malformed,
    /// The API server's pod proxy passes on HTTP/1 only.
    #[error("gRPC cannot be asked through the API server's pod proxy")]
    Proxied,
}

impl GrpcError {
    /// Returns the clause with its cause, at most 300 characters.
    pub fn clause(&self) -> String {
        match self {
            Self::Dial(error) => error.clause(),
            Self::Http(error) => format!("{self}: {error}").chars().take(300).collect(),
            _ => self.to_string(),
        }
    }
}

/// Asks a pod whether it is serving, within the deadline.
pub async fn serving(
    dialer: &Dialer,
    way: &Way,
    pod: &Target,
    port: u16,
    deadline: Duration,
) -> Result<(), GrpcError> {
    let Way::Direct = way else { return Err(GrpcError::Proxied) };
    let asked = timeout(deadline, ask(dialer, pod, port)).await;
    asked.unwrap_or(Err(GrpcError::Dial(DialError::Timeout(deadline))))
}

async fn ask(dialer: &Dialer, pod: &Target, port: u16) -> Result<(), GrpcError> {
    let host = if pod.ip.contains(':') { format!("[{}]", pod.ip) } else { pod.ip.clone() };
    let malformed = |_| GrpcError::Dial(DialError::Malformed(pod.ip.clone()));
    // No compression, and an empty message: the service's name is "", the whole server.
    let request = Request::post(format!("http://{host}:{port}{PATH}"))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .header(header::TE, HeaderValue::from_static("trailers"))
        .header(header::USER_AGENT, HeaderValue::from_static("idp-probe"))
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .map_err(malformed)?;
    let stream = dialer.connect(pod, port).await?;
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(16 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(GrpcError::Http)?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(GrpcError::Http)?;
        let (head, mut body) = response.into_parts();
        // An error alone comes with the headers.
        judged(status(&head.headers))?;
        if head.status != http::StatusCode::OK {
            return Err(GrpcError::Foreign(head.status.as_u16()));
        }
        let (mut message, mut trailers) = (BytesMut::new(), HeaderMap::new());
        while let Some(frame) = body.frame().await {
            match frame.map_err(GrpcError::Http)?.into_data() {
                Ok(data) if message.len() + data.len() > LIMIT => return Err(GrpcError::Malformed),
                Ok(data) => message.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        judged(status(&trailers))?;
        if head
            .headers
            .get(header::CONTENT_TYPE)
            .is_none_or(|kind| !kind.as_bytes().starts_with(b"application/grpc"))
        {
            return Err(GrpcError::Foreign(head.status.as_u16()));
        }
        match serving_status(&message).ok_or(GrpcError::Malformed)? {
            SERVING => Ok(()),
            3 => Err(GrpcError::UnknownService),
            _ => Err(GrpcError::NotServing),
        }
    };
    let mut exchange = pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ended = connection => exchange.await,
    }
}

fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn judged(status: Option<u32>) -> Result<(), GrpcError> {
    match status {
        None | Some(0) => Ok(()),
        Some(5) => Err(GrpcError::UnknownService),
        Some(12) => Err(GrpcError::Unimplemented),
        Some(other) => Err(GrpcError::Status(other)),
    }
}

/// Reads field 1, a number, of one uncompressed message; a field that is left out is 0.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let [0, a, b, c, d, message @ ..] = frame else { return None };
    let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok()?;
    if message.len() != length {
        return None;
    }
    match message {
        [] => Some(0),
        // Field 1 as a varint; its values fit seven bits.
        [0x08, value] if *value < 0x80 => Some(u64::from(*value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use hyper::body::Incoming;
    use hyper::service::service_fn;
    use jiff::Timestamp;
    use tokio::net::TcpListener;

    use super::*;
    use crate::model::samples::Track;

    #[test]
    fn one_field_is_read_and_nothing_else() {
        for (frame, status) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[1, 0, 0, 0, 0], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[0, 0, 0, 0, 2, 16, 1], None),
            (&[0, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(serving_status(frame), status, "{frame:?}");
        }
    }

    type Answer = (u16, &'static str, &'static [u8], Option<&'static str>, Option<&'static str>);

    /// Answers one connection over HTTP/2: status, type, body, `grpc-status` of the headers and of the trailers.
    async fn server((code, kind, body, head, trailer): Answer) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: Request<Incoming>| async move {
                assert_eq!((request.method().as_str(), request.uri().path()), ("POST", PATH));
                let said = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(said.as_ref(), [0; 5]);
                let trailers = trailer.map(|status| {
                    HeaderMap::from_iter([(
                        http::HeaderName::from_static("grpc-status"),
                        status.parse().unwrap(),
                    )])
                });
                let body = Full::new(Bytes::from_static(body))
                    .with_trailers(async move { trailers.map(Ok::<_, Infallible>) });
                let mut response = Response::builder().status(code).header(header::CONTENT_TYPE, kind);
                if let Some(status) = head {
                    response = response.header("grpc-status", status);
                }
                Ok::<_, Infallible>(response.body(body).unwrap())
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
        port
    }

    async fn clause(port: u16) -> Result<(), String> {
        let pod = Target {
            uid: "u".into(),
            namespace: "n".into(),
            name: "p".into(),
            ip: "127.0.0.1".into(),
            track: Track::Candidate,
            ready_since: Timestamp::UNIX_EPOCH,
        };
        let dialer = Dialer::new().unwrap();
        let asked = serving(&dialer, &Way::Direct, &pod, port, Duration::from_millis(700)).await;
        asked.map_err(|error| error.clause())
    }

    #[tokio::test]
    async fn answers_of_all_kinds() {
        let grpc = "application/grpc";
        for (answer, expected) in [
            ((200, grpc, &[0, 0, 0, 0, 2, 8, 1][..], None, Some("0")), Ok(())),
            ((200, grpc, &[0, 0, 0, 0, 2, 8, 2], None, Some("0")), Err("NOT_SERVING")),
            ((200, grpc, &[0, 0, 0, 0, 0], None, Some("0")), Err("NOT_SERVING")),
            (
                (200, grpc, &[0, 0, 0, 0, 2, 8, 3], None, Some("0")),
                Err("grpc.health.v1 knows no service of that name (gRPC status 5)"),
            ),
            (
                (200, grpc, &[], Some("12"), None),
                Err("the pod does not implement grpc.health.v1 (gRPC status 12)"),
            ),
            (
                (200, grpc, &[], None, Some("5")),
                Err("grpc.health.v1 knows no service of that name (gRPC status 5)"),
            ),
            ((200, grpc, &[], None, Some("14")), Err("gRPC status 14")),
            ((200, grpc, &[7], None, Some("0")), Err("the answer is no message of grpc.health.v1")),
            ((404, "text/plain", b"nope", None, None), Err("no gRPC answer: HTTP 404")),
            ((200, "text/plain", &[0, 0, 0, 0, 2, 8, 1], None, None), Err("no gRPC answer: HTTP 200")),
        ] {
            assert_eq!(clause(server(answer).await).await, expected.map_err(str::to_owned), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn what_does_not_speak_it_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(clause(port).await, Err("no answer within 700ms".into()), "it hangs");
        drop(listener);
        assert_eq!(clause(port).await, Err("connection refused".into()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            use std::io::Write;
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        });
        let found = clause(port).await.unwrap_err();
        assert!(found.starts_with("no gRPC answer: "), "{found}");
    }
}
