//! Splits a route by weight and joins it again, whatever its kind.
//!
//! A split is always made of the route as it was before: what stands is joined in thought first, by the remembered weights, and then
//! split anew. So a second split at the same weight changes nothing, and an edit of somebody else is taken for what it is: a change of
//! the weights is put back, a change of the rules is kept and split in its turn.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Dialect, Names, Part, cohort, list};
use crate::model::traffic::{ANNOTATION_SPLIT, Cohort};

/// The highest weight that the Gateway API takes.
const MOST: u64 = 1_000_000;

/// Who splits a route, and what it goes back to: the annotation's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The release.
    pub release: String,
    /// The fencing epoch of the writer.
    #[serde(default)]
    pub epoch: u64,
    /// Some rule names both tracks by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    tracks: bool,
    /// Whose rules were put before the team's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cohort: Option<Cohort>,
    /// By the pointer of a list, without those rules: each backend as it was.
    #[serde(default)]
    lists: BTreeMap<String, Vec<Was>>,
}

/// A backend as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Was {
    /// It stands twice while the route is split.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    split: bool,
    /// Its weight; `None`: it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<Value>,
}

impl Claim {
    /// Returns the claim of a release, before anything is remembered.
    pub fn new(release: &str, epoch: u64) -> Self {
        Self { release: release.to_owned(), epoch, tracks: false, cohort: None, lists: BTreeMap::new() }
    }

    /// Adds whose requests go to the candidate beside its share.
    #[must_use]
    pub fn with(mut self, cohort: Option<&Cohort>) -> Self {
        self.cohort = cohort.cloned();
        self
    }

    /// Tells whether some requests go to the candidate whatever its weight.
    pub fn has_cohort(&self) -> bool {
        self.cohort.is_some()
    }
}

/// Returns who has split a route.
pub fn claim(live: &Value) -> Option<Claim> {
    let text = live.get("metadata")?.get("annotations")?.get(ANNOTATION_SPLIT)?.as_str()?;
    serde_json::from_str(text).ok()
}

/// Tells whether a route names the Service, whole or by track.
pub fn names_service(dialect: &dyn Dialect, live: &Value, names: Names<'_>) -> bool {
    let lists = dialect.lists(live);
    lists.iter().flat_map(|path| parts(dialect, list(live, path), names)).any(|part| part != Part::Other)
}

/// Tells whether a route names a track of the Service, by itself or by our split.
pub fn names_tracks(dialect: &dyn Dialect, live: &Value, names: Names<'_>) -> bool {
    let lists = dialect.lists(live);
    lists.iter().flat_map(|path| list(live, path)).any(|backend| is_track(dialect.part(backend, names)))
}

/// Returns the candidate's share in per cent, the highest of all rules but those of a cohort; none where no rule names the tracks.
pub fn share(dialect: &dyn Dialect, live: &Value, names: Names<'_>) -> Option<u8> {
    let plain = plain(dialect, live, names, claim(live).as_ref());
    let lists = dialect.lists(&plain);
    let shares = lists.iter().filter_map(|path| {
        let backends = list(&plain, path);
        let (mut stable, mut canary, mut tracked) = (0_u64, 0_u64, false);
        for backend in backends {
            let weight = weight_of(backend).unwrap_or(dialect.default_weight(backends.len()));
            match dialect.part(backend, names) {
                // Of a rule that is not split, all of it follows pods: nothing is the candidate's by weight.
                Part::Whole => stable = stable.saturating_add(weight),
                Part::Stable => (stable, tracked) = (stable.saturating_add(weight), true),
                Part::Canary => (canary, tracked) = (canary.saturating_add(weight), true),
                Part::Other => {}
            }
        }
        let all = stable.saturating_add(canary);
        tracked.then(|| {
            if all == 0 { 0 } else { u8::try_from(canary.saturating_mul(100).div_ceil(all)).unwrap_or(100) }
        })
    });
    shares.max()
}

/// Returns the patch that gives the candidate `weight` per cent of what the Service gets, 0 to 100, and the requests of the claim's cohort;
/// empty where it is so.
pub fn split(dialect: &dyn Dialect, live: &Value, names: Names<'_>, mut by: Claim, weight: u8) -> Vec<Value> {
    let before = claim(live);
    let plain = plain(dialect, live, names, before.as_ref());
    let mut wanted = Vec::new();
    for path in dialect.lists(&plain) {
        let was = joined(dialect, list(&plain, &path), names, past(before.as_ref(), &path));
        let Some(backends) = divided(dialect, &was, names, weight) else { continue };
        by.tracks |= parts(dialect, &was, names).into_iter().any(is_track);
        by.lists.insert(path.clone(), memory(dialect, &was, names));
        wanted.push((path, backends));
    }
    if by.lists.is_empty() {
        return Vec::new();
    }
    let mut patch = cohort::change(dialect, live, names, (plain, wanted), by.cohort.as_ref());
    if before.as_ref() != Some(&by) {
        patch.extend(annotate(live, &serde_json::to_string(&by).unwrap_or_default()));
    }
    patch
}

