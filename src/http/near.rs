//! Who asks from this machine, which a port that is forwarded into a pod does. The address of the webhooks is everybody's, and names of
//! branches are not: to others there is no such page.

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::{HttpState, Peer};
use crate::model::name::SourceName;
use crate::source::Hint;

/// A request that comes from this machine.
pub(super) struct Near;

impl<S: Sync> FromRequestParts<S> for Near {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let near = |peer: &Peer| peer.0.ip().to_canonical().is_loopback();
        parts.extensions.get().is_some_and(near).then_some(Self).ok_or(StatusCode::NOT_FOUND)
    }
}

/// The source of the configuration that the address of a [`Near`] request names.
pub(super) struct Named {
    pub(super) source: SourceName,
    /// Asks for looks at it.
    pub(super) hint: Hint,
}

impl FromRequestParts<HttpState> for Named {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Response> {
        Near::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let Path(name) =
            Path::<String>::from_request_parts(parts, state).await.map_err(IntoResponse::into_response)?;
        let known = |source: SourceName| Some(Self { hint: state.ways.hints.get(&source)?.clone(), source });
        let unknown = || (StatusCode::NOT_FOUND, "no such source in the configuration\n").into_response();
        name.parse().ok().and_then(known).ok_or_else(unknown)
    }
}
