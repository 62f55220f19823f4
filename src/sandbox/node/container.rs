//! One container of a pod: what it declares, how it stands, and its status as a kubelet writes it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    super::{http::Ending, json},
    app::App,
    behaviour::Pulled,
    probe::Probe,
};

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Waiting { reason: &'static str, message: String },
    Running { since: String },
    Ended(Ended),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    pub(crate) code: i64,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) started: String,
    pub(crate) finished: String,
}

impl State {
    pub(crate) fn waiting(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Waiting { reason, message: message.into() }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Waiting { reason, message } if message.is_empty() => json!({"waiting": {"reason": reason}}),
            Self::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
            Self::Running { since } => json!({"running": {"startedAt": since}}),
            Self::Ended(ended) => json!({"terminated": ended.to_value()}),
        }
    }
}

impl Ended {
    fn to_value(&self) -> Value {
        let mut out = json!({
            "exitCode": self.code, "reason": self.reason, "startedAt": self.started, "finishedAt": self.finished,
        });
        if !self.message.is_empty() {
            json::set(&mut out, &["message"], self.message.as_str());
        }
        out
    }
}

/// A container.
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) ports: Vec<u16>,
    pub(crate) startup: Option<Probe>,
    pub(crate) readiness: Option<Probe>,
    pub(crate) liveness: Option<Probe>,
    pub(crate) pre_stop: Option<Duration>,
    /// Whether the last log line of a failed run becomes its message.
    pub(crate) tells_log: bool,
    pub(crate) pulled: Pulled,
    pub(crate) state: State,
    pub(crate) last: Option<Ended>,
    pub(crate) restarts: u32,
    pub(crate) started: bool,
    pub(crate) ready: bool,
    /// Counts runs, so that news of an earlier one is known as old.
    pub(crate) run: u64,
    pub(crate) ending: Ending,
    /// The servers of the last run, to be awaited before their ports are opened again.
    pub(crate) servers: TaskTracker,
    pub(crate) app: Option<Arc<App>>,
    /// Requests that earlier runs answered.
    pub(crate) past: std::collections::BTreeMap<u16, u64>,
}

impl Container {
    /// Reads one container of a pod's spec.
    pub(crate) fn new(spec: &Value, pulled: Pulled) -> Self {
        let port = |name: &Value| resolve_port(spec, name);
        let probe = |name: &str| json::at(spec, &[name]).and_then(|probe| Probe::read(probe, port));
        Self {
            name: json::text(spec, &["name"]).to_owned(),
            image: json::text(spec, &["image"]).to_owned(),
            ports: json::list(spec, &["ports"])
                .iter()
                .filter(|port| matches!(json::text(port, &["protocol"]), "TCP" | ""))
                .filter_map(|port| u16::try_from(json::int(port, &["containerPort"])?).ok())
                .collect(),
            startup: probe("startupProbe"),
            readiness: probe("readinessProbe"),
            liveness: probe("livenessProbe"),
            pre_stop: json::int(spec, &["lifecycle", "preStop", "sleep", "seconds"])
                .map(|seconds| Duration::from_secs(seconds.unsigned_abs())),
            tells_log: json::text(spec, &["terminationMessagePolicy"]) == "FallbackToLogsOnError",
            pulled,
            state: State::waiting("ContainerCreating", ""),
            last: None,
            restarts: 0,
            started: false,
            ready: false,
            run: 0,
            ending: Ending::new(CancellationToken::new()),
            servers: TaskTracker::new(),
            app: None,
            past: std::collections::BTreeMap::new(),
        }
    }

    /// The paths that its probes ask for.
    pub(crate) fn health_paths(&self) -> Vec<String> {
        [&self.startup, &self.readiness, &self.liveness]
            .into_iter()
            .flatten()
            .filter_map(|probe| probe.path().map(str::to_owned))
            .collect()
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Ends the run that is under way.
    pub(crate) fn end(&mut self, code: i64, reason: &'static str, message: &str, now: &str) {
        self.ending.kill.cancel();
        let State::Running { since } = &self.state else { return };
        let message = if self.tells_log && code != 0 { message } else { "" };
        let ended = Ended {
            code,
            reason,
            message: message.to_owned(),
            started: since.clone(),
            finished: now.to_owned(),
        };
        self.remember();
        self.state = State::Ended(ended.clone());
        self.last = Some(ended);
        self.ready = false;
        self.started = false;
    }

    fn remember(&mut self) {
        if let Some(app) = self.app.take() {
            for (code, count) in app.answered() {
                *self.past.entry(code).or_default() += count;
            }
        }
    }

    /// Its entry of `containerStatuses`.
    pub(crate) fn status(&self) -> Value {
        let id = self.pulled.image_id.clone().unwrap_or_default();
        // What was never pulled has no identity yet.
        let known = self.run > 0;
        let mut out = json!({
            "name": self.name, "image": self.image, "imageID": if known { id.as_str() } else { "" },
            "ready": self.ready, "started": self.started, "restartCount": self.restarts,
            "state": self.state.to_value(), "lastState": {},
        });
        if known {
            json::set(&mut out, &["containerID"], format!("sandbox://{}-{}", self.name, self.run));
        }
        if let Some(last) = &self.last
            && !matches!(self.state, State::Ended(_))
        {
            json::set(&mut out, &["lastState"], json!({"terminated": last.to_value()}));
        }
        out
    }
}

/// A port by number, or by the name that the container gave it.
fn resolve_port(container: &Value, port: &Value) -> Option<u16> {
    let number = match port {
        Value::String(name) => json::list(container, &["ports"])
            .iter()
            .find(|declared| json::text(declared, &["name"]) == name)
            .and_then(|declared| json::int(declared, &["containerPort"])),
        other => other.as_i64(),
    };
    number.and_then(|number| u16::try_from(number).ok())
}
