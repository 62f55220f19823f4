//! `GET /api/v1/sources/{name}/pulls`: the pull requests of a source, as they are kept in the cluster.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::HttpState;
use super::near::Named;

/// Answers who asks from this machine; to others there is no such page.
pub(super) async fn list(Named { source, .. }: Named, State(state): State<HttpState>) -> Response {
    match (state.ways.pulls)(source).await {
        Ok(pulls) => Json(pulls).into_response(),
        Err(why) => {
            let (status, after) = (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")]);
            (status, after, format!("{why}\n")).into_response()
        }
    }
}
