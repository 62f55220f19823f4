//! The entry: record × inputs → record′. One call takes at most one step of the machine; a pass that stored something is followed
//! by another at once.

use super::input::{Advance, Inputs};
use super::machine::Machine;
use crate::model::desired::Mode;
use crate::model::record::{COMMANDS, HELD, HISTORY, Record};
use crate::model::rollout::Phase;

/// Decides. Same inputs, same answer; nothing is read but what is given.
///
/// The order matters: what the head says is noted first, commands come before gates, and only then does the phase decide.
pub fn advance(record: &Record, input: &Inputs<'_>) -> Advance {
    let mut machine = Machine::new(record, input);
    machine.record.epoch = machine.record.epoch.max(input.epoch);
    machine.note_head();
    machine.note_size();
    machine.obey();
    machine.refuse_unreadable();
    machine.note_drift();
    machine.note_mates();
    machine.await_silence();
    match machine.record.rollout.as_ref().map(|rollout| rollout.phase) {
        None => machine.idle(),
        Some(Phase::Preparing) => machine.preparing(),
        Some(Phase::Progressing) => machine.progressing(),
        Some(Phase::Promoting) => machine.promoting(),
        Some(Phase::Baking) => machine.baking(),
        Some(Phase::RollingBack) => machine.rolling_back(),
    }
    machine.describe();
    let Machine { mut record, transitions, due, .. } = machine;
    keep_newest(&mut record.held, HELD);
    keep_newest(&mut record.history, HISTORY);
    forget_answers(&mut record, input);
    Advance { record, transitions, due }
}

/// Keeps the newest answers, and every answer whose command still stands in the `spec`: without it the command would be new again.
fn forget_answers(record: &mut Record, input: &Inputs<'_>) {
    let asked = |id: &String| input.commands.contains_key(id) || input.unreadable.contains_key(id);
    while record.commands.len() > COMMANDS {
        let spare = record.commands.iter().filter(|(id, _)| !asked(id));
        let Some(oldest) = spare.min_by_key(|(_, result)| result.at).map(|(id, _)| id.clone()) else { break };
        record.commands.remove(&oldest);
    }
}

fn keep_newest<V>(map: &mut std::collections::BTreeMap<u64, V>, most: usize) {
    while map.len() > most {
        map.pop_first();
    }
}

impl Machine<'_> {
    /// Takes over what belongs to no version: who owns the release, whether it is acted on.
    fn note_head(&mut self) {
        let Some(desired) = self.input.head.desired() else { return };
        self.record.team = desired.team.clone();
        // A switch during a rollout takes effect when it ends.
        if self.record.rollout.is_none() {
            self.record.mode = desired.mode;
        }
        let commit = desired.revision.commit.as_str();
        if self
            .record
            .head
            .as_ref()
            .is_none_or(|head| head.commit != commit || head.identity != desired.identity)
        {
            self.record.head = Some(crate::model::record::HeadSeen {
                commit: commit.to_owned(),
                identity: desired.identity.clone(),
                subject: desired.revision.subject.clone(),
                seen_at: self.input.now,
            });
        }
    }

    /// Tells whether the daemon acts on this release.
    pub fn acts(&self) -> bool {
        self.record.mode == Mode::Apply
    }
}
