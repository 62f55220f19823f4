//! What the script does to the bed: commits, commands, faults, and their ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::SimulationError;
use super::bed::{Bed, NAMESPACE, SERVICE};
use super::feed::Weather;
use super::gateway::EDGE;
use super::plan::{Action, Edit, Harm};
use super::street::Haze;
use crate::cluster::watched::Watched;
use crate::model::command::{Command, Verb as Asked};
use crate::rollout::people;
use crate::sandbox::Verb;
use crate::sandbox::api::Request;
use crate::sandbox::json as read;

/// A declaration that is none.
const BROKEN: &str = "service: {name: web, team: shop}\nworkload: {prot: 1}\n";
/// Who edits what is not theirs.
const STRANGER: &str = "kubectl-edit";
/// Who gives commands.
const PERSON: &str = "idp-cli";

/// One entry of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// As planned.
    Planned(Action),
    /// The next daemon comes.
    Start,
    /// The daemon that no longer leads notices.
    Notices(u64),
    /// Faults end.
    HazeOver,
    RegistryBack,
    NodeBack,
    RoomAgain,
    GitBack,
}

impl Bed {
    /// Does one entry of the script.
    pub(super) fn perform(&mut self, deed: Deed) -> Result<(), SimulationError> {
        match deed {
            Deed::Planned(action) => {
                let time = self.time();
                self.trace.note(time, || format!("{action:?}"));
                return self.act(action);
            }
            Deed::Start if self.daemons.is_empty() => return self.start_daemon(),
            Deed::Start => {}
            Deed::Notices(number) => {
                let old = self.daemons.iter().find(|daemon| daemon.number == number);
                old.inspect(|daemon| daemon.token.cancel());
            }
            Deed::HazeOver => self.clear_haze(),
            Deed::RegistryBack => self.images.set_away(false),
            Deed::NodeBack => self.node.set_ready(true),
            Deed::RoomAgain => self.node.set_schedules(true),
            Deed::GitBack => {
                if self.git_back.take().is_some() {
                    self.tell_heads();
                }
            }
        }
        Ok(())
    }

    fn after(seconds: u32) -> Instant {
        Instant::now() + Duration::from_secs(u64::from(seconds))
    }

    fn act(&mut self, action: Action) -> Result<(), SimulationError> {
        let time = self.time();
        match action {
            Action::Commit { tag, late } => {
                self.images.push(&tag, Self::after(late));
                self.tag = tag;
                self.commit();
            }
            Action::Scale { replicas } => {
                self.replicas = replicas;
                self.commit();
            }
            Action::Broken => {
                self.commits += 1;
                self.heads = self.workshop.head(BROKEN, self.commits, self.server.clock().now());
                self.seen();
            }
            Action::Command(verb, full) => self.command(verb, full, "ann"),
            Action::Suspend(on) => self.patch_release(&json!({"spec": {"suspend": on}})),
            Action::Edit(edit) => self.edit(edit),
            Action::Harm(harm, nth) => self.harm(harm, nth),
            Action::NodeLost { seconds } => {
                self.node.set_ready(false);
                self.plan(Self::after(seconds), Deed::NodeBack);
            }
            Action::NoRoom { seconds } => {
                self.node.set_schedules(false);
                self.plan(Self::after(seconds), Deed::RoomAgain);
            }
            Action::Crash { write, cut, away } => {
                self.away = Duration::from_millis(u64::from(away));
                self.orders.crash_at(write, cut);
            }
            Action::Kill { away } => {
                self.away = Duration::from_millis(u64::from(away));
                self.daemons.iter().for_each(|daemon| daemon.token.cancel());
            }
            Action::Takeover { overlap } => {
                let old: Vec<u64> = self.daemons.iter().map(|daemon| daemon.number).collect();
                self.start_daemon()?;
                let end = Instant::now() + Duration::from_millis(u64::from(overlap));
                for number in old {
                    self.plan(end, Deed::Notices(number));
                }
            }
            Action::Storm { storm, permille, seconds } => {
                self.orders.storm(storm, permille, Self::after(seconds));
            }
            Action::Watch { kind, weather, seconds } => self.weather(kind, weather, seconds),
            Action::Haze { haze, seconds } => {
                self.street.set_haze(haze);
                self.checker.haze(time, haze);
                self.plan(Self::after(seconds), Deed::HazeOver);
            }
            Action::Registry { seconds } => {
                self.images.set_away(true);
                self.plan(Self::after(seconds), Deed::RegistryBack);
            }
            Action::Broker { seconds } => self.broker.away(Self::after(seconds)),
            Action::Git { seconds } => {
                let back = Self::after(seconds);
                self.git_back = Some(back);
                self.plan(back, Deed::GitBack);
            }
            Action::Jump { seconds } => {
                self.off.fetch_add(i64::from(seconds) * 1000, Ordering::Relaxed);
                self.checker.jumped(time);
            }
            Action::Lag { milliseconds } => {
                self.lag = Some(Instant::now() + Duration::from_millis(u64::from(milliseconds)));
            }
        }
        Ok(())
    }

