//! One pod on the node: an actor that starts its containers, probes them, restarts them, and lets them go.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Shared, address,
    app::App,
    behaviour::Exit,
    container::{Container, State},
    probe::ProbeKind,
    status::Conditions,
};
use crate::model::duration::doubled;
use crate::sandbox::{http::Ending, json};

/// What a pod learns.
#[derive(Debug)]
pub(super) enum News {
    /// The object changed.
    Object(Box<Value>),
    /// A run of a container ended by itself.
    Exited { container: usize, run: u64, exit: Exit },
    /// A port could not be had.
    Refused { container: usize, run: u64 },
    /// A probe turned.
    Probed { container: usize, run: u64, kind: ProbeKind, ok: bool },
    /// The wait before a restart, or before the next pull, is over.
    Due { container: usize, run: u64 },
    /// The image says that it is unready now.
    Unready { container: usize, run: u64 },
    /// Every container is killed.
    Kill,
    /// The node lost or regained its contact.
    NodeReady(bool),
    /// The node puts the pod out for want of memory.
    Pressure,
}

/// A pod under way.
pub(super) struct Pod {
    pub(super) shared: Arc<Shared>,
    pub(super) object: Value,
    pub(super) address: Ipv4Addr,
    pub(super) containers: Vec<Container>,
    pub(super) conditions: Conditions,
    pub(super) started: String,
    /// Put out by the node: it has failed and starts nothing again.
    pub(super) put_out: bool,
    pub(super) node_ready: bool,
    pub(super) news: mpsc::Sender<News>,
    pub(super) token: CancellationToken,
    /// The last status that the server took.
    pub(super) written: Value,
}

impl Pod {
    pub(super) fn new(
        shared: Arc<Shared>,
        object: Value,
        news: mpsc::Sender<News>,
        token: CancellationToken,
    ) -> Self {
        let containers = json::list(&object, &["spec", "containers"])
            .iter()
            .map(|spec| Container::new(spec, (shared.resolver)(json::text(spec, &["image"]))))
            .collect();
        let started = shared.clock.now_text();
        let node_ready = shared.is_ready();
        Self {
            shared,
            object,
            address: address::next(),
            containers,
            conditions: Conditions::default(),
            started,
            put_out: false,
            node_ready,
            news,
            token,
            written: Value::Null,
        }
    }

    /// Lives until the object is gone or the node ends.
    pub(super) async fn run(mut self, mut news: mpsc::Receiver<News>) {
        for at in 0..self.containers.len() {
            self.start(at).await;
        }
        loop {
            if json::at(&self.object, &["metadata", "deletionTimestamp"]).is_some() {
                return self.leave().await;
            }
            let retry = !self.write_status().await;
            let received = tokio::select! {
                received = news.recv() => received,
                () = tokio::time::sleep(Duration::from_millis(100)), if retry => continue,
            };
            let Some(first) = received else { return };
            self.learn(first).await;
            // What came in the meantime is one status, not many.
            while let Ok(next) = news.try_recv() {
                self.learn(next).await;
            }
        }
    }

    async fn learn(&mut self, news: News) {
        match news {
            News::Object(object) => self.object = *object,
            News::Exited { container, run, exit } if self.is_current(container, run) => {
                let (code, reason, log) = exit.told();
                self.ended(container, code, reason, &log).await;
            }
            News::Refused { container, run } if self.is_current(container, run) => {
                let message = "a port of the pod's address could not be opened";
                self.ended(container, 128, "StartError", message).await;
            }
            News::Probed { container, run, kind, ok } if self.is_current(container, run) => {
                self.probed(container, kind, ok).await;
            }
            News::Due { container, run } if self.is_current(container, run) && !self.put_out => {
                self.start(container).await;
            }
            News::Unready { container, run } if self.is_current(container, run) => {
                self.turn_unready(container);
            }
            News::Kill => {
                for at in 0..self.containers.len() {
                    self.ended(at, 137, "Error", "").await;
                }
            }
            News::NodeReady(ready) => self.node_ready = ready,
            News::Pressure => {
                self.put_out = true;
                let now = self.shared.clock.now_text();
                for container in &mut self.containers {
                    container.end(137, "Error", "", &now);
                }
            }
            // News of an earlier run.
            _ => {}
        }
    }

    fn is_current(&self, container: usize, run: u64) -> bool {
        self.containers.get(container).is_some_and(|container| container.run == run)
    }

