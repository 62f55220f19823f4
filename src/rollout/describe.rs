//! How a release shows: phase, health, sync, weight, one sentence, conditions. Derived anew on every pass; nothing is decided on it.

use super::autoscale;
use super::hold;
use super::machine::{Machine, is_beside};
use super::route::Choice;
use super::run::is_job;
use super::view::Workload;
use super::{order, people};
use crate::model::desired::{Head, Mode};
use crate::model::duration::rough;
use crate::model::observed::Known;
use crate::model::policy::Approval;
use crate::model::record::{Condition, Health, Sync};
use crate::model::rollout::{Candidate, Hold, Phase, Rollout};

impl Machine<'_> {
    /// Writes what people read.
    pub fn describe(&mut self) {
        self.record.phase = self.phase_word();
        self.record.health = self.health();
        self.record.sync = self.sync();
        let (asked, real) = self.weights();
        (self.record.weight, self.record.real_weight) = (asked, real);
        if let Some(stable) = &self.record.stable {
            self.record.revision = stable.version.revision.commit.short().to_owned();
        }
        self.record.message = self.sentence();
        self.conditions();
    }

    fn phase_word(&self) -> String {
        if let Some(rollout) = &self.record.rollout {
            rollout.phase.name().to_owned()
        } else {
            let failed = self.record.serving.is_some()
                || self.record.stable.is_none() && !self.record.history.is_empty();
            if failed { "Failed".to_owned() } else { "Stable".to_owned() }
        }
    }

    fn health(&self) -> Health {
        if self.is_of_job() {
            return self.health_of_job();
        }
        let wanted = self.record.replicas;
        let stable = match &self.view.stable {
            Known::Unknown => return Health::Unknown,
            Known::Absent if self.record.stable.is_none() && self.record.history.is_empty() => {
                Health::Progressing
            }
            Known::Absent => Health::Missing,
            Known::Present(workload) if wanted > 0 && workload.ready() == 0 => match &self.record.rollout {
                Some(rollout) if rollout.first => Health::Progressing,
                _ => Health::Degraded,
            },
            Known::Present(workload) if workload.settled && workload.ready() >= wanted => Health::Healthy,
            Known::Present(_) => Health::Progressing,
        };
        let first_failed =
            self.record.rollout.is_none() && self.record.stable.is_none() && !self.record.history.is_empty();
        match &self.record.rollout {
            None if first_failed => stable.max(Health::Degraded),
            None => stable,
            Some(rollout) if rollout.ending.is_some() || rollout.frozen_since.is_some() => {
                stable.max(Health::Degraded)
            }
            Some(_) => stable.max(Health::Progressing),
        }
    }

    fn sync(&self) -> Sync {
        match self.input.head {
            Head::None { looked: false, .. } => self.record.sync,
            Head::None { looked: true, .. } | Head::KeepLast { .. } => Sync::Invalid,
            Head::Known(desired) => {
                let same = self
                    .record
                    .stable
                    .as_ref()
                    .is_some_and(|stable| stable.version.identity == desired.identity);
                let quiet = self.record.drifted.is_empty() && self.record.applying.is_empty();
                if same && quiet && self.record.rollout.is_none() { Sync::Synced } else { Sync::OutOfSync }
            }
        }
    }

    /// The share that the candidate was asked to have, and has.
    fn weights(&self) -> (u8, u8) {
        let Some(rollout) = &self.record.rollout else {
            let live = super::traffic::live_weight(&self.record, self.input).unwrap_or(0);
            return self.record.serving.as_ref().map_or((0, 0), |serving| (serving.weight, live));
        };
        if let Some(live) = super::traffic::live_weight(&self.record, self.input) {
            return match rollout.phase {
                Phase::Promoting | Phase::Baking if rollout.weight == 0 => {
                    (100, self.template_share(rollout))
                }
                _ => (rollout.weight, live),
            };
        }
        let real = self.sizes().spec.share();
        match rollout.phase {
            Phase::Preparing | Phase::RollingBack => (0, if is_beside(rollout) { real } else { 0 }),
            Phase::Progressing => {
                let in_place = super::in_place::is_in_place(rollout);
                let real = if in_place { self.template_share(rollout) } else { real };
                (rollout.current_step().map_or(0, |step| step.weight), real)
            }
            Phase::Promoting | Phase::Baking => (100, self.template_share(rollout)),
        }
    }

    /// The share of ready pods that run the candidate while stable's Deployment rolls.
    fn template_share(&self, rollout: &Rollout) -> u8 {
        let (candidate, stable) = super::machine::tracks(rollout, &self.view);
        let ready = |pods: &[crate::model::observed::PodView]| {
            u32::try_from(pods.iter().filter(|pod| pod.ready_since.is_some()).count()).unwrap_or(u32::MAX)
        };
        super::size::Pair { stable: ready(&stable), candidate: ready(&candidate) }.share()
    }

    fn sentence(&self) -> String {
        match &self.record.rollout {
            Some(rollout) => self.running_sentence(rollout),
            None => self.resting_sentence(),
        }
    }

    fn resting_sentence(&self) -> String {
        let head = match self.input.head {
            Head::None { reason, .. } | Head::KeepLast { reason, .. } => return reason.clone(),
            Head::Known(desired) => desired,
        };
        let serving = self.record.serving.as_ref().map_or(String::new(), |serving| {
            let commit = serving.candidate.revision().commit.short();
            format!("; commit {commit} of rollout {} keeps the traffic", serving.number)
        });
        let rests =
            self.record.stable.as_ref().is_some_and(|stable| stable.version.identity == head.identity);
        if rests && self.is_of_job() {
            return format!("commit {} ran to its end", self.record.revision);
        }
        if rests && self.record.serving.is_none() {
            let doubled = self.record.autoscale.and_then(|_| autoscale::foreign(&self.record, self.input));
            let doubled = doubled.map_or(String::new(), |(key, _)| format!("; {}", autoscale::doubled(key)));
            return format!("commit {} runs{doubled}", self.record.revision);
        }
        if let Some((number, held)) = hold::holding(&self.record, &head.identity) {
            let word = if held.hold == Hold::Held { "held" } else { "parked" };
            return format!(
                "version {} is {word} since rollout {number}: {}{serving}",
                head.identity.short(),
                held.verdict
            );
        }
        if self.record.mode == Mode::Observe {
            return format!("observing: version {} is not applied", head.identity.short());
        }
        if self.input.suspended {
            return "suspended: nothing new starts".to_owned();
        }
        if !head.auto_deploy {
            return format!("auto_deploy is false: version {} waits", head.identity.short());
        }
        if self.record.outbox_full() {
            return "waiting: the outbox is full, the event broker does not answer".to_owned();
        }
        format!("version {} is about to start", head.identity.short())
    }

    fn running_sentence(&self, rollout: &Rollout) -> String {
        if let Some(ending) = &rollout.ending {
            return format!("on the way back: {}", ending.verdict);
        }
        if rollout.frozen_since.is_some() {
            return "a gate failed and rollback.auto is false: frozen until abort or a newer version"
                .to_owned();
        }
        if let Some(asked) = &rollout.people.paused {
            return format!("paused by {}: it stays as it is until `resume`", asked.who);
        }
        let of = rollout.policy.steps.len();
        match (rollout.phase, &rollout.candidate) {
            (Phase::Preparing, Candidate::Waiting { identity, .. }) => {
                match self.input.images.get(identity) {
                    Some(
                        crate::model::image::ImageState::Absent { reason }
                        | crate::model::image::ImageState::Unknown { reason },
                    ) => {
                        format!("waiting for its image: {reason}")
                    }
                    _ => "waiting for its image".to_owned(),
                }
            }
            (Phase::Preparing, Candidate::Ready(_)) => self.waiting_sentence(rollout),
            (Phase::Progressing, _) => {
                let step = rollout.step.saturating_add(1);
                let asked = rollout.step_weight();
                if let Some(sentence) = self.waits_in_group(rollout) {
                    format!("step {step} of {of}: {sentence}")
                } else if rollout.stage.ready_at.is_some() {
                    format!("step {step} of {of}: {}", watching(rollout, "observing"))
                } else if rollout.router.is_some() && (!rollout.split || rollout.weight == asked) {
                    let why = self.why_not_routed().unwrap_or_else(|| "about to be split".to_owned());
                    format!("step {step} of {of}: moving the traffic: {why}")
                } else {
                    format!("step {step} of {of}: waiting for its pods")
                }
            }
            (Phase::Promoting, _) if is_job(&rollout.policy) => {
                format!("its Job runs{}", unknown_clause(rollout))
            }
            (Phase::Promoting, _) => {
                if let Some(why) = self.why_not_routed().filter(|_| rollout.stable_ready) {
                    return format!("promoting: moving the traffic back to stable: {why}");
                }
                let ready = self.view.stable.present().map_or(0, Workload::ready_current);
                format!("promoting: {ready} of {} pods run the candidate", self.record.replicas)
            }
            (Phase::Baking, _) => self.waits_in_group(rollout).unwrap_or_else(|| watching(rollout, "baking")),
            (Phase::RollingBack, _) => "on the way back".to_owned(),
        }
    }

    /// What a rollout with its image waits for before it starts.
    fn waiting_sentence(&self, rollout: &Rollout) -> String {
        let turn = order::turn(self.input.release, rollout, self.input.around, self.input.now);
        if let Some(unmet) = turn {
            return format!("waiting for its turn: {}", unmet.reason);
        }
        if let Some(sentence) = unapproved(rollout, people::start(rollout)) {
            return sentence;
        }
        if let Some(sentence) = self.waits_in_group(rollout) {
            return sentence;
        }
        if !self.input.slot && !rollout.over {
            return "waiting for a slot: max_concurrent_rollouts of the environment is reached".to_owned();
        }
        if let Some(sentence) = waiting_gate(rollout) {
            return sentence;
        }
        match self.input.observed.namespace {
            Known::Absent => format!("waiting for namespace {}: it does not exist", self.input.namespace),
            _ => match self.choose_router(rollout) {
                Choice::Wait(why) | Choice::Refused(why) => format!("waiting for its route: {why}"),
                Choice::Pods | Choice::Route(_) => "keeping its objects".to_owned(),
            },
        }
    }

    fn conditions(&mut self) {
        let record = &self.record;
        let ready = match record.health {
            Health::Healthy => "True",
            Health::Unknown => "Unknown",
            _ => "False",
        };
        let synced = match record.sync {
            Sync::Synced => "True",
            Sync::Unknown => "Unknown",
            _ => "False",
        };
        // What runs is not shown as held, though going back to it left it on the list.
        let stable = record.stable.as_ref().map(|stable| &stable.version.identity);
        let asked = self.input.head.desired().map(|desired| &desired.identity);
        let held = asked.filter(|asked| Some(*asked) != stable);
        let held = held.is_some_and(|asked| hold::holding(record, asked).is_some());
        let word = |yes: bool| if yes { "True" } else { "False" };
        let message = record.message.clone();
        let wanted = [
            ("Ready", ready, record.health.name().to_owned()),
            ("Synced", synced, record.sync.name().to_owned()),
            ("Progressing", word(record.rollout.is_some()), record.phase.clone()),
            ("Held", word(held), if held { "Held".to_owned() } else { "NotHeld".to_owned() }),
        ];
        let now = self.input.now;
        let before = std::mem::take(&mut self.record.conditions);
        for (kind, status, reason) in wanted {
            let old = before.iter().find(|condition| condition.kind == kind);
            let since = old.filter(|old| old.status == status).map_or(now, |old| old.last_transition_time);
            self.record.conditions.push(Condition {
                kind: kind.to_owned(),
                status: status.to_owned(),
                reason,
                message: message.clone(),
                last_transition_time: since,
            });
        }
    }
}

