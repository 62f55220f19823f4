//! One simulated pod with its one container: what happens to it, and when it next has to be looked at.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::node::CRASH_AFTER;
use super::street::Program;
use crate::sandbox::json as read;
use crate::sandbox::node::app::{App, Reaction};
use crate::sandbox::node::container::{Container, State};
use crate::sandbox::node::pod::{back_off, pull_problem};
use crate::sandbox::node::probe::{Probe, ProbeKind};
use crate::sandbox::node::status::{Conditions, Facts};
use crate::sandbox::node::{Behaviour, Exit, Pulled, Resolver};

/// How long it takes between two tries to pull an image.
const PULL_AGAIN: Duration = Duration::from_secs(10);

/// Something that is due; the number is the run that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    /// The scheduler has found a node.
    Bind,
    /// The ports open.
    Open(u64),
    /// The program ends by itself.
    Exit(u64),
    /// The wait before the next start is over.
    Due(u64),
    /// The image says that it is unready now.
    Unready(u64),
    /// A probe asks.
    Ask(u64, ProbeKind),
    /// The last step of a pod that leaves is over.
    Gone,
}

/// What a probe has seen.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The last results in a row.
    streak: (bool, u32),
    told: Option<bool>,
    /// A next question is due already.
    asking: bool,
}

#[derive(Debug, Default)]
struct Probes {
    startup: Seen,
    readiness: Seen,
    liveness: Seen,
}

impl Probes {
    fn of(&mut self, kind: ProbeKind) -> &mut Seen {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Readiness => &mut self.readiness,
            ProbeKind::Liveness => &mut self.liveness,
        }
    }
}

pub(super) struct Pod {
    pub(super) uid: String,
    pub(super) object: Arc<Value>,
    pub(super) address: Ipv4Addr,
    pub(super) leaving: bool,
    /// The last status that was written.
    pub(super) written: Value,
    container: Container,
    conditions: Conditions,
    started: String,
    open: bool,
    put_out: bool,
    seen: Probes,
    seed: u64,
}

impl Pod {
    pub(super) fn new(
        object: Arc<Value>,
        address: Ipv4Addr,
        resolver: &Resolver,
        now: &str,
        seed: u64,
    ) -> Self {
        let spec = read::list(&object, &["spec", "containers"]).first().cloned().unwrap_or_default();
        let pulled: Pulled = resolver(read::text(&spec, &["image"]));
        Self {
            uid: read::text(&object, &["metadata", "uid"]).to_owned(),
            container: Container::new(&spec, pulled),
            object,
            address,
            leaving: false,
            written: Value::Null,
            conditions: Conditions::default(),
            started: now.to_owned(),
            open: false,
            put_out: false,
            seen: Probes::default(),
            seed: seed ^ u64::from(u32::from(address)),
        }
    }

    /// What answers at its address.
    pub(super) fn program(&self) -> Program {
        Program {
            app: self.container.app.clone().filter(|_| self.open),
            ports: self.container.ports.clone(),
            object: Arc::clone(&self.object),
            namespace: read::text(&self.object, &["metadata", "namespace"]).to_owned(),
            serves: self.container.ready && !self.leaving && !self.put_out,
        }
    }

    pub(super) fn status(&mut self, node_ready: bool, now: &str) -> Value {
        let facts = Facts {
            containers: std::slice::from_ref(&self.container),
            put_out: self.put_out,
            node_ready,
            address: self.address,
            host: Ipv4Addr::new(10, 255, 0, 1),
            started: &self.started,
            generation: read::int(&self.object, &["metadata", "generation"]),
            now,
        };
        facts.status(&mut self.conditions)
    }

    /// How its container behaves under its policy.
    fn behaviour(&self) -> Behaviour {
        self.container.pulled.behaviour.under(read::text(&self.object, &["spec", "restartPolicy"]))
    }

    /// Starts the container, or says why it cannot start.
    pub(super) fn start(&mut self, now: &str) -> Vec<(Duration, Tick)> {
        let behaviour = self.behaviour();
        let container = &mut self.container;
        if behaviour.pull_error {
            let (reason, message) = pull_problem(&container.state, &container.image);
            container.state = State::waiting(reason, message);
            return vec![(PULL_AGAIN, Tick::Due(container.run))];
        }
        if behaviour.config_error {
            container.state = State::waiting("CreateContainerConfigError", "secret \"missing\" not found");
            return Vec::new();
        }
        if container.last.is_some() {
            container.restarts += 1;
        }
        container.run += 1;
        let run = container.run;
        container.state = State::Running { since: now.to_owned() };
        let app = App::new(behaviour.clone(), container.health_paths(), self.seed.wrapping_add(run));
        container.app = Some(Arc::new(app));
        container.started = container.startup.is_none();
        container.ready = container.started && container.readiness.is_none();
        self.open = false;
        self.seen = Probes::default();
        let mut ticks = Vec::new();
        match (behaviour.exit, behaviour.exit_after) {
            (Some(_), None) => ticks.push((CRASH_AFTER, Tick::Exit(run))),
            (exit, after) => {
                ticks.push((behaviour.slow_start, Tick::Open(run)));
                if let (Some(_), Some(after)) = (exit, after) {
                    ticks.push((behaviour.slow_start + after, Tick::Exit(run)));
                }
                if let Some(after) = behaviour.unready_after {
                    ticks.push((behaviour.slow_start + after, Tick::Unready(run)));
                }
            }
        }
        ticks
    }

