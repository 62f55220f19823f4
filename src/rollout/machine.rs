//! What every phase shares: the record being advanced, the view, the transitions, and the evaluation of the present stage.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::gates::{self, Evaluation, Stage};
use super::in_place;
use super::input::Inputs;
use super::jobs;
use super::size::{self, Bounds, Pair, Sizes};
use super::view::{View, Workload};
use crate::model::observed::PodView;
use crate::model::policy::{Policy, Strategy};
use crate::model::record::Record;
use crate::model::rollout::{Lockstep, Phase, Rollout, StageState};
use crate::model::transition::{Kind, Transition};

/// How often tallies are stored while nothing else happens.
pub const STORE_EVERY: Duration = Duration::from_mins(1);

/// One pass's work on one record.
pub struct Machine<'a> {
    /// The record, changed as the pass goes.
    pub record: Record,
    /// What decisions rest on.
    pub input: &'a Inputs<'a>,
    /// The workloads.
    pub view: View,
    /// What happened so far.
    pub transitions: Vec<Transition>,
    /// The earliest time at which something is due.
    pub due: Option<Timestamp>,
    /// What the record said of the running stage and its group. A stage whose other conditions are not met any more says nothing.
    pub lockstep: Option<Lockstep>,
}

impl<'a> Machine<'a> {
    /// Begins a pass.
    pub fn new(record: &Record, input: &'a Inputs<'a>) -> Self {
        let view = View::new(record, input.release, input.namespace.as_str(), input.observed);
        let mut record = record.clone();
        let lockstep = record.rollout.as_mut().and_then(|rollout| rollout.stage.lockstep.take());
        Self { record, input, view, transitions: Vec::new(), due: None, lockstep }
    }

    /// Records a transition.
    pub fn say(&mut self, kind: Kind, sentence: impl Into<String>) {
        let (sentence, now) = (sentence.into(), self.input.now);
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.note(now, kind.name(), &sentence);
        }
        let release = self.input.release.clone();
        self.transitions.push(Transition {
            at: self.input.now,
            environment: release.environment.clone(),
            release,
            team: self.record.team.clone(),
            source: self.record.source.clone(),
            rollout: self.record.rollout.as_ref().map(|rollout| rollout.number),
            kind,
            sentence,
        });
    }

    /// Asks to be looked at again at `at`, unless something earlier is due.
    pub fn wake_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Tells whether `limit` has passed since `since`; if not, asks to be woken then.
    pub fn overdue(&mut self, since: Timestamp, limit: Duration) -> bool {
        if gates::elapsed(since, self.input.now) >= limit {
            return true;
        }
        if let Ok(at) = since.checked_add(limit) {
            self.wake_at(at);
        }
        false
    }

    /// The bounds of the sizes of a rollout.
    pub fn bounds(&self, rollout: &Rollout) -> Bounds {
        bounds(rollout, self.record.replicas)
    }

    /// What is there of both tracks.
    pub fn sizes(&self) -> Sizes {
        sizes(&self.view)
    }

    /// Enters a phase: clocks and measuring begin anew.
    pub fn enter(&mut self, phase: Phase) {
        let now = self.input.now;
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.phase = phase;
            rollout.phase_since = now;
            rollout.step_since = now;
            rollout.progress_at = now;
            rollout.progress_pods = 0;
            next_stage(rollout);
            next_people(rollout);
        }
    }

    /// Asks every gate of the present stage. One that is not `observed` asks pod state and health check only.
    pub fn evaluate(&self, rollout: &Rollout, observed: bool) -> Evaluation {
        let (candidate, stable) = tracks(rollout, &self.view);
        Stage {
            policy: &rollout.policy,
            max_error_rate: rollout.policy.rollback.max_error_rate.filter(|_| observed),
            declared: gates::declared::asked(rollout, observed),
            jobs: self.jobs(rollout, observed),
            max_latency: if observed { &rollout.policy.rollback.max_latency } else { &[] },
            state: &rollout.stage,
            session: self.input.session,
            rollout: rollout.number,
            candidate: &candidate,
            stable: &stable,
            samples: self.input.samples,
            wanted: self.record.replicas > 0,
            since: rollout.step_since,
            now: self.input.now,
        }
        .evaluate()
    }

    /// Returns what is seen of the Jobs of the gates that the present stage asks.
    pub fn jobs(&self, rollout: &Rollout, paused: bool) -> BTreeMap<String, gates::job::Seen> {
        let asked = gates::declared::asked(rollout, paused).into_iter();
        asked
            .filter_map(|gate| {
                let key = gates::declared::gate_key(gate);
                let run = rollout.stage.jobs.get(&key)?;
                let seen = jobs::look(&self.record, self.input, rollout, gate, run);
                Some((key, seen))
            })
            .collect()
    }

    /// Notes a gained pod: deadlines of Promoting and `RollingBack` count from the last one.
    pub fn note_progress(&mut self, pods: u32) {
        let now = self.input.now;
        if let Some(rollout) = self.record.rollout.as_mut().filter(|rollout| pods > rollout.progress_pods) {
            rollout.progress_pods = pods;
            rollout.progress_at = now;
        }
    }
}

