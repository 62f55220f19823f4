//! What of a record is worth a write: everything but what a restart may cost, which is never more than a minute of watching.

use std::time::Duration;

use crate::model::record::{Record, Sync};
use crate::model::rollout::{GateCount, Phase, StageState};
use crate::model::samples::Tally;

/// Tells whether `after` must be stored before anything is written. Counters, credited time and the wording of sentences alone are
/// not worth a write; they go along with the next one, at least once a minute while a stage is observed.
pub fn must_store(before: &Record, after: &Record) -> bool {
    before != after && durable(before) != durable(after)
}

fn durable(record: &Record) -> Record {
    let mut record = record.clone();
    // Why a declaration cannot be used, that a prepared rollout waits for its turn, and what a gateway says of a route, is all that a person has of it; other
    // sentences follow from what is compared.
    let told = match &record.rollout {
        None => record.sync == Sync::Invalid,
        Some(rollout) => match rollout.phase {
            Phase::Preparing => rollout.candidate.version().is_some(),
            // What a gateway says of the route stands nowhere else.
            Phase::Progressing => rollout.router.is_some() && rollout.stage.ready_at.is_none(),
            Phase::Promoting => rollout.router.is_some() && rollout.stable_ready,
            Phase::Baking | Phase::RollingBack => false,
        },
    };
    if !told {
        record.message.clear();
    }
    record.real_weight = 0;
    for condition in &mut record.conditions {
        condition.message.clear();
    }
    if let Some(rollout) = record.rollout.as_mut() {
        rollout.progress_at = rollout.phase_since;
        rollout.progress_pods = 0;
        let stage = &mut rollout.stage;
        for verdict in stage.verdicts.values_mut() {
            verdict.reason.clear();
            verdict.numbers = crate::model::verdict::Numbers::default();
        }
        // A failed measurement counts for ever: it is stored when it happens.
        for count in stage.gates.values_mut() {
            let (_, failed) = count.totals();
            *count = GateCount { base_failed: failed, ..GateCount::default() };
        }
        let StageState {
            credited,
            credited_to,
            session,
            base_candidate,
            base_stable,
            last_candidate,
            last_stable,
            latency,
            begun_anew,
            ..
        } = stage;
        *credited = Duration::ZERO;
        *credited_to = None;
        *session = 0;
        *latency = None;
        begun_anew.clear();
        for tally in [base_candidate, base_stable, last_candidate, last_stable] {
            *tally = Tally::default();
        }
    }
    record
}
