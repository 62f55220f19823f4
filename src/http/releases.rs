//! `/api/v1/releases/{release}`: what its record says, and commands, for programs. Who asks shows a bearer token of the Kubernetes
//! API; the API server says whose it is and what that person may do with the `Release`, as it would for kubectl.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::HttpState;
use crate::model::command::Verb;
use crate::model::name::ReleaseKey;

/// Bytes of a command's body at most.
const BODY: usize = 8 * 1024;
/// Bytes of a token at most: service accounts' have about one thousand.
const TOKEN: usize = 16 * 1024;

/// A command as a program sends it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What is asked.
    pub verb: Verb,
    /// Why, in the person's words.
    #[serde(default)]
    pub why: String,
    /// The rollout that is meant; `approve` needs it.
    pub rollout: Option<u64>,
    /// `promote`: no further pause either.
    #[serde(default)]
    pub full: bool,
    /// `undo`: the rollout that brought the version to go back to.
    pub to: Option<u64>,
}

/// What is asked of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Its record.
    Show,
    /// The answer to a command.
    Answer(String),
    /// To do something.
    Give(Order),
}

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The token is nobody's.
    Nobody,
    /// That person may not; one sentence.
    Forbidden(String),
    /// There is no such release, or no such command.
    Unknown(String),
    /// The API server did not answer, or too much is under way.
    Away(String),
}

/// Asks something of a release, as whoever the token belongs to.
pub type Releases =
    Arc<dyn Fn(String, ReleaseKey, Ask) -> BoxFuture<'static, Result<Value, Denied>> + Send + Sync>;

/// A bearer token.
pub(super) struct Token(String);

impl FromRequestParts<HttpState> for Token {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &HttpState) -> Result<Self, Response> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|text| text.split_once(' '));
        let token =
            token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let usable = |token: &&str| !token.is_empty() && token.len() <= TOKEN;
        token.filter(usable).map(|token| Self(token.to_owned())).ok_or_else(|| Denied::Nobody.into_response())
    }
}

/// What went wrong, as it is sent.
#[derive(Serialize)]
struct Said {
    error: String,
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let said = |status: StatusCode, error: String| (status, Json(Said { error })).into_response();
        match self {
            Self::Nobody => {
                let error = "send a token of the Kubernetes API: Authorization: Bearer …".to_owned();
                let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
                (StatusCode::UNAUTHORIZED, challenge, Json(Said { error })).into_response()
            }
            Self::Forbidden(error) => said(StatusCode::FORBIDDEN, error),
            Self::Unknown(error) => said(StatusCode::NOT_FOUND, error),
            Self::Away(error) => {
                (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], Json(Said { error }))
                    .into_response()
            }
        }
    }
}

fn release(text: &str) -> Result<ReleaseKey, Denied> {
    text.parse().map_err(|error: crate::model::name::NameError| Denied::Unknown(error.to_string()))
}

async fn ask(state: &HttpState, Token(token): Token, name: &str, ask: Ask) -> Result<Json<Value>, Denied> {
    (state.ways.releases)(token, release(name)?, ask).await.map(Json)
}

async fn show(
    State(state): State<HttpState>,
    token: Token,
    Path(name): Path<String>,
) -> Result<Json<Value>, Denied> {
    ask(&state, token, &name, Ask::Show).await
}

async fn answer(
    State(state): State<HttpState>,
    token: Token,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Value>, Denied> {
    ask(&state, token, &name, Ask::Answer(id)).await
}

async fn give(
    State(state): State<HttpState>,
    token: Token,
    Path(name): Path<String>,
    order: Result<Json<Order>, JsonRejection>,
) -> Response {
    let Json(order) = match order {
        Ok(order) => order,
        Err(error) => {
            let said = Said { error: error.body_text() };
            return (error.status(), Json(said)).into_response();
        }
    };
    match ask(&state, token, &name, Ask::Give(order)).await {
        Ok(given) => (StatusCode::ACCEPTED, given).into_response(),
        Err(denied) => denied.into_response(),
    }
}

/// The routes, each with its path.
pub(super) fn routes() -> [(&'static str, MethodRouter<HttpState>); 3] {
    [
        ("/api/v1/releases/{release}", get(show)),
        ("/api/v1/releases/{release}/commands", post(give).layer(DefaultBodyLimit::max(BODY))),
        ("/api/v1/releases/{release}/commands/{id}", get(answer)),
    ]
}
