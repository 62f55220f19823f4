//! `DestinationRule` of Istio: the subsets that a `VirtualService` is split by. A rule of the team's for the host gets them added and
//! taken out again; where there is none, one of ours stands while it is needed
//! (<https://istio.io/latest/docs/reference/config/networking/destination-rule/>, `Subset`).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::virtual_service::is_host;
use super::{Names, list, split, text};
use crate::model::LABEL_TRACK;
use crate::model::traffic::{ANNOTATION_SPLIT, CANARY, STABLE};

const SUBSETS: &str = "/spec/subsets";

/// What was added to a team's rule.
#[derive(Debug, Serialize, Deserialize)]
struct Added {
    release: String,
    /// The names of the subsets.
    names: Vec<String>,
    /// There was no list of subsets.
    #[serde(default)]
    bare: bool,
}

/// Tells whether a rule is for the Service.
pub fn of_host(rule: &Value, names: Names<'_>) -> bool {
    is_host(rule.pointer("/spec/host").and_then(Value::as_str).unwrap_or_default(), names)
}

/// Tells whether a rule has both tracks as subsets.
pub fn has_subsets(rule: &Value) -> bool {
    [STABLE, CANARY]
        .iter()
        .all(|track| list(rule, SUBSETS).iter().any(|subset| text(subset, "name") == *track))
}

/// Returns the patch that adds what is missing of both subsets; empty where nothing is.
pub fn add_subsets(rule: &Value, release: &str) -> Vec<Value> {
    let subsets = list(rule, SUBSETS);
    let missing: Vec<&str> = [STABLE, CANARY]
        .into_iter()
        .filter(|track| !subsets.iter().any(|subset| text(subset, "name") == *track))
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let before = remembered(rule, release);
    let mut added = before.as_ref().map_or_else(Vec::new, |before| before.names.clone());
    added.extend(
        missing
            .iter()
            .filter(|name| !added.iter().any(|known| known == *name))
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    );
    let bare = before.map_or(rule.pointer(SUBSETS).is_none(), |before| before.bare);
    let mut wanted = subsets.to_vec();
    wanted.extend(missing.iter().map(|track| json!({"name": track, "labels": {LABEL_TRACK: track}})));
    let memory = Added { release: release.to_owned(), names: added, bare };
    let mut patch = vec![json!({"op": "add", "path": SUBSETS, "value": wanted})];
    patch.extend(split::annotate(rule, &serde_json::to_string(&memory).unwrap_or_default()));
    patch
}

/// Returns the patch that takes out what was added for a release; empty where nothing was.
pub fn remove_subsets(rule: &Value, release: &str) -> Vec<Value> {
    let Some(memory) = remembered(rule, release) else { return Vec::new() };
    let ours = |subset: &Value| memory.names.iter().any(|name| name == text(subset, "name"));
    let kept: Vec<Value> = list(rule, SUBSETS).iter().filter(|subset| !ours(subset)).cloned().collect();
    let mut patch = Vec::new();
    if kept.is_empty() && memory.bare && rule.pointer(SUBSETS).is_some() {
        patch.push(json!({"op": "remove", "path": SUBSETS}));
    } else if kept.as_slice() != list(rule, SUBSETS) {
        patch.push(json!({"op": "replace", "path": SUBSETS, "value": kept}));
    }
    patch.push(split::forget());
    patch
}

fn remembered(rule: &Value, release: &str) -> Option<Added> {
    let text = rule.get("metadata")?.get("annotations")?.get(ANNOTATION_SPLIT)?.as_str()?;
    serde_json::from_str::<Added>(text).ok().filter(|memory| memory.release == release)
}
