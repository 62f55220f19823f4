//! HTTP on both sides of the core: a tower service, usable under `kube::Client` as it is.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Body as HttpBody, Frame};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    core::{Body, Core, Reply},
    discovery,
    error::ApiError,
    fault::Fault,
    proxy,
    render::{self, Form, Writer},
    request::{Path, Request, Verb},
    watch,
};

/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// The server as a tower service over any request body.
#[derive(Clone)]
pub struct ApiService {
    pub(crate) core: Arc<Core>,
    pub(crate) shutdown: CancellationToken,
    /// Put in place of a missing `User-Agent`.
    pub(crate) user_agent: Option<HeaderValue>,
}

impl<B> tower::Service<http::Request<B>> for ApiService
where
    B: HttpBody + Send + 'static,
    B::Data: Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if let Some(agent) = &service.user_agent {
                parts.headers.entry(header::USER_AGENT).or_insert(agent.clone());
            }
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            service.answer(parts, body).await
        })
    }
}

impl ApiService {
    async fn answer(&self, parts: Parts, body: Bytes) -> Result<Response<ResponseBody>, io::Error> {
        let path = parts.uri.path().to_owned();
        if let Some(document) = discovery::document(&self.core, &path) {
            return Ok(document.map_or_else(|error| refusal(&error), |value| json_response(200, &value)));
        }
        match self.request(&parts, &path, &body) {
            Err(error) => Ok(refusal(&error)),
            Ok(Asked::Review(value)) => Ok(json_response(201, &value)),
            Ok(Asked::Resource(request)) => self.resource(*request, &parts).await,
        }
    }

    fn request(&self, parts: &Parts, path: &str, body: &Bytes) -> Result<Asked, ApiError> {
        let parsed = Path::parse(path).ok_or_else(ApiError::no_such_page)?;
        let posted = || serde_json::from_slice(body).unwrap_or(Value::Null);
        let impersonated =
            parts.headers.get("impersonate-user").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let settings = self.core.settings().clone();
        if let Some(value) = discovery::review(&settings, path, &posted(), impersonated) {
            return Ok(Asked::Review(value));
        }
        let kind = self
            .core
            .store()
            .kind(parsed.group, parsed.version, parsed.plural)
            .ok_or_else(ApiError::no_such_page)?;
        Request::read(kind, parsed, parts, body).map(|request| Asked::Resource(Box::new(request)))
    }

    /// Runs one request through the fault hook, the latency, the core and the log.
    async fn resource(&self, request: Request, parts: &Parts) -> Result<Response<ResponseBody>, io::Error> {
        if request.verb.is_mutating() {
            let latency = self.core.settings().write_latency;
            if latency > Duration::ZERO {
                tokio::time::sleep(latency).await;
            }
        }
        let fault = self.core.probe.fault(&request);
        match &fault {
            Some(Fault::Status { code, reason, message, retry_after }) => {
                let mut error = ApiError::new(*code, reason, message.as_str());
                if let Some(seconds) = retry_after {
                    error = error.with_retry_after(*seconds);
                }
                self.log(&request, *code);
                return Ok(refusal(&error));
            }
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            Some(Fault::Hang) => return self.withhold(&request).await,
            Some(Fault::Drop) => {
                self.log(&request, 0);
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Some(Fault::Kill { token, after_effect: false }) => {
                token.cancel();
                return self.withhold(&request).await;
            }
            _ => {}
        }
        let response = self.perform(&request, parts).await;
        match fault {
            Some(Fault::ApplyThenDrop) => {
                self.log(&request, 0);
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Some(Fault::ApplyThenHang) => self.withhold(&request).await,
            Some(Fault::Kill { token, .. }) => {
                token.cancel();
                self.withhold(&request).await
            }
            _ => {
                self.log(&request, response.status().as_u16());
                Ok(response)
            }
        }
    }

    fn log(&self, request: &Request, code: u16) {
        let version = self.core.store().version();
        self.core.probe.record(request, code, version);
    }

    /// No answer until the server ends.
    async fn withhold(&self, request: &Request) -> Result<Response<ResponseBody>, io::Error> {
        self.log(request, 0);
        self.shutdown.cancelled().await;
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    async fn perform(&self, request: &Request, parts: &Parts) -> Response<ResponseBody> {
        let form = match render::form(&parts.headers) {
            Ok(form) => form,
            Err(error) => return refusal(&error),
        };
        if request.subresource == "proxy" {
            return match proxy::forward(&self.core, request, parts).await {
                Ok(response) => response,
                Err(error) => refusal(&error),
            };
        }
        if request.verb == Verb::Watch {
            return match watch::start(&self.core, request, form, self.shutdown.clone()) {
                Ok(lines) => stream_response(lines),
                Err(error) => refusal(&error),
            };
        }
        match self.core.execute(request) {
            // The form that nearly everybody asks for is the one in which objects are kept.
            Ok(Reply { code, body: Body::Object(object) }) if form == Form::Plain => {
                json_response(code, &object)
            }
            Ok(reply) => {
                let writer = Writer {
                    form,
                    kind: &request.spec,
                    now: self.core.clock.now(),
                    include: request.parameter("includeObject"),
                };
                json_response(reply.code, &writer.body(&reply.body))
            }
            Err(error) => refusal(&error),
        }
    }
}

/// What a request turned out to be.
enum Asked {
    Review(Value),
    Resource(Box<Request>),
}

fn response(code: u16, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn json_response(code: u16, value: &Value) -> Response<ResponseBody> {
    // An object has no key that JSON could not say.
    response(code, full(serde_json::to_vec(value).unwrap_or_default().into()))
}

/// A body that is all there.
pub(crate) fn full(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).boxed_unsync()
}

fn stream_response(lines: impl futures::Stream<Item = Bytes> + Send + 'static) -> Response<ResponseBody> {
    let frames = lines.map(|line| Ok::<_, Infallible>(Frame::data(line)));
    response(200, StreamBody::new(frames).boxed_unsync())
}

fn refusal(error: &ApiError) -> Response<ResponseBody> {
    if let Value::String(page) = &*error.status {
        let mut out = response(error.code, full(page.clone().into()));
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        out.headers_mut().insert(header::CONTENT_TYPE, text);
        return out;
    }
    let mut out = json_response(error.code, &error.status);
    let wait = super::super::json::int(&error.status, &["details", "retryAfterSeconds"]);
    if let Some(wait) = wait.and_then(|seconds| HeaderValue::from_str(&seconds.to_string()).ok()) {
        out.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    out
}