/// Returns the patch that makes a route that `release` has split what it was; empty where it has not.
pub fn join(dialect: &dyn Dialect, live: &Value, names: Names<'_>, release: &str) -> Vec<Value> {
    let Some(claim) = claim(live).filter(|claim| claim.release == release) else { return Vec::new() };
    let plain = plain(dialect, live, names, Some(&claim));
    let mut wanted = Vec::new();
    for path in dialect.lists(&plain) {
        let mut was = joined(dialect, list(&plain, &path), names, past(Some(&claim), &path));
        rest(dialect, &mut was, names);
        wanted.push((path, was));
    }
    let mut patch = cohort::change(dialect, live, names, (plain, wanted), None);
    patch.push(forget());
    patch
}

/// Returns a route without what was put in for a cohort.
fn plain<'a>(
    dialect: &dyn Dialect,
    live: &'a Value,
    names: Names<'_>,
    claim: Option<&Claim>,
) -> Cow<'a, Value> {
    cohort::without(dialect, live, names, claim.and_then(|claim| claim.cohort.as_ref()))
}

/// The operations that write our annotation.
pub(super) fn annotate(live: &Value, text: &str) -> Vec<Value> {
    let mut patch = Vec::new();
    if !live.pointer("/metadata/annotations").is_some_and(Value::is_object) {
        patch.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    patch.push(json!({"op": "add", "path": annotation(), "value": text}));
    patch
}

/// The operation that removes our annotation, where it stands.
pub(super) fn forget() -> Value {
    json!({"op": "remove", "path": annotation()})
}

fn annotation() -> String {
    format!("/metadata/annotations/{}", ANNOTATION_SPLIT.replace('/', "~1"))
}

fn weight_of(backend: &Value) -> Option<u64> {
    backend.get("weight").and_then(Value::as_u64)
}

fn put_weight(backend: &mut Value, weight: Option<&Value>) {
    let Some(fields) = backend.as_object_mut() else { return };
    match weight {
        Some(weight) => drop(fields.insert("weight".to_owned(), weight.clone())),
        None => drop(fields.remove("weight")),
    }
}

/// What is remembered of a list.
#[derive(Clone, Copy)]
struct Past<'a> {
    /// Its backends; `None`: the list was not there.
    was: Option<&'a Vec<Was>>,
    /// Some rule of the route named both tracks by itself.
    tracks: bool,
}

fn past<'a>(claim: Option<&'a Claim>, path: &str) -> Option<Past<'a>> {
    claim.map(|claim| Past { was: claim.lists.get(path), tracks: claim.tracks })
}

/// Returns a list as it was before it was split; without a past nobody has split the route.
fn joined(dialect: &dyn Dialect, found: &[Value], names: Names<'_>, past: Option<Past<'_>>) -> Vec<Value> {
    let Some(past) = past else { return found.to_vec() };
    if let Some(was) = past.was {
        let (mut backends, marks) =
            folded(dialect, found, names, |at| was.get(at).is_some_and(|was| was.split));
        let same =
            was.len() == marks.len() && was.iter().zip(&marks).all(|(was, mark)| was.split == mark.folded);
        if same {
            for (backend, was) in backends.iter_mut().zip(was) {
                put_weight(backend, was.weight.as_ref());
            }
            return backends;
        }
    }
    // Somebody has rewritten the rule since: what stands is the best that is known of its proportions.
    let (mut backends, marks) = folded(dialect, found, names, |_| !past.tracks);
    if marks.iter().any(|mark| mark.folded) {
        let alone = backends.len() == 1;
        let common = marks.iter().fold(0, |all, mark| gcd(all, mark.weight)).max(1);
        for (backend, mark) in backends.iter_mut().zip(&marks) {
            put_weight(backend, (!alone).then(|| Value::from(mark.weight / common)).as_ref());
        }
    }
    backends
}

struct Mark {
    folded: bool,
    weight: u64,
}

/// Folds the two halves of a backend into one wherever `may` allows it for the position in the answer.
fn folded(
    dialect: &dyn Dialect,
    found: &[Value],
    names: Names<'_>,
    may: impl Fn(usize) -> bool,
) -> (Vec<Value>, Vec<Mark>) {
    let (mut backends, mut marks) = (Vec::new(), Vec::new());
    let mut rest = found.iter().peekable();
    while let Some(backend) = rest.next() {
        let twin = rest.peek().and_then(|next| twins(dialect, backend, next, names));
        if let Some((whole, weight)) = twin.filter(|_| may(backends.len())) {
            rest.next();
            marks.push(Mark { folded: true, weight });
            backends.push(whole);
        } else {
            let weight = weight_of(backend).unwrap_or(dialect.default_weight(found.len()));
            marks.push(Mark { folded: false, weight });
            backends.push(backend.clone());
        }
    }
    (backends, marks)
}

