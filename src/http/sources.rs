//! `GET /api/v1/sources`: how each source was last seen, and `POST /api/v1/sources/{name}/look`: look at it now.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::HttpState;
use super::near::{Named, Near};
use crate::model::name::SourceName;
use crate::model::suspension::Suspended;
use crate::source::webhook::Hooks;
use crate::source::{Pace, PauseWhy, SourceStatus, Trigger};

/// A source as the daemon sees it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSeen {
    /// Its name.
    pub name: SourceName,
    /// Whether the last look got an answer; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// What the last look found; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<SourceStatus>,
    /// Its webhook, if it takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSeen>,
    /// How it is looked at without a hint; absent before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// Who suspended it, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspended>,
    /// That its host is not asked now, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// Why a look last failed, since the daemon started; it may have been mended since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

impl SourceSeen {
    /// One of which nothing is known yet.
    pub fn new(name: SourceName) -> Self {
        Self {
            name,
            up: None,
            status: None,
            webhook: None,
            pace: None,
            suspended: None,
            paused: None,
            last_error: None,
        }
    }
}

/// A host that is not asked now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Its name and port.
    pub host: String,
    /// Until when.
    pub until: Timestamp,
    /// Why.
    pub why: PauseWhy,
}

/// Why a look failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// What was wrong, and how to mend it.
    pub message: String,
}

/// The webhook of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSeen {
    /// The forge, as the configuration names it.
    pub forge: String,
    /// The path of its address at the daemon.
    pub path: String,
    /// When the last proven delivery came, since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Why the last one was turned away that was not proven, since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned_away: Option<String>,
}

/// All sources, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceList {
    /// The sources.
    pub sources: Vec<SourceSeen>,
}

/// Answers who asks from this machine; to others there is no such page.
pub(super) async fn list(_: Near, State(state): State<HttpState>) -> Json<SourceList> {
    let mut sources = (state.ways.sources)();
    for source in &mut sources {
        source.webhook = webhook(&state.hooks, &source.name);
    }
    Json(SourceList { sources })
}

/// Tells how a source's webhook does, if it takes any.
pub fn webhook(hooks: &Hooks, source: &SourceName) -> Option<WebhookSeen> {
    let forge = hooks.forge(source)?;
    let log = hooks.log(Some(source), 1);
    Some(WebhookSeen {
        forge: forge.name().to_owned(),
        path: format!("/hooks/{source}"),
        last: log.deliveries.first().map(|delivery| delivery.at),
        turned_away: log.refused.into_iter().next().map(|turned| turned.why),
    })
}

/// Has a source looked at now, if who asks is on this machine. It hurts nobody: looks that are asked for while one runs are one.
pub(super) async fn look(Named { source, hint }: Named, State(state): State<HttpState>) -> Response {
    if let Some(suspended) = state.ways.suspensions.of(&source) {
        let why = format!("{source} is {}\n", suspended.sentence(source.as_str()));
        return (StatusCode::CONFLICT, why).into_response();
    }
    hint.send(Trigger::Asked);
    StatusCode::ACCEPTED.into_response()
}
