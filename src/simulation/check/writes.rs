//! Properties of what is written: one accepted write of a daemon, against the record that stood when it was accepted.

use serde_json::Value;

use super::{Facts, Seen};
use crate::model::LABEL_TRACK;
use crate::model::name::ReleaseKey;
use crate::model::policy::Strategy;
use crate::model::record::{Ownership, Record};
use crate::model::rollout::{Phase, Rollout};
use crate::model::traffic::CANARY;
use crate::rollout::machine::{bounds, step_sizes};
use crate::rollout::view::epoch_of;
use crate::sandbox::json as read;
use crate::simulation::gateway;

/// Which of the two Deployments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Track {
    Stable,
    Canary,
}

/// See the module.
pub(super) struct Written<'a> {
    seen: &'a Seen,
    record: Option<&'a Record>,
    /// Ready pods of stable and of the candidate, as the writer was shown them.
    capacity: Option<(u32, u32)>,
    track: Option<Track>,
    /// The share of the candidate before and after, in per cent, where this moves traffic.
    weights: Option<(u8, u8)>,
}

impl<'a> Written<'a> {
    pub(super) fn new(
        seen: &'a Seen,
        record: Option<&'a Record>,
        capacity: Option<(u32, u32)>,
        release: &ReleaseKey,
    ) -> Self {
        let object = &seen.change.new;
        let name = read::text(object, &["metadata", "name"]);
        let service = release.service.as_str();
        let track = match read::text(object, &["kind"]) {
            "Deployment" if name == service => Some(Track::Stable),
            "Deployment" if name.strip_suffix("-canary") == Some(service) => Some(Track::Canary),
            _ => None,
        };
        let of = |object: &Value| share_of(object, service).unwrap_or(0);
        let moves = share_of(object, service).is_some();
        let weights = moves.then(|| (seen.change.old.as_deref().map_or(0, of), of(object)));
        Self { seen, record, capacity, track, weights }
    }

    fn rollout(&self) -> Option<&Rollout> {
        self.record?.rollout.as_ref()
    }

    /// The number of pods that was wanted before, and that is now.
    fn sizes(&self) -> Option<(u32, u32)> {
        let size = |object: &Value| u32::try_from(read::int(object, &["spec", "replicas"])?).ok();
        Some((size(self.seen.change.old.as_ref()?)?, size(&self.seen.change.new)?))
    }

    fn raised(&self, track: Track) -> Option<(u32, u32)> {
        self.sizes().filter(|(old, new)| self.track == Some(track) && new > old && !self.seen.change.deleted)
    }

    fn what(&self) -> String {
        let phase = self.rollout().map_or("no rollout", |rollout| rollout.phase.name());
        format!("{} in {phase}", read::text(&self.seen.change.new, &["metadata", "name"]))
    }
}

/// The share of the traffic that an object gives the candidate; none where it moves none.
fn share_of(object: &Value, service: &str) -> Option<u8> {
    match read::text(object, &["kind"]) {
        "HTTPRoute" | "VirtualService" => gateway::share(object),
        "Service" if read::text(object, &["metadata", "name"]) == service => {
            let track = read::text_opt(object, &["spec", "selector", LABEL_TRACK])?;
            Some(if track == CANARY { 100 } else { 0 })
        }
        _ => None,
    }
}

