//! What moves the traffic of a running rollout: how its route stands, and when the weight may rise and fall.
//!
//! The weight rises last, after the candidate's capacity was seen ready, and falls first, as soon as stable's was. Whatever is taken
//! away afterwards waits until the route was accepted as asked.

use std::time::Duration;

use serde_json::Value;

use super::back;
use super::gates::elapsed;
use super::input::Inputs;
use super::machine::{Machine, is_beside};
use super::route::{self, Acceptance, Choice, Claim, Dialect, Names};
use super::view::{Workload, service_key};
use crate::model::LABEL_TRACK;
use crate::model::name::ReleaseKey;
use crate::model::observed::{Known, Live, Observed};
use crate::model::policy::Strategy;
use crate::model::record::Record;
use crate::model::rollout::{Phase, Rollout};
use crate::model::traffic::{CANARY, Cohort, Router, STABLE};

/// How long a mesh that writes no status is given to carry a change to its proxies: nothing says when it has, and a subset that is taken
/// away, or a pod, before the last proxy has heard of it would cost requests.
const SILENCE: Duration = Duration::from_secs(2);

/// What a router shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Give the candidate so many per cent.
    Split(u8),
    /// Be as it was before.
    Joined,
}

/// How a router stands against what it shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not yet so, or not yet accepted: why, one clause.
    Moving(String),
    /// So, and accepted.
    Done,
    /// The route is not there, or has nothing of the Service any more: no traffic comes by it.
    Gone,
}

/// Returns the router in charge and what it shall do; by the record alone, which is stored before anything is written.
pub fn wanted(record: &Record) -> Option<(&Router, Want)> {
    let rollout = record.rollout.as_ref().or(record.serving.as_deref())?;
    let router = rollout.router.as_ref()?;
    Some((router, if rollout.joining { Want::Joined } else { Want::Split(rollout.weight) }))
}

/// Returns whose requests go to the candidate beside its share.
pub fn sent(record: &Record) -> Option<&Cohort> {
    record.rollout.as_ref().or(record.serving.as_deref())?.cohort.as_ref()
}

/// Returns how the router in charge stands; none without one.
pub fn standing(record: &Record, input: &Inputs<'_>) -> Option<Standing> {
    let (router, want) = wanted(record)?;
    let Some(key) = router.route() else { return Some(selected(input, want)) };
    Some(match input.observed.routes.object(key) {
        Known::Unknown => Standing::Moving(format!("{router} could not be read")),
        Known::Absent => Standing::Gone,
        Known::Present(live) => match route::dialect(key) {
            Some(dialect) => of_route(record, input, dialect, (router, live), want),
            None => Standing::Gone,
        },
    })
}

fn of_route(
    record: &Record,
    input: &Inputs<'_>,
    dialect: &dyn Dialect,
    (router, live): (&Router, &Live),
    want: Want,
) -> Standing {
    let object = live.object.as_ref();
    if !route::names_service(dialect, object, names(input)) {
        return Standing::Gone;
    }
    if !patch(record, input, dialect, live, (want, sent(record))).is_empty() {
        return Standing::Moving(format!("{router} does not stand as asked"));
    }
    match dialect.accepted(object, router.gateway()) {
        Acceptance::Accepted => Standing::Done,
        Acceptance::Untold => {
            let asked_at =
                record.rollout.as_ref().or(record.serving.as_deref()).and_then(|rollout| rollout.asked_at);
            if asked_at.is_none_or(|at| elapsed(at, input.now) >= SILENCE) {
                Standing::Done
            } else {
                Standing::Moving(format!("{router} says nothing and is given {} s", SILENCE.as_secs()))
            }
        }
        Acceptance::Waiting(why) | Acceptance::Refused(why) => Standing::Moving(format!("{router}: {why}")),
    }
}

/// Returns what a route lacks to be as wanted.
pub fn patch(
    record: &Record,
    input: &Inputs<'_>,
    dialect: &dyn Dialect,
    live: &Live,
    (want, cohort): (Want, Option<&Cohort>),
) -> Vec<Value> {
    let release = input.release.to_string();
    match want {
        Want::Split(weight) => {
            let claim = Claim::new(&release, record.epoch).with(cohort);
            route::split(dialect, live.object.as_ref(), names(input), claim, weight)
        }
        Want::Joined => route::join(dialect, live.object.as_ref(), names(input), &release),
    }
}

/// The Service that routes of the release name.
pub fn names<'a>(input: &Inputs<'a>) -> Names<'a> {
    Names { service: input.release.service.as_str(), namespace: input.namespace.as_str() }
}

/// Returns the track that the Service's selector shall name; none where it takes all pods.
pub fn track(want: Want) -> Option<&'static str> {
    match want {
        Want::Split(100) => Some(CANARY),
        Want::Split(_) => Some(STABLE),
        Want::Joined => None,
    }
}

fn selected(input: &Inputs<'_>, want: Want) -> Standing {
    match input.observed.object(&service_key(input.release, input.namespace.as_str())) {
        Known::Present(live) if selector(live) == track(want) => Standing::Done,
        Known::Present(_) => Standing::Moving("the Service's selector is not as asked".to_owned()),
        Known::Unknown | Known::Absent => Standing::Moving("the Service could not be read".to_owned()),
    }
}

fn selector(live: &Live) -> Option<&str> {
    live.object.get("spec")?.get("selector")?.get(LABEL_TRACK)?.as_str()
}

/// Returns the share of the traffic that the candidate's own pods have by the router in charge, in per cent; none without one.
pub fn live_weight(record: &Record, input: &Inputs<'_>) -> Option<u8> {
    let (router, _) = wanted(record)?;
    Some(share_of(router, input.release, input.namespace.as_str(), input.observed).unwrap_or(0))
}

