//! `GET /api/v1/sources/{name}/pulls`: the pull requests of a source, as they are kept in the cluster.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{HttpState, Peer, is_near};
use crate::model::name::SourceName;

/// Answers who asks from this machine; to others there is no such page.
pub(super) async fn list(
    State(state): State<HttpState>,
    peer: Option<Extension<Peer>>,
    Path(name): Path<String>,
) -> Response {
    if !is_near(peer) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let source = name.parse::<SourceName>().ok().filter(|name| state.ways.hints.get(name).is_some());
    let Some(source) = source else {
        return (StatusCode::NOT_FOUND, "no such source in the configuration\n").into_response();
    };
    match (state.ways.pulls)(source).await {
        Ok(pulls) => Json(pulls).into_response(),
        Err(why) => {
            let (status, after) = (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")]);
            (status, after, format!("{why}\n")).into_response()
        }
    }
}
