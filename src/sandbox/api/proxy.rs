//! `GET …/pods/<name>:<port>/proxy/<path>`: the request goes on to the pod's own address.
//!
//! The genuine server refuses to proxy to loopback addresses, which is what the test node gives its pods; this is where
//! `probe: proxy` can be tried.

use bytes::Bytes;
use http::{Method, Response, request::Parts};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    super::json,
    core::Core,
    error::ApiError,
    request::Request,
    service::{ResponseBody, full},
};

/// Forwards `request` to its pod. A pod that does not answer is a 503, as the genuine server has it.
pub(crate) async fn forward(
    core: &Core,
    request: &Request,
    parts: &Parts,
) -> Result<Response<ResponseBody>, ApiError> {
    let (name, port) = request.name.split_once(':').unwrap_or((request.name.as_str(), ""));
    let pod = core
        .store()
        .get(&request.spec, &request.namespace, name)
        .ok_or_else(|| ApiError::not_found(&request.spec, name))?;
    let first = json::list(&pod, &["spec", "containers"])
        .iter()
        .flat_map(|container| json::list(container, &["ports"]))
        .find(|declared| port.is_empty() || json::text(declared, &["name"]) == port)
        .and_then(|declared| json::int(declared, &["containerPort"]));
    let port: i64 = port.parse().ok().or(first).unwrap_or(80);
    let address = format!("{}:{port}", json::text(&pod, &["status", "podIP"]));
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("/{}{query}", request.rest);
    send(&address, &path).await.map_err(|error| {
        ApiError::new(503, "ServiceUnavailable", format!("error trying to reach service: {error}"))
    })
}

async fn send(
    address: &str,
    path: &str,
) -> Result<Response<ResponseBody>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(http::header::HOST, address)
        .header(http::header::CONNECTION, "close")
        .body(Full::<Bytes>::default())?;
    let exchange = async move {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Response::from_parts(parts, full(body)))
    };
    // The connection ends with the exchange, whichever of the two is done first.
    let (answer, _) = tokio::join!(exchange, connection);
    let mut answer = answer?;
    answer.headers_mut().remove(http::header::TRANSFER_ENCODING);
    answer.headers_mut().remove(http::header::CONNECTION);
    Ok(answer)
}