/// Returns the share that a router gives the candidate's pods, in per cent; none where it does not tell the tracks apart.
pub fn share_of(router: &Router, release: &ReleaseKey, namespace: &str, observed: &Observed) -> Option<u8> {
    let Some(key) = router.route() else {
        let service = observed.object(&service_key(release, namespace)).present();
        return service.and_then(selector).map(|track| if track == CANARY { 100 } else { 0 });
    };
    let names = Names { service: release.service.as_str(), namespace };
    let live = observed.routes.object(key).present()?;
    route::share(route::dialect(key)?, live.object.as_ref(), names)
}

impl Machine<'_> {
    /// Chooses what moves the traffic of a rollout that is about to start.
    pub fn choose_router(&self, rollout: &Rollout) -> Choice {
        if !is_beside(rollout) || rollout.cover.is_some() || self.record.replicas == 0 {
            return Choice::Pods;
        }
        let input = self.input;
        let chosen =
            route::choose(&rollout.policy.traffic, input.release, input.namespace.as_str(), input.observed);
        match chosen {
            Choice::Pods if rollout.policy.strategy == Strategy::BlueGreen => Choice::Route(Router::Selector),
            other => other,
        }
    }

    /// Returns why the steps of a rollout ask for more than its router can do, and how to mend it.
    pub fn unroutable(rollout: &Rollout, router: Option<&Router>) -> Option<String> {
        let able =
            rollout.cover.is_some() || !is_beside(rollout) || router.is_some_and(|r| r.route().is_some());
        let mut steps = rollout.policy.steps.iter().enumerate().filter(|_| !able);
        let (at, _) = steps.find(|(_, step)| step.cohort.is_some())?;
        Some(format!(
            "`deploy.canary[{at}].match` tells requests apart, and no route moves the traffic of the service: create an HTTPRoute or a VirtualService that has it as a backend, or remove the key"
        ))
    }

    /// Returns how the router in charge stands.
    pub fn standing(&self) -> Option<Standing> {
        standing(&self.record, self.input)
    }

    /// Tells whether the route is as asked and accepted; true without one.
    pub fn routed(&self) -> bool {
        matches!(self.standing(), None | Some(Standing::Done))
    }

    /// Returns why the route is not as asked, one clause.
    pub fn why_not_routed(&self) -> Option<String> {
        match self.standing() {
            Some(Standing::Moving(why)) => Some(why),
            Some(Standing::Gone) => Some("the route is gone, or names the Service no more".to_owned()),
            Some(Standing::Done) | None => None,
        }
    }

    /// Takes all traffic back to stable's own Deployment as soon as that can carry it.
    pub fn fall(&mut self) {
        let Some(rollout) = self.record.rollout.as_ref() else { return };
        if rollout.router.is_none()
            || rollout.weight == 0 && rollout.cohort.is_none()
            || rollout.joining
            || !self.stable_can_take(rollout)
        {
            return;
        }
        let now = self.input.now;
        if let Some(rollout) = self.record.rollout.as_mut() {
            rollout.weight = 0;
            rollout.cohort = None;
            rollout.asked_at = Some(now);
        }
    }

    /// Asks to be looked at when a mesh that tells nothing has had its time.
    pub fn await_silence(&mut self) {
        let rollout = self.record.rollout.as_ref();
        let Some(asked_at) = rollout.and_then(|rollout| rollout.asked_at) else { return };
        if let Ok(at) = asked_at.checked_add(SILENCE)
            && at > self.input.now
        {
            self.wake_at(at);
        }
    }

    /// Tells whether stable's ready pods of the right template are as many as are needed, or no fewer than the candidate's.
    fn stable_can_take(&self, rollout: &Rollout) -> bool {
        if rollout.phase == Phase::RollingBack && back::overdue(rollout, self.input.now) {
            return true;
        }
        let Some(stable) = self.view.stable.present() else { return false };
        let ready = match rollout.phase {
            Phase::RollingBack if rollout.template_moved || rollout.over => {
                if self.carries_stable() {
                    stable.ready_current()
                } else {
                    0
                }
            }
            _ => stable.ready(),
        };
        let candidate = self.view.canary.present().map_or(0, Workload::ready);
        candidate == 0 || ready >= self.bounds(rollout).ready.max(1) || ready >= candidate
    }

    /// Notes that no traffic goes to the candidate's own Deployment any more; true once it is so, and without a router.
    pub fn has_left(&mut self) -> bool {
        let Some(rollout) = self.record.rollout.as_ref() else { return false };
        if rollout.router.is_none() || rollout.away || rollout.joining {
            return true;
        }
        let never = !rollout.split;
        let late = rollout.phase == Phase::RollingBack && back::overdue(rollout, self.input.now);
        let left = rollout.weight == 0
            && rollout.cohort.is_none()
            && (never || late || matches!(self.standing(), Some(Standing::Done | Standing::Gone)));
        if let Some(rollout) = self.record.rollout.as_mut().filter(|_| left) {
            rollout.away = true;
        }
        // The write of what was noted comes first.
        false
    }

    /// The candidate's own Deployment is empty for good: lets the route be joined. True once nothing of the router is left.
    pub fn rejoin(&mut self) -> bool {
        let now = self.input.now;
        let Some(rollout) = self.record.rollout.as_mut() else { return false };
        if rollout.router.is_none() {
            return true;
        }
        if !rollout.joining {
            rollout.joining = true;
            rollout.weight = 0;
            rollout.cohort = None;
            rollout.asked_at = Some(now);
            return false;
        }
        let joined = matches!(self.standing(), Some(Standing::Done | Standing::Gone));
        joined && super::routes::nothing_left(&self.record, self.input)
    }
}
