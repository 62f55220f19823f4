//! Held and parked identities: what ended unpromoted does not start again by itself.

use std::time::Duration;

use jiff::Timestamp;

use super::machine::Machine;
use crate::model::desired::Identity;
use crate::model::duration::doubled;
use crate::model::image::ImageState;
use crate::model::record::Record;
use crate::model::rollout::{HeldVersion, Hold};
use crate::model::transition::Kind;
use crate::model::verdict::{Gate, Verdict};

/// Parked identities are let go by themselves so many times at most.
pub const PARKED_TIMES: u32 = 5;
const PARKED_FIRST: Duration = Duration::from_mins(10);
const PARKED_LONGEST: Duration = Duration::from_hours(6);

/// Returns what holds or parks an identity now, the newest entry.
pub fn holding<'a>(record: &'a Record, identity: &Identity) -> Option<(u64, &'a HeldVersion)> {
    record
        .held
        .iter()
        .rev()
        .find(|(_, held)| &held.identity == identity)
        .filter(|(_, held)| !held.released)
        .map(|(number, held)| (*number, held))
}

/// Makes the entry for an identity that just ended: parked ones wait 10 min, doubling to 6 h.
pub fn entry(
    record: &Record,
    identity: &Identity,
    hold: Hold,
    verdict: Verdict,
    now: Timestamp,
) -> HeldVersion {
    let earlier =
        record.held.values().filter(|held| &held.identity == identity && held.hold == Hold::Parked).count();
    let times = u32::try_from(earlier).unwrap_or(u32::MAX).saturating_add(1);
    let wait = doubled(PARKED_FIRST, times.saturating_sub(1), PARKED_LONGEST);
    // Whom a person left waiting is not asked again by itself.
    let again = hold == Hold::Parked && verdict.gate != Gate::Command;
    let not_before = again.then(|| now.saturating_add(wait).unwrap_or(now));
    HeldVersion { identity: identity.clone(), hold, verdict, since: now, times, not_before, released: false }
}

impl Machine<'_> {
    /// Lets go what a person's `retry` names: the head's identity. Returns whether anything was held.
    pub fn release_hold(&mut self, identity: &Identity, by: &str) -> bool {
        let mut any = false;
        for held in self.record.held.values_mut().filter(|held| &held.identity == identity && !held.released)
        {
            held.released = true;
            any = true;
        }
        if any {
            let kind = Kind::HoldReleased { identity: identity.short().to_owned(), by: by.to_owned() };
            self.say(kind, format!("version {} may start again: {by}", identity.short()));
        }
        any
    }

    /// Lets a parked identity go when its own cause is seen gone and its back-off is over.
    pub fn release_parked(&mut self, identity: &Identity) {
        let Some((_, held)) = holding(&self.record, identity) else { return };
        let Some(not_before) = held.not_before.filter(|_| held.hold == Hold::Parked) else { return };
        if held.times > PARKED_TIMES {
            return;
        }
        if self.input.now < not_before {
            self.wake_at(not_before);
            return;
        }
        let gone = match held.verdict.gate {
            Gate::Image => matches!(self.input.images.get(identity), Some(ImageState::Resolved(_))),
            // Room, rights and providers can only be seen by trying again; the back-off bounds how often.
            _ => true,
        };
        if gone {
            self.release_hold(identity, "the cause of its parking is gone");
        }
    }
}