/// What a stage whose pods are ready waits for.
fn watching(rollout: &Rollout, word: &str) -> String {
    let wait = people::wait(rollout);
    let unknown = unknown_clause(rollout);
    if rollout.stage.credited < wait.pause || !unknown.is_empty() {
        return format!("{word}, {} of {}{unknown}", rough(rollout.stage.credited), rough(wait.pause));
    }
    if let Some(sentence) = unapproved(rollout, wait.approve.as_ref()) {
        return sentence;
    }
    if wait.manual { "waiting for `promote`".to_owned() } else { format!("{word}, asking its gates once") }
}

fn unapproved(rollout: &Rollout, approval: Option<&Approval>) -> Option<String> {
    let approval = approval?;
    let (missing, _) = people::missing(rollout, Some(approval))?;
    Some(format!("waiting for {}", people::approvals(missing, approval)))
}

/// What a rollout waits for before its first pod; without numbers, since each change of the sentence is stored.
fn waiting_gate(rollout: &Rollout) -> Option<String> {
    let mut verdicts = rollout.stage.verdicts.values();
    let waits = verdicts.find(|v| v.answer != crate::model::verdict::Answer::Pass && !v.dry_run)?;
    Some(format!(
        "waiting before its first pod: {} {}: {}",
        waits.gate.name(),
        waits.name.as_deref()?,
        waits.reason
    ))
}

fn unknown_clause(rollout: &Rollout) -> String {
    let verdicts = rollout.stage.verdicts.values();
    let unknown = verdicts
        .filter(|verdict| verdict.answer == crate::model::verdict::Answer::Unknown)
        .map(ToString::to_string);
    unknown.take(1).fold(String::new(), |_, sentence| format!("; held by {sentence}"))
}
