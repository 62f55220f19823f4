//! Routers: what a team's own route looks like while a rollout has a share of its traffic, as a function of the live object.
//!
//! In: a live `HTTPRoute`, `VirtualService` or `DestinationRule`, the Service's name, a weight. Out: a JSON patch of the smallest
//! part, empty where nothing is to be done; whether the object was accepted; the share that it gives. Pure.
//!
//! The route names the team's Service. While it is split, each reference to it stands twice, for stable and for the candidate, and
//! their weights are chosen so that other backends of the same rule keep their proportion. What the weights were is remembered in an
//! annotation, so that the join leaves the object as it was. A rule that names both tracks by itself keeps its references; only its
//! weights move. Matches, filters, retries, timeouts and all else are never touched. For a cohort a copy of the rule is put before it.

mod choose;
mod cohort;
mod destination_rule;
mod http_route;
mod split;
#[cfg(test)]
pub(in crate::rollout) mod tests;
mod virtual_service;

use serde_json::Value;

pub use choose::{Choice, choose};
pub use destination_rule::{add_subsets, has_subsets, of_host, remove_subsets};
pub use split::{Claim, claim, join, names_service, names_tracks, share, split};

use crate::model::object::ObjectKey;
use crate::model::traffic::{Cohort, GATEWAY_API, ISTIO};

/// Which Service a route is looked at for.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The team's Service.
    pub service: &'a str,
    /// Its namespace, and the route's.
    pub namespace: &'a str,
}

/// What a backend of a rule is to the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The team's Service.
    Whole,
    /// Stable's pods of it.
    Stable,
    /// The candidate's pods of it.
    Canary,
    /// Somebody else's.
    Other,
}

/// Whether those who carry a route out have taken it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// All who count.
    Accepted,
    /// Nobody tells; that the server took the object is all that there is to know.
    Untold,
    /// Not all have answered for this generation: who, one clause.
    Waiting(String),
    /// One says no: its reason, one clause.
    Refused(String),
}

/// A kind of route.
pub trait Dialect {
    /// Returns the JSON pointers of the lists of backends with weights.
    fn lists(&self, live: &Value) -> Vec<String>;
    /// Returns what a backend is to the release.
    fn part(&self, backend: &Value, names: Names<'_>) -> Part;
    /// Makes a backend of the release name the whole Service or one track of it.
    fn point(&self, backend: &mut Value, names: Names<'_>, part: Part);
    /// Returns the weight of a backend that has none, in a list of so many.
    fn default_weight(&self, backends: usize) -> u64;
    /// Returns the JSON pointer of the rules that can be told apart by headers, and the field of a rule that has its backends.
    fn rules(&self) -> (&'static str, &'static str);
    /// Lets a rule take requests of a cohort only; false where it cannot have any.
    fn narrow(&self, rule: &mut Value, cohort: &Cohort) -> bool;
    /// Returns whether a rule takes requests of a cohort only.
    fn is_narrowed(&self, rule: &Value, cohort: &Cohort) -> bool;
    /// Returns whether those who carry it out have taken the object as it stands; with `gateway` only that one counts.
    fn accepted(&self, live: &Value, gateway: Option<&str>) -> Acceptance;
    /// Returns whether the route is attached to that gateway.
    fn attached(&self, live: &Value, gateway: &str) -> bool;
}

/// Returns how routes of an object's kind are read; none for other kinds.
pub fn dialect(key: &ObjectKey) -> Option<&'static dyn Dialect> {
    let group = key.api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, key.kind.as_str()) {
        (GATEWAY_API, "HTTPRoute") => Some(&http_route::HttpRoute),
        (ISTIO, "VirtualService") => Some(&virtual_service::VirtualService),
        _ => None,
    }
}

/// Returns the text of a field, empty without one.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn generation(live: &Value) -> u64 {
    live.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0)
}

/// Reads a number that some controllers write as text.
fn counted(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
