//! Commands of people: answered exactly once, refused with a reason where they make no sense.

use super::hold;
use super::machine::Machine;
use crate::model::command::{Command, CommandResult, Verb};
use crate::model::rollout::{Ending, Hold, Outcome, Phase};
use crate::model::transition::Kind;
use crate::model::verdict::{Gate, Verdict};

impl Machine<'_> {
    /// Answers every command that has no answer yet.
    pub fn obey(&mut self) {
        let commands = self.input.commands;
        for (id, command) in commands {
            if self.record.commands.contains_key(id) {
                continue;
            }
            let answer = match command.verb {
                Verb::Abort => self.abort(command),
                Verb::Retry => self.retry(command),
            };
            let (accepted, message) = match answer {
                Ok(message) => (true, message),
                Err(message) => (false, message),
            };
            let result = CommandResult {
                accepted,
                message: message.clone(),
                who: command.who.clone(),
                at: self.input.now,
            };
            self.record.commands.insert(id.clone(), result);
            let kind = Kind::CommandAnswered {
                verb: command.verb.name().to_owned(),
                who: command.who.clone(),
                why: command.why.clone(),
                accepted,
            };
            let word = if accepted { "accepted" } else { "refused" };
            self.say(kind, format!("{} by {} {word}: {message}", command.verb.name(), command.who));
        }
    }

    fn abort(&mut self, command: &Command) -> Result<String, String> {
        let Some(rollout) = self.record.rollout.as_ref() else {
            return Err("no rollout is running".to_owned());
        };
        if let Some(ending) = &rollout.ending {
            return Err(format!("rollout {} is already on its way back: {}", rollout.number, ending.verdict));
        }
        if rollout.phase == Phase::Baking && rollout.proven {
            return Err(format!("rollout {} is already proven", rollout.number));
        }
        let why = if command.why.is_empty() { String::new() } else { format!(": {}", command.why) };
        let number = rollout.number;
        self.end(Ending {
            outcome: Outcome::Aborted,
            hold: Some(Hold::Held),
            verdict: Verdict::fail(Gate::Command, format!("aborted by {}{why}", command.who)),
            at: self.input.now,
        });
        Ok(format!("rollout {number} is taken back and its version held"))
    }

    fn retry(&mut self, command: &Command) -> Result<String, String> {
        let Some(identity) = self.record.head.as_ref().map(|head| head.identity.clone()) else {
            return Err("no version is known that could be tried again".to_owned());
        };
        if self.record.stable.as_ref().is_some_and(|stable| stable.version.identity == identity) {
            return Err("the head's version is stable already".to_owned());
        }
        if self
            .record
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.candidate.identity() == &identity && rollout.ending.is_none())
        {
            return Err("the head's version is being rolled out already".to_owned());
        }
        if hold::holding(&self.record, &identity).is_none() {
            return Err("the head's version is neither held nor parked".to_owned());
        }
        self.release_hold(&identity, &format!("retry by {}", command.who));
        Ok(format!("version {} starts again", identity.short()))
    }
}
