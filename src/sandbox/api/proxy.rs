//! `GET …/pods/<name>:<port>/proxy/<path>`: the request goes on to the pod's own address.
//!
//! The genuine server refuses to proxy to loopback addresses, which is what the test node gives its pods; this is where
//! `probe: proxy` can be tried.

use std::{net::SocketAddr, time::Duration};

use http::{Response, header, request::Parts};

use super::{
    super::{http::get, json},
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
    let declared = json::list(&pod, &["spec", "containers"])
        .iter()
        .flat_map(|container| json::list(container, &["ports"]))
        .find(|declared| port.is_empty() || json::text(declared, &["name"]) == port)
        .and_then(|declared| json::int(declared, &["containerPort"]));
    let port: i64 = port.parse().ok().or(declared).unwrap_or(80);
    let unreachable =
        |why: &str| ApiError::new(503, "ServiceUnavailable", format!("error trying to reach service: {why}"));
    let address: SocketAddr = format!("{}:{port}", json::text(&pod, &["status", "podIP"]))
        .parse()
        .map_err(|_| unreachable("the pod has no address"))?;
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("/{}{query}", request.rest);
    let answer = get(address, &path, &request.user_agent, Duration::from_secs(30))
        .await
        .map_err(|error| unreachable(&error.to_string()))?;
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::CONNECTION);
    Ok(Response::from_parts(parts, full(body)))
}
