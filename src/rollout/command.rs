//! Commands of people: answered exactly once, refused with a reason where they make no sense.

use super::machine::Machine;
use super::{hold, people};
use crate::model::command::{Command, CommandResult, Verb};
use crate::model::rollout::{Asked, Ending, Hold, Outcome, Phase, Rollout};
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
            let answer = self.answer(command);
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

    /// Answers the commands that this program cannot read, so that nobody waits for them.
    pub fn refuse_unreadable(&mut self) {
        for (id, problem) in self.input.unreadable {
            if !self.record.commands.contains_key(id) {
                let message = format!("it cannot be read by this daemon: {problem}");
                let result =
                    CommandResult { accepted: false, message, who: String::new(), at: self.input.now };
                self.record.commands.insert(id.clone(), result);
            }
        }
    }

    fn answer(&mut self, command: &Command) -> Result<String, String> {
        let running = self.record.rollout.as_ref().map(|rollout| rollout.number);
        if let (Some(meant), true) = (command.rollout, command.rollout != running) {
            let now = running.map_or("none runs now".to_owned(), |now| format!("rollout {now} runs now"));
            return Err(format!("it was meant for rollout {meant}, and {now}"));
        }
        match command.verb {
            Verb::Abort => self.abort(command),
            Verb::Retry => self.retry(command),
            Verb::Promote => self.promote_by(command),
            Verb::Pause => self.pause(command),
            Verb::Resume => self.resume(),
            Verb::Undo => self.undo(command),
            Verb::Approve => self.approve(command),
        }
    }

    /// Returns the running rollout if a person can still say something of it.
    fn steerable(&self) -> Result<&Rollout, String> {
        let Some(rollout) = self.record.rollout.as_ref() else {
            return Err("no rollout is running".to_owned());
        };
        if let Some(ending) = &rollout.ending {
            return Err(format!("rollout {} is already on its way back: {}", rollout.number, ending.verdict));
        }
        if rollout.proven {
            return Err(format!("rollout {} is already proven", rollout.number));
        }
        Ok(rollout)
    }

    fn people(&mut self) -> Option<&mut crate::model::rollout::People> {
        self.record.rollout.as_mut().map(|rollout| &mut rollout.people)
    }

    fn asked(&self, command: &Command) -> Asked {
        Asked { who: command.who.clone(), why: command.why.clone(), at: self.input.now }
    }

    fn promote_by(&mut self, command: &Command) -> Result<String, String> {
        let rollout = self.steerable()?;
        let (number, place) = (rollout.number, place(rollout));
        if rollout.frozen_since.is_some() {
            return Err("a gate failed: `abort` it, or roll out a newer version".to_owned());
        }
        if rollout.people.promoted_fully.is_some() || (rollout.people.promoted.is_some() && !command.full) {
            return Err(format!("rollout {number} waits for no pause {place} already"));
        }
        // The approvals of the running step still stand; before the start none runs.
        let begun = if rollout.phase == Phase::Preparing { 0 } else { rollout.step as usize + 1 };
        let mut later = (1..).zip(&rollout.policy.steps).skip(begun);
        let asks = later.find(|(_, step)| step.approve.is_some());
        let message = match (command.full, rollout.phase) {
            (true, _) => {
                if let Some((step, _)) = asks {
                    return Err(format!("step {step} asks for an approval: promote it step by step"));
                }
                format!("rollout {number} goes to 100 % without a further pause, unless a gate fails")
            }
            (false, Phase::Preparing) => {
                return Err(format!("rollout {number} has not started: {}", self.record.message));
            }
            (false, Phase::Promoting) => {
                return Err(format!("rollout {number} is being promoted: its pods are on their way"));
            }
            (false, _) => {
                let wait = people::wait(rollout);
                if let Some((missing, _)) = people::missing(rollout, wait.approve.as_ref()) {
                    return Err(format!("{place} it waits for {missing} more approvals: `approve`"));
                }
                format!("rollout {number} goes on {place} as soon as its gates pass")
            }
        };
        let asked = self.asked(command);
        let paused = self.people().and_then(|people| people.paused.take());
        if let Some(paused) = paused {
            self.shift_clocks(paused.at);
        }
        if let Some(people) = self.people() {
            let kind = if command.full { &mut people.promoted_fully } else { &mut people.promoted };
            *kind = Some(asked);
        }
        Ok(message)
    }

    fn pause(&mut self, command: &Command) -> Result<String, String> {
        let rollout = self.steerable()?;
        let (number, place) = (rollout.number, place(rollout));
        if let Some(asked) = &rollout.people.paused {
            return Err(format!("rollout {number} is paused by {} already", asked.who));
        }
        if rollout.frozen_since.is_some() {
            return Err(format!("rollout {number} is frozen already, since a gate failed"));
        }
        if rollout.phase == Phase::Promoting {
            return Err(format!("rollout {number} is being promoted: `abort` takes it back"));
        }
        let asked = self.asked(command);
        if let Some(people) = self.people() {
            people.paused = Some(asked);
        }
        Ok(format!(
            "rollout {number} stays {place} until `resume`, for 24h at most; a gate that fails takes it back"
        ))
    }

    fn resume(&mut self) -> Result<String, String> {
        let rollout = self.steerable()?;
        let (number, place) = (rollout.number, place(rollout));
        let manual = people::wait(rollout).manual;
        let Some(asked) = self.people().and_then(|people| people.paused.take()) else {
            let hint = if manual { format!("; {place} it waits for `promote`") } else { String::new() };
            return Err(format!("rollout {number} is not paused{hint}"));
        };
        self.shift_clocks(asked.at);
        Ok(format!("rollout {number} goes on {place}"))
    }

    fn approve(&mut self, command: &Command) -> Result<String, String> {
        let rollout = self.steerable()?;
        let (number, place) = (rollout.number, place(rollout));
        if command.rollout.is_none() {
            return Err("an approval must name the rollout that was looked at".to_owned());
        }
        let approval = match rollout.phase {
            Phase::Preparing => people::start(rollout).cloned(),
            _ => people::wait(rollout).approve,
        };
        let Some(approval) = approval else {
            return Err(format!("rollout {number} asks for no approval {place}"));
        };
        if people::missing(rollout, Some(&approval)).is_none() {
            return Err(format!("rollout {number} has all its approvals {place}"));
        }
        if rollout.people.approvals.contains_key(&command.who) {
            return Err(format!("{} approved of it already; {} people must", command.who, approval.count));
        }
        let asked = self.asked(command);
        let given = self.people().map_or(0, |people| {
            people.approvals.insert(command.who.clone(), asked);
            people.approvals.len()
        });
        Ok(format!("rollout {number} has {given} of {} approvals {place}", approval.count))
    }

    fn abort(&mut self, command: &Command) -> Result<String, String> {
        let number = self.steerable()?.number;
        self.end(Ending {
            outcome: Outcome::Aborted,
            hold: Some(Hold::Held),
            verdict: Verdict::fail(Gate::Command, format!("aborted by {}", command.person())),
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

/// Says where a rollout stands: `at step 2 of 3`.
fn place(rollout: &Rollout) -> String {
    match rollout.phase {
        Phase::Preparing => "before its start".to_owned(),
        Phase::Progressing => {
            format!("at step {} of {}", rollout.step.saturating_add(1), rollout.policy.steps.len())
        }
        Phase::Promoting | Phase::Baking | Phase::RollingBack => "at 100 %".to_owned(),
    }
}
