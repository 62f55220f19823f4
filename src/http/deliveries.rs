//! `GET /api/v1/deliveries`: what became of the last webhook deliveries.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::HttpState;
use super::near::Near;
use crate::model::name::SourceName;

/// Rows of an answer that does not say how many.
const ROWS: usize = 100;
/// Rows of an answer at most.
const MOST_ROWS: usize = 1000;

/// What may be asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    source: Option<SourceName>,
    limit: Option<usize>,
}

/// Answers who asks from this machine; to others there is no such page.
pub(super) async fn list(
    _: Near,
    State(state): State<HttpState>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return error.into_response(),
    };
    if let Some(source) = &asked.source
        && state.hooks.forge(source).is_none()
    {
        return (StatusCode::NOT_FOUND, format!("no source {source} takes webhooks\n")).into_response();
    }
    let limit = asked.limit.unwrap_or(ROWS).min(MOST_ROWS);
    Json(state.hooks.log(asked.source.as_ref(), limit)).into_response()
}