    fn clear_haze(&mut self) {
        let time = self.time();
        self.street.set_haze(Haze::Clear);
        self.checker.haze(time, Haze::Clear);
    }

    /// The faults end: what is on its way arrives, and everybody does what they should.
    pub(super) fn calm(&mut self) -> Result<(), SimulationError> {
        self.orders.calm();
        self.script.clear();
        self.clear_haze();
        self.images.set_away(false);
        self.node.set_ready(true);
        self.node.set_schedules(true);
        self.lag = None;
        self.broker.away(Instant::now());
        let newest = self.lives;
        for daemon in &mut self.daemons {
            if daemon.number != newest {
                daemon.token.cancel();
            }
            daemon.feed.clear();
        }
        if self.daemons.iter().all(|daemon| daemon.token.is_cancelled()) {
            self.daemons.clear();
            self.git_back = None;
            return self.start_daemon();
        }
        if self.git_back.take().is_some() {
            self.tell_heads();
        }
        Ok(())
    }

    fn commit(&mut self) {
        self.commits += 1;
        let now = self.server.clock().now();
        self.heads = match &self.declared {
            Some(desired) => self.workshop.again(desired, &self.tag, self.commits, now),
            None => {
                self.workshop.head(&self.shape.text(SERVICE, &self.tag, self.replicas), self.commits, now)
            }
        };
        self.seen();
    }

    fn seen(&self) {
        if self.git_back.is_none() {
            self.tell_heads();
        }
    }

    /// A person gives a command; an approval is of the rollout that runs now.
    fn command(&mut self, verb: Asked, full: bool, who: &str) {
        self.commands += 1;
        let at = self.server.clock().now();
        let running = self.checker.record.as_ref().and_then(|record| record.rollout.as_ref());
        let rollout = running.map(|rollout| rollout.number).filter(|_| verb == Asked::Approve);
        let command = Command { rollout, full, ..Command::new(verb, who, "", at) };
        let id = format!("c{:02}", self.commands);
        self.patch_release(&json!({"spec": {"commands": {id: command}}}));
    }

    /// Somebody looks at what waits for people, and lets it go on.
    pub(super) fn attend(&mut self) {
        let Some(rollout) = self.checker.record.as_ref().and_then(|record| record.rollout.as_ref()) else {
            return;
        };
        let wait = people::wait(rollout);
        let approvals = people::missing(rollout, wait.approve.as_ref()).is_some();
        if rollout.people.paused.is_some() {
            self.command(Asked::Resume, false, "ann");
        } else if approvals {
            for who in ["ann", "ben"] {
                self.command(Asked::Approve, false, who);
            }
        } else if wait.manual {
            self.command(Asked::Promote, false, "ann");
        }
    }