type Property = fn(&Written<'_>, &mut Facts) -> Option<String>;

const PROPERTIES: [(&str, Property); 9] = [
    ("S2", the_record_allows_it),
    ("S2", the_record_allows_the_weight),
    ("S7", traffic_moves_to_what_is_ready),
    ("S7", traffic_leaves_to_what_is_ready),
    ("S5", nothing_rises_after_a_fail),
    ("S6", capacity_stays),
    ("S11", epochs_of_objects),
    ("S16", deletes_are_known),
    ("S25", templates_change_in_turn),
];

/// Holds every property over an accepted write.
pub(super) fn check(written: &Written<'_>, facts: &mut Facts) -> Vec<(&'static str, String)> {
    PROPERTIES.iter().filter_map(|(name, holds)| Some((*name, holds(written, facts)?))).collect()
}

/// S2: more candidate pods only where the stored record's step asks for them.
fn the_record_allows_it(written: &Written<'_>, _: &mut Facts) -> Option<String> {
    let (_, new) = written.raised(Track::Canary)?;
    let record = written.record?;
    let allowed = written.rollout().and_then(|rollout| {
        let step = rollout.current_step()?;
        let asks = rollout.phase == Phase::Progressing && rollout.ending.is_none();
        asks.then(|| step_sizes(rollout, bounds(rollout, record.replicas), step.weight).candidate)
    });
    // What keeps the traffic although its rollout has ended is as large as the service is.
    let serves = record.serving.is_some() || written.rollout().is_some_and(|rollout| rollout.cover.is_some());
    let allowed = allowed.or(serves.then_some(record.replicas));
    let allowed = allowed.unwrap_or(0);
    (new > allowed).then(|| format!("{new} candidate pods of {allowed}: {}", written.what()))
}

/// S2: no more traffic to the candidate than the stored record gives it.
fn the_record_allows_the_weight(written: &Written<'_>, _: &mut Facts) -> Option<String> {
    let (old, new) = written.weights.filter(|(old, new)| new > old)?;
    let charge = written.record?.serving.as_deref().or(written.rollout());
    let allowed = charge.filter(|rollout| !rollout.joining).map_or(0, |rollout| rollout.weight);
    (new > allowed).then(|| format!("from {old} to {new} % of {allowed}: {}", written.what()))
}

/// S7: traffic moves to a candidate of which the writer was shown a ready pod; an edit of somebody else is put back at any time.
fn traffic_moves_to_what_is_ready(written: &Written<'_>, facts: &mut Facts) -> Option<String> {
    let (old, new) = written.weights?;
    let edited = std::mem::take(&mut facts.edited);
    let (_, candidate) = written.capacity?;
    (new > old && candidate == 0 && !edited).then(|| format!("{new} % to nobody: {}", written.what()))
}

/// S7: it goes back to a stable of which a ready pod was shown, where the candidate still had one.
fn traffic_leaves_to_what_is_ready(written: &Written<'_>, facts: &mut Facts) -> Option<String> {
    let (old, new) = written.weights.filter(|(old, new)| new < old)?;
    let (stable, candidate) = written.capacity?;
    // A way back that is past its deadline goes on with what there is.
    let late = written.rollout().is_some_and(|rollout| facts.ending.contains_key(&rollout.number));
    (stable == 0 && candidate > 0 && !late)
        .then(|| format!("from {old} to {new} % with no pod of stable: {}", written.what()))
}

/// S5: after the verdict the candidate never grows again.
fn nothing_rises_after_a_fail(written: &Written<'_>, _: &mut Facts) -> Option<String> {
    let (old, new) = written.raised(Track::Canary)?;
    let ending = written.rollout()?.ending.as_ref()?;
    Some(format!("from {old} to {new} candidate pods after {}", ending.verdict))
}

/// S6: no write takes ready pods away that are needed: those of both tracks that were shown as ready stay enough.
fn capacity_stays(written: &Written<'_>, _: &mut Facts) -> Option<String> {
    let (track, (old, new)) = (written.track?, written.sizes()?);
    let (record, (stable, canary)) = (written.record?, written.capacity?);
    if new >= old || written.seen.change.deleted {
        return None;
    }
    let (own, other) = if track == Track::Stable { (stable, canary) } else { (canary, stable) };
    if new >= own {
        return None;
    }
    let rollout = written.rollout();
    if rollout.is_some_and(|rollout| rollout.policy.strategy == Strategy::Recreate) {
        return None;
    }
    let floor = rollout.map_or(record.replicas, |rollout| {
        record.replicas.saturating_sub(rollout.policy.max_unavailable.of_floor(record.replicas))
    });
    // On a way back that is past its deadline one ready pod is enough.
    let floor =
        if rollout.is_some_and(|rollout| rollout.phase == Phase::RollingBack) { floor.min(1) } else { floor };
    // Without a rollout max_unavailable comes from the head, which the checker does not see.
    let floor = if rollout.is_none() { floor.saturating_sub(1) } else { floor };
    let left = new.saturating_add(other);
    (left < floor).then(|| format!("{left} ready pods left of {floor}: {}, {old} to {new}", written.what()))
}

/// S11: an object is never written under an older epoch than it was.
fn epochs_of_objects(written: &Written<'_>, facts: &mut Facts) -> Option<String> {
    let number = written.seen.number?;
    written.track?;
    let old = written.seen.change.old.as_ref()?;
    let before = epoch_of(old);
    let name = read::text(old, &["metadata", "name"]).to_owned();
    let known = facts.epochs.entry(name).or_default();
    *known = (*known).max(before);
    (number < before).then(|| format!("epoch {number} wrote over {before}: {}", written.what()))
}

/// S16: what is deleted is named by its UID, and the inventory has it, or it is a kept revision.
fn deletes_are_known(written: &Written<'_>, _: &mut Facts) -> Option<String> {
    if !written.seen.change.deleted {
        return None;
    }
    let object = &written.seen.change.new;
    let uid = read::text(object, &["metadata", "uid"]);
    if read::text(&written.seen.body, &["preconditions", "uid"]) != uid {
        return Some(format!("deleted without its UID: {}", written.what()));
    }
    let owned = written.record.is_some_and(|record| {
        record
            .inventory
            .values()
            .any(|entry| matches!(&entry.ownership, Ownership::Owned { uid: known } if known == uid))
    });
    let revision = read::text(object, &["kind"]) == "Secret";
    (!owned && !revision).then(|| format!("deleted and not in the inventory: {}", written.what()))
}

fn template(object: &Value) -> Option<&Value> {
    read::at(object, &["spec", "template"])
}

/// S25: stable's template changes in Promoting and `RollingBack` only; a foreign edit is put back at any time.
fn templates_change_in_turn(written: &Written<'_>, _: &mut Facts) -> Option<String> {
    if written.track != Some(Track::Stable) {
        return None;
    }
    let (old, new) = (written.seen.change.old.as_ref()?, &written.seen.change.new);
    if template(old) == template(new) {
        return None;
    }
    let foreign = template(old)?.to_string().contains("stranger");
    let phase = written.rollout().map(|rollout| rollout.phase);
    let fits = foreign || matches!(phase, Some(Phase::Promoting | Phase::RollingBack));
    (!fits).then(|| format!("a new template: {}", written.what()))
}