/// Returns the whole that two backends are the halves of, and what both weigh.
fn twins(dialect: &dyn Dialect, stable: &Value, canary: &Value, names: Names<'_>) -> Option<(Value, u64)> {
    if dialect.part(stable, names) != Part::Stable || dialect.part(canary, names) != Part::Canary {
        return None;
    }
    let whole = |half: &Value| {
        let mut whole = half.clone();
        dialect.point(&mut whole, names, Part::Whole);
        put_weight(&mut whole, None);
        whole
    };
    let weight = weight_of(stable).unwrap_or(1).saturating_add(weight_of(canary).unwrap_or(1));
    (whole(stable) == whole(canary)).then(|| (whole(stable), weight))
}

/// Returns what each backend of a list is. A rule that names one track only does so on purpose, and is left alone.
fn parts(dialect: &dyn Dialect, backends: &[Value], names: Names<'_>) -> Vec<Part> {
    let mut parts: Vec<Part> = backends.iter().map(|backend| dialect.part(backend, names)).collect();
    let both = parts.contains(&Part::Stable) && parts.contains(&Part::Canary);
    for part in &mut parts {
        if matches!(part, Part::Stable | Part::Canary) && !both {
            *part = Part::Other;
        }
    }
    parts
}

/// Returns a list split at `weight`; none where no backend of it is the release's.
pub(super) fn divided(
    dialect: &dyn Dialect,
    was: &[Value],
    names: Names<'_>,
    weight: u8,
) -> Option<Vec<Value>> {
    let parts = parts(dialect, was, names);
    if parts.iter().all(|part| *part == Part::Other) {
        return None;
    }
    let weight = u64::from(weight.min(100));
    let count = |wanted: Part| parts.iter().filter(|part| **part == wanted).count();
    // With nobody to keep a proportion to, the weights are per cent.
    let pair = count(Part::Stable) == 1 && count(Part::Canary) == 1 && parts.len() == 2;
    let alone = parts.len() == 1 || pair;
    let weights = proportions(dialect, was, alone);
    let unit = if alone { 1 } else { 100 };
    let both: u64 =
        parts.iter().zip(&weights).filter(|(part, _)| is_track(**part)).map(|(_, weight)| *weight).sum();
    let both = if alone { both.min(1) } else { both };
    let (mut wanted, mut given) = (Vec::new(), Vec::new());
    for ((backend, part), was) in was.iter().zip(&parts).zip(&weights) {
        match part {
            Part::Other => wanted.push((backend.clone(), was.saturating_mul(unit))),
            Part::Whole => {
                for (track, share) in [(Part::Stable, 100 - weight), (Part::Canary, weight)] {
                    let mut half = backend.clone();
                    dialect.point(&mut half, names, track);
                    wanted.push((half, was.saturating_mul(share)));
                }
            }
            Part::Stable | Part::Canary => {
                let share = if *part == Part::Stable { 100 - weight } else { weight };
                let first = !given.contains(part);
                given.push(*part);
                wanted.push((backend.clone(), if first { both.saturating_mul(share) } else { 0 }));
            }
        }
    }
    let most = wanted.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
    let fit = |weight: u64| {
        if most > MOST { (weight.saturating_mul(MOST) / most).max(weight.min(1)) } else { weight }
    };
    let weighted = wanted.into_iter().map(|(mut backend, weight)| {
        put_weight(&mut backend, Some(&Value::from(fit(weight))));
        backend
    });
    Some(weighted.collect())
}

fn is_track(part: Part) -> bool {
    matches!(part, Part::Stable | Part::Canary)
}

/// The weights of a list, without what all have in common; of one that is alone only whether it gets anything at all.
fn proportions(dialect: &dyn Dialect, was: &[Value], alone: bool) -> Vec<u64> {
    let weights: Vec<u64> =
        was.iter().map(|backend| weight_of(backend).unwrap_or(dialect.default_weight(was.len()))).collect();
    if alone && was.len() == 1 {
        return weights.into_iter().map(|weight| weight.min(1)).collect();
    }
    let common = weights.iter().fold(0, |all, weight| gcd(all, *weight)).max(1);
    weights.into_iter().map(|weight| weight / common).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What is to be remembered of a list.
fn memory(dialect: &dyn Dialect, was: &[Value], names: Names<'_>) -> Vec<Was> {
    let remember = |backend: &Value| Was {
        split: dialect.part(backend, names) == Part::Whole,
        weight: backend.get("weight").cloned(),
    };
    was.iter().map(remember).collect()
}

/// At rest the candidate has no pods: a rule that names both tracks by itself and gives it a share would send that nowhere.
fn rest(dialect: &dyn Dialect, was: &mut Vec<Value>, names: Names<'_>) {
    let lost = was.iter().any(|backend| {
        dialect.part(backend, names) == Part::Canary && weight_of(backend).is_none_or(|weight| weight > 0)
    });
    let stable = was.iter().any(|backend| dialect.part(backend, names) == Part::Stable);
    if lost
        && stable
        && let Some(resting) = divided(dialect, was, names, 0)
    {
        *was = resting;
    }
}