    fn weather(&mut self, kind: u32, weather: Weather, seconds: u32) {
        let at = usize::try_from(kind).unwrap_or_default() % Watched::ALL.len();
        let Some(watched) = Watched::ALL.get(at) else { return };
        for daemon in &mut self.daemons {
            daemon.feed.set_weather(*watched, weather, Self::after(seconds));
        }
    }

    fn harm(&mut self, harm: Harm, nth: u32) {
        let places = self.node.places();
        let Some(place) = places.get(usize::try_from(nth).unwrap_or_default() % places.len().max(1)) else {
            return;
        };
        match harm {
            Harm::Kill => self.node.kill(place),
            Harm::Evict => self.node.evict(place),
            Harm::PutOut => self.node.put_out(place),
        }
    }

    fn edit(&mut self, edit: Edit) {
        let canary = format!("{SERVICE}-canary");
        let scale = |replicas: u32| json!({"spec": {"replicas": replicas}});
        match edit {
            Edit::ScaleStable(replicas) => self.patch(("apps", "deployments"), SERVICE, &scale(replicas)),
            Edit::ScaleCanary(replicas) => self.patch(("apps", "deployments"), &canary, &scale(replicas)),
            Edit::Template => {
                let annotation = json!({"metadata": {"annotations": {"stranger": "was here"}}});
                self.patch(("apps", "deployments"), SERVICE, &json!({"spec": {"template": annotation}}));
            }
            Edit::Service => {
                self.patch(
                    ("", "services"),
                    SERVICE,
                    &json!({"spec": {"selector": {"stranger": "was-here"}}}),
                );
            }
            Edit::Weight(weight) => self.edit_route(|route| weigh(route, weight)),
            Edit::Header => self.edit_route(|route| {
                read::set(route, &["metadata", "annotations", "team"], "was here");
            }),
            Edit::DeleteCanary => {
                self.request(("apps", "deployments"), Verb::Delete, STRANGER, &canary, Value::Null);
            }
        }
    }

    fn edit_route(&self, edit: impl Fn(&mut Value)) {
        let Some(way) = self.shape.route else { return };
        let core = Arc::clone(self.server.core());
        let kind = core.store().kind(way.kind().0, "v1", way.kind().1);
        let live = kind.and_then(|kind| core.store().get(&kind, NAMESPACE, EDGE));
        let Some(mut new) = live.map(|live| Value::clone(&live)) else { return };
        edit(&mut new);
        self.request(way.kind(), Verb::Update, STRANGER, EDGE, new);
    }

    fn patch(&self, kind: (&str, &str), name: &str, patch: &Value) {
        self.request(kind, Verb::Patch, STRANGER, name, patch.clone());
    }

    /// A person writes into the Release.
    pub(super) fn patch_release(&self, patch: &Value) {
        self.request((crate::model::GROUP, "releases"), Verb::Patch, PERSON, SERVICE, patch.clone());
    }

    fn request(&self, (group, plural): (&str, &str), verb: Verb, who: &str, name: &str, body: Value) {
        let core = Arc::clone(self.server.core());
        let version = if group == crate::model::GROUP { crate::cluster::crd::VERSION } else { "v1" };
        let kind = core.store().kind(group, version, plural);
        let Some(kind) = kind else { return };
        let request = Request::internal(kind, verb, (NAMESPACE, name), (who, body));
        // What is not there cannot be edited.
        let _ = core.perform(&request);
    }
}

/// Gives the candidate's backends another weight, where there are some.
fn weigh(route: &mut Value, weight: u32) {
    for (rules, backends) in [("rules", "backendRefs"), ("http", "route")] {
        let rules = route.pointer_mut(&format!("/spec/{rules}")).and_then(Value::as_array_mut);
        let lists = rules.into_iter().flatten().filter_map(|rule| rule.get_mut(backends)?.as_array_mut());
        for one in lists.flatten() {
            let name = read::text(one, &["name"]).to_owned() + read::text(one, &["destination", "subset"]);
            if name == "canary" || name.ends_with("-canary") {
                read::set(one, &["weight"], weight);
            }
        }
    }
}