    /// Starts a container, or says why it cannot start.
    async fn start(&mut self, at: usize) {
        let now = self.shared.clock.now_text();
        let seed = self.shared.seed ^ u64::from(u32::from(self.address));
        let policy = json::text(&self.object, &["spec", "restartPolicy"]).to_owned();
        let Some(container) = self.containers.get_mut(at) else { return };
        container.pulled = (self.shared.resolver)(&container.image);
        let behaviour = container.pulled.behaviour.under(&policy);
        if behaviour.pull_error {
            let (reason, message) = pull_problem(&container.state, &container.image);
            container.state = State::waiting(reason, message);
            let wait = self.shared.pull_back_off;
            self.later(at, wait);
            return;
        }
        if behaviour.config_error {
            container.state = State::waiting("CreateContainerConfigError", "secret \"missing\" not found");
            return;
        }
        if container.last.is_some() {
            container.restarts += 1;
        }
        container.run += 1;
        container.servers.close();
        container.servers.wait().await;
        container.servers = TaskTracker::new();
        container.ending = Ending::new(self.token.child_token());
        container.state = State::Running { since: now };
        let app =
            Arc::new(App::new(behaviour.clone(), container.health_paths(), seed.wrapping_add(container.run)));
        container.app = Some(app.clone());
        container.started = container.startup.is_none();
        container.ready = container.started && container.readiness.is_none();
        let run = Run {
            container: at,
            number: container.run,
            ports: container.ports.clone(),
            app,
            exit: behaviour.exit,
            exit_after: behaviour.exit_after.map(|time| self.shared.scaled(time)),
            slow: self.shared.scaled(behaviour.slow_start),
            unready: behaviour.unready_after.map(|time| self.shared.scaled(time)),
            ending: container.ending.clone(),
            servers: container.servers.clone(),
        };
        // What ends at its start never comes to serving.
        let serves = behaviour.exit.is_none() || behaviour.exit_after.is_some();
        if serves && behaviour.slow_start.is_zero() && !self.open(&run).await {
            return;
        }
        self.spawn_run(run);
        self.spawn_probes(at, true);
    }

    /// Opens the ports at once. At the first run of all, another address is taken if this one's ports are in use.
    async fn open(&mut self, run: &Run) -> bool {
        for _ in 0..8 {
            let address = IpAddr::V4(self.address);
            let opened =
                run.app.listen(address, &run.ports, &run.ending, &run.servers, &self.shared.tasks).await;
            if opened.is_ok() {
                return true;
            }
            let first = run.number == 1 && self.containers.len() == 1;
            if !first {
                break;
            }
            self.address = address::next();
        }
        self.ended(run.container, 128, "StartError", "").await;
        false
    }

    fn spawn_run(&self, run: Run) {
        let (news, address) = (self.news.clone(), IpAddr::V4(self.address));
        let (tasks, crash_after) = (self.shared.tasks.clone(), self.shared.crash_after);
        self.shared.tasks.spawn(async move {
            let token = run.ending.kill.clone();
            tokio::select! {
                () = token.cancelled() => {}
                () = run.live(address, crash_after, news, tasks) => {}
            }
        });
    }

    /// Starts the probes of a run: the startup probe alone, or if there is none (any more) the two others.
    fn spawn_probes(&self, at: usize, fresh: bool) {
        let Some(container) = self.containers.get(at) else { return };
        let probes = match &container.startup {
            Some(startup) if fresh => vec![(ProbeKind::Startup, startup.clone())],
            _ => [(ProbeKind::Readiness, &container.readiness), (ProbeKind::Liveness, &container.liveness)]
                .into_iter()
                .filter_map(|(kind, probe)| Some((kind, probe.clone()?)))
                .collect(),
        };
        for (kind, probe) in probes {
            let (news, token, run) = (self.news.clone(), container.ending.drain.clone(), container.run);
            let (address, scale) = (IpAddr::V4(self.address), self.shared.time_scale);
            self.shared.tasks.spawn(async move {
                let tell = |ok| News::Probed { container: at, run, kind, ok };
                tokio::select! {
                    () = token.cancelled() => {}
                    () = probe.watch(address, scale, news, tell) => {}
                }
            });
        }
    }

