//! `POST /hooks/<source>`: receives a body within its cap, its time and its share of memory, then hands it to [`Hooks`]. What it tells
//! of a pull request is in the cluster before it is answered.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::{HookSeen, HttpState};
use crate::model::name::SourceName;
use crate::source::webhook::{HookOutcome, ProofError, Refusal};

/// How long a body may take.
const READ_TIME: Duration = Duration::from_secs(10);

/// Answers a webhook request.
pub(super) async fn receive(
    State(state): State<HttpState>,
    Path(source): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let source = source.parse::<SourceName>().ok();
    let known = source.as_ref().and_then(|name| Some((name.clone(), state.hooks.forge(name)?)));
    let outcome = match &known {
        Some((name, _)) => take(&state, name, &headers, body).await,
        None => HookOutcome::Refused(Refusal::UnknownSource),
    };
    if let HookOutcome::Refused(refusal) = outcome {
        state.hooks.refused(known.as_ref().map(|(name, _)| name), refusal);
    }
    let response = answer(&outcome);
    (state.on_hook)(&HookSeen { source: known, outcome });
    response
}

async fn take(state: &HttpState, source: &SourceName, headers: &HeaderMap, body: Body) -> HookOutcome {
    let limit = state.hooks.max_body(source).unwrap_or_default();
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let expected: usize = declared.unwrap_or(limit);
    if expected > limit {
        return HookOutcome::Refused(Refusal::TooLarge);
    }
    if !state.hooks.has_proof(source, headers) {
        return HookOutcome::Refused(Refusal::Unproven(ProofError::Missing));
    }
    let proven = match timeout(READ_TIME, read(body, expected.min(limit), &state.in_flight)).await {
        Ok(Ok((bytes, _share))) => state.hooks.prove(source, headers, &bytes),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Refusal::TooSlow),
    };
    let proven = match proven {
        Ok(proven) => proven,
        Err(refusal) => return HookOutcome::Refused(refusal),
    };
    let kept = match proven.pull() {
        Some((pull, at)) => (state.ways.keep)(source.clone(), pull.clone(), at).await,
        None => Ok(()),
    };
    state.hooks.settle(source, proven, kept)
}

/// Reads a body frame by frame and stops at the cap, however it was announced. What has come counts against what may be under way,
/// not what was announced: who announces much and sends little takes nothing from others.
async fn read(
    mut body: Body,
    limit: usize,
    in_flight: &Semaphore,
) -> Result<(Vec<u8>, SemaphorePermit<'_>), Refusal> {
    let take = |kib: usize| {
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        in_flight.try_acquire_many(kib).map_err(|_| Refusal::Overloaded)
    };
    let (mut bytes, mut share) = (Vec::new(), take(0)?);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::TooSlow)?.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Refusal::TooLarge);
        }
        let grown = (bytes.len() + data.len()).div_ceil(1024);
        share.merge(take(grown.saturating_sub(share.num_permits()))?);
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, share))
}

fn answer(outcome: &HookOutcome) -> Response {
    let refusal = match outcome {
        HookOutcome::Accepted(_) | HookOutcome::Duplicate => {
            return (StatusCode::ACCEPTED, format!("{}\n", outcome.name())).into_response();
        }
        // A success, since forges switch off hooks that fail.
        HookOutcome::Irrelevant | HookOutcome::Suspended => {
            return (StatusCode::OK, format!("{}\n", outcome.name())).into_response();
        }
        HookOutcome::Refused(refusal) => refusal,
    };
    match refusal {
        Refusal::UnknownSource => (StatusCode::NOT_FOUND, "no such source, or it takes no webhooks\n"),
        Refusal::Unproven(_) => (StatusCode::UNAUTHORIZED, "the signature is missing or does not match\n"),
        // Who signs is whom we trust, and comes again with the same: a failure would only switch the hook off.
        Refusal::Malformed => (StatusCode::OK, "refused: this is not the JSON that the forge sends\n"),
        Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than this source takes\n"),
        Refusal::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
        Refusal::Overloaded | Refusal::NoSecret | Refusal::NotKept => {
            let (status, after) = (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")]);
            return (status, after, "not now\n").into_response();
        }
    }
    .into_response()
}