/// Begins measuring from zero.
pub fn next_stage(rollout: &mut Rollout) {
    let number = rollout.stage.number.saturating_add(1);
    rollout.stage = StageState { number, ..StageState::default() };
}

/// Forgets what people said of the stage that ends: who promoted or approved did not see the next one.
pub fn next_people(rollout: &mut Rollout) {
    rollout.people.promoted = None;
    rollout.people.approvals.clear();
    rollout.people.waited_since = None;
}

/// Returns the bounds of the sizes of a rollout that wants so many pods. With a router, or an autoscaler, both tracks
/// may have all of them.
pub fn bounds(rollout: &Rollout, replicas: u32) -> Bounds {
    let Policy { max_surge, max_unavailable, .. } = rollout.policy;
    let mut bounds = Bounds::new(replicas, max_surge, max_unavailable);
    if rollout.router.is_some() || rollout.scaling.scaled {
        bounds.most = bounds.most.max(replicas.saturating_mul(2));
    }
    bounds
}

/// Returns the sizes that a step of this weight rests at.
pub fn step_sizes(rollout: &Rollout, bounds: Bounds, weight: u8) -> Pair {
    match (&rollout.router, rollout.scaling.candidate) {
        (None, _) if in_place::is_in_place(rollout) => in_place::sizes(bounds, weight),
        (None, Some(candidate)) => Pair { stable: bounds.wanted, candidate },
        (None, None) => size::resting(bounds, weight.min(99)),
        (Some(_), _) => size::routed(bounds, weight, rollout.policy.strategy == Strategy::BlueGreen),
    }
}

/// Reads the sizes out of a view; what is absent or unknown counts as none.
pub fn sizes(view: &View) -> Sizes {
    let stable = view.stable.present();
    let canary = view.canary.present();
    let replicas = |workload: Option<&Workload>| workload.map_or(0, |workload| workload.replicas);
    let ready = |workload: Option<&Workload>| workload.map_or(0, Workload::ready);
    Sizes {
        spec: Pair { stable: replicas(stable), candidate: replicas(canary) },
        ready: Pair { stable: ready(stable), candidate: ready(canary) },
        broken: stable.map_or(0, Workload::broken),
    }
}

/// Returns the pods of the candidate and those of stable, as the running phase tells them apart.
pub fn tracks(rollout: &Rollout, view: &View) -> (Vec<PodView>, Vec<PodView>) {
    let pods = |workload: Option<&Workload>, newest: bool| {
        workload.map_or_else(Vec::new, |workload| {
            if newest { workload.current.clone() } else { workload.former.clone() }
        })
    };
    let (stable, canary) = (view.stable.present(), view.canary.present());
    // Stable's Deployment carries the candidate's template once this rollout has written it.
    let moved = rollout.template_moved
        && stable.is_some_and(|workload| workload.settled && workload.rollout == Some(rollout.number));
    let mut candidate = pods(canary, true);
    if rollout.cover.is_some() {
        // What stands beside is an earlier candidate, which serves: the new one's pods are stable's Deployment's own.
        let former = pods(stable, false);
        let (new, mut old) = if moved { (pods(stable, true), former) } else { (Vec::new(), former) };
        old.extend(candidate);
        return (new, old);
    }
    if moved {
        candidate.extend(pods(stable, true));
        (candidate, pods(stable, false))
    } else {
        let mut old = pods(stable, true);
        old.extend(pods(stable, false));
        (candidate, old)
    }
}

/// Tells whether a second Deployment stands beside stable's in this rollout.
pub fn is_beside(rollout: &Rollout) -> bool {
    rollout.cover.is_some() || is_stepped(rollout) && rollout.workload.is_deployment()
}

/// Tells whether a newer version waits until this rollout has ended, or gone back: its candidate has stable beside it.
pub fn is_gradual(rollout: &Rollout) -> bool {
    rollout.cover.is_some() || is_stepped(rollout)
}

/// Tells whether a part of the traffic goes to the candidate before all of it does.
pub fn is_stepped(rollout: &Rollout) -> bool {
    rollout.policy.strategy.is_beside() && !rollout.first && !rollout.forward
}