    async fn probed(&mut self, at: usize, kind: ProbeKind, ok: bool) {
        let Some(container) = self.containers.get_mut(at).filter(|container| container.is_running()) else {
            return;
        };
        match (kind, ok) {
            (ProbeKind::Readiness, ok) => container.ready = ok && container.started,
            (ProbeKind::Startup, true) => {
                container.started = true;
                container.ready = container.readiness.is_none();
                self.spawn_probes(at, false);
            }
            (ProbeKind::Liveness, true) => {}
            (ProbeKind::Startup | ProbeKind::Liveness, false) => self.ended(at, 137, "Error", "").await,
        }
    }

    fn turn_unready(&mut self, at: usize) {
        let Some(container) = self.containers.get_mut(at) else { return };
        if let Some(app) = &container.app {
            app.turn_unready();
        }
        // Without a probe that would see it, the container says so itself.
        if container.readiness.as_ref().is_none_or(|probe| probe.path().is_none()) {
            container.ready = false;
        }
    }

    /// A run ended: it starts again at once the first time, then later each time, if the pod's policy allows it.
    async fn ended(&mut self, at: usize, code: i64, reason: &'static str, log: &str) {
        let now = self.shared.clock.now_text();
        let policy = json::text(&self.object, &["spec", "restartPolicy"]).to_owned();
        let name = json::text(&self.object, &["metadata", "name"]).to_owned();
        let Some(container) = self.containers.get_mut(at).filter(|container| container.is_running()) else {
            return;
        };
        container.end(code, reason, log, &now);
        if policy == "Never" || (policy == "OnFailure" && code == 0) {
            return;
        }
        if container.restarts == 0 {
            Box::pin(self.start(at)).await;
            return;
        }
        let nominal = back_off(container, &name);
        let wait = nominal.mul_f64(self.shared.back_off_scale);
        self.later(at, wait);
    }

    fn later(&self, at: usize, wait: Duration) {
        let Some(run) = self.containers.get(at).map(|container| container.run) else { return };
        let (news, token) = (self.news.clone(), self.token.clone());
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = tokio::time::sleep(wait) => {
                    // The pod may be gone already.
                    let _ = news.send(News::Due { container: at, run }).await;
                }
            }
        });
    }
}

/// One run of a container, as its own task sees it.
struct Run {
    container: usize,
    number: u64,
    ports: Vec<u16>,
    app: Arc<App>,
    exit: Option<Exit>,
    exit_after: Option<Duration>,
    slow: Duration,
    unready: Option<Duration>,
    ending: Ending,
    servers: TaskTracker,
}

impl Run {
    async fn live(
        self,
        address: IpAddr,
        crash_after: Duration,
        news: mpsc::Sender<News>,
        tasks: TaskTracker,
    ) {
        let (container, run) = (self.container, self.number);
        if let (Some(exit), None) = (self.exit, self.exit_after) {
            tokio::time::sleep(crash_after).await;
            let _ = news.send(News::Exited { container, run, exit }).await;
            return;
        }
        if !self.slow.is_zero() {
            tokio::time::sleep(self.slow).await;
            if self.app.listen(address, &self.ports, &self.ending, &self.servers, &tasks).await.is_err() {
                let _ = news.send(News::Refused { container, run }).await;
                return;
            }
        }
        if let (Some(exit), Some(time)) = (self.exit, self.exit_after) {
            tokio::time::sleep(time).await;
            let _ = news.send(News::Exited { container, run, exit }).await;
            return;
        }
        if let Some(time) = self.unready {
            tokio::time::sleep(time).await;
            let _ = news.send(News::Unready { container, run }).await;
        }
    }
}

/// Lets a container wait before it starts again, longer each time, and returns how long.
pub(crate) fn back_off(container: &mut Container, pod: &str) -> Duration {
    let times = container.restarts.saturating_sub(1);
    let nominal = doubled(Duration::from_secs(10), times, Duration::from_mins(5));
    let message =
        format!("back-off {}s restarting failed container={} pod={pod}", nominal.as_secs(), container.name);
    container.state = State::waiting("CrashLoopBackOff", message);
    nominal
}

/// A pull fails first with its error, then with the wait for the next one.
pub(crate) fn pull_problem(before: &State, image: &str) -> (&'static str, String) {
    match before {
        State::Waiting { reason: "ErrImagePull", .. } => {
            ("ImagePullBackOff", format!("Back-off pulling image \"{image}\": ErrImagePull: not found"))
        }
        _ => ("ErrImagePull", format!("failed to pull and unpack image \"{image}\": not found")),
    }
}