    pub(super) fn tick(&mut self, tick: Tick, now: &str) -> Vec<(Duration, Tick)> {
        let current = self.container.run;
        match tick {
            Tick::Open(run) if run == current && self.container.is_running() => {
                self.open = true;
                let first = if self.container.startup.is_some() {
                    vec![ProbeKind::Startup]
                } else {
                    vec![ProbeKind::Readiness, ProbeKind::Liveness]
                };
                self.ask_all(&first)
            }
            Tick::Exit(run) if run == current => {
                let (code, reason, log) = self.behaviour().exit.unwrap_or(Exit::Crash).told();
                self.ended(code, reason, &log, now)
            }
            Tick::Due(run) if run == current && !self.put_out && !self.leaving => self.start(now),
            Tick::Unready(run) if run == current => {
                if let Some(app) = &self.container.app {
                    app.turn_unready();
                }
                if self.container.readiness.as_ref().is_none_or(|probe| probe.path().is_none()) {
                    self.container.ready = false;
                }
                self.ask_all(&[ProbeKind::Readiness, ProbeKind::Liveness])
            }
            Tick::Ask(run, kind) if run == current && self.container.is_running() => self.ask(kind, now),
            _ => Vec::new(),
        }
    }

    fn probe(&self, kind: ProbeKind) -> Option<&Probe> {
        match kind {
            ProbeKind::Startup => self.container.startup.as_ref(),
            ProbeKind::Readiness => self.container.readiness.as_ref(),
            ProbeKind::Liveness => self.container.liveness.as_ref(),
        }
    }

    fn ask_all(&mut self, kinds: &[ProbeKind]) -> Vec<(Duration, Tick)> {
        let run = self.container.run;
        let mut ticks = Vec::new();
        for kind in kinds {
            let Some(probe) = self.probe(*kind) else { continue };
            // The first question comes within one period.
            let wait = probe.initial_delay + probe.period / 4;
            let seen = self.seen.of(*kind);
            if !seen.asking {
                seen.asking = true;
                ticks.push((wait, Tick::Ask(run, *kind)));
            }
        }
        ticks
    }

    /// Asks once. A result that stands and cannot turn by itself is not asked for again.
    fn ask(&mut self, kind: ProbeKind, now: &str) -> Vec<(Duration, Tick)> {
        let Some(probe) = self.probe(kind).cloned() else { return Vec::new() };
        let ok = self.open && self.container.app.as_ref().is_some_and(|app| passes(app, probe.path()));
        let needed = if ok { 1 } else { probe.failures };
        let run = self.container.run;
        let seen = self.seen.of(kind);
        seen.streak = if seen.streak.0 == ok { (ok, seen.streak.1.saturating_add(1)) } else { (ok, 1) };
        let turned = seen.streak.1 >= needed && seen.told != Some(ok);
        if turned {
            seen.told = Some(ok);
        }
        let stands = seen.told == Some(ok);
        seen.asking = !stands;
        let mut ticks = if stands { Vec::new() } else { vec![(probe.period, Tick::Ask(run, kind))] };
        if !turned {
            return ticks;
        }
        match (kind, ok) {
            (ProbeKind::Readiness, ok) => self.container.ready = ok && self.container.started,
            (ProbeKind::Startup, true) => {
                self.container.started = true;
                self.container.ready = self.container.readiness.is_none();
                ticks.extend(self.ask_all(&[ProbeKind::Readiness, ProbeKind::Liveness]));
            }
            (ProbeKind::Liveness, true) => {}
            (ProbeKind::Startup | ProbeKind::Liveness, false) => {
                ticks.extend(self.ended(137, "Error", "", now));
            }
        }
        ticks
    }

    /// A run ended: it starts again at once the first time, then later each time.
    pub(super) fn ended(
        &mut self,
        code: i64,
        reason: &'static str,
        log: &str,
        now: &str,
    ) -> Vec<(Duration, Tick)> {
        if !self.container.is_running() {
            return Vec::new();
        }
        self.open = false;
        self.container.end(code, reason, log, now);
        let over = match read::text(&self.object, &["spec", "restartPolicy"]) {
            "Never" => true,
            "OnFailure" => code == 0,
            _ => false,
        };
        if self.leaving || self.put_out || over {
            return Vec::new();
        }
        if self.container.restarts == 0 {
            return self.start(now);
        }
        let wait = back_off(&mut self.container, read::text(&self.object, &["metadata", "name"]));
        vec![(wait, Tick::Due(self.container.run))]
    }

    pub(super) fn put_out(&mut self, now: &str) -> Vec<(Duration, Tick)> {
        self.put_out = true;
        self.open = false;
        self.container.end(137, "Error", "", now);
        Vec::new()
    }

    /// Leaves: after its last steps the object goes.
    pub(super) fn leave(&mut self) -> Vec<(Duration, Tick)> {
        self.leaving = true;
        let grace = read::int(&self.object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(30);
        let grace = Duration::from_secs(grace.unsigned_abs());
        vec![(self.container.pre_stop.unwrap_or_default().min(grace), Tick::Gone)]
    }
}

fn passes(app: &App, path: Option<&str>) -> bool {
    let Some(path) = path else { return true };
    match app.react(path) {
        Reaction::Hangs => false,
        Reaction::Says(code, _) => code < 400,
        Reaction::Grpc(serving) => serving,
        Reaction::Metrics(_) | Reaction::Serves => true,
    }
}
