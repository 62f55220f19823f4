//! What happened, line by line, for people who look at one seed; and the story that the daemon itself told.

use std::time::Duration;

use serde_json::Value;

use super::check::Seen;
use crate::sandbox::{Logged, json as read};

/// What the daemon announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// Since the begin.
    pub at: Duration,
    /// The reason of the Kubernetes event, as in `StepPassed`.
    pub reason: String,
    /// The sentence.
    pub sentence: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Trace {
    keep: bool,
    pub(super) lines: Vec<String>,
    pub(super) story: Vec<Announced>,
    /// Every request, where every line is kept.
    pub(super) requests: Vec<(Duration, Logged)>,
}

impl Trace {
    /// A trace that keeps every line, or none.
    pub(super) fn new(keep: bool) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Notes a line.
    pub(super) fn note(&mut self, at: Duration, line: impl FnOnce() -> String) {
        if self.keep {
            self.lines.push(format!("{:>10.3}  {}", at.as_secs_f64(), line()));
        }
    }

    /// Notes requests.
    pub(super) fn asked<'a>(&mut self, at: Duration, requests: impl IntoIterator<Item = &'a Logged>) {
        if self.keep {
            self.requests.extend(requests.into_iter().map(|request| (at, request.clone())));
        }
    }

    /// Notes an accepted write of anybody.
    pub(super) fn write(&mut self, at: Duration, seen: &Seen) {
        self.note(at, || {
            let object = &seen.change.new;
            let what = if seen.change.deleted { "deleted" } else { "wrote" };
            let version = read::text(object, &["metadata", "resourceVersion"]);
            let size =
                read::at(object, &["spec", "replicas"]).map_or(String::new(), |n| format!(" replicas {n}"));
            let door = if seen.door.is_empty() { String::new() } else { format!("/{}", seen.door) };
            let state = match read::text(object, &["kind"]) {
                "Release" => {
                    let text = |path: &[&str]| read::text(object, path).to_owned();
                    let step = read::at(object, &["status", "rollout", "step"]);
                    let step = step.map_or(String::new(), |step| format!(" step {step}"));
                    format!(" {}{step}: {}", text(&["status", "phase"]), text(&["status", "message"]))
                }
                "Pod" => {
                    let ready = if super::feed::is_ready(object) { " ready" } else { "" };
                    format!(" {}{ready}", read::text(object, &["status", "phase"]))
                }
                _ => String::new(),
            };
            format!(
                "{} {what} {}/{}{door} v{version}{size}{state}",
                seen.agent,
                read::text(object, &["kind"]),
                read::text(object, &["metadata", "name"]),
            )
        });
    }

    /// Notes a Kubernetes event of a daemon.
    pub(super) fn event(&mut self, at: Duration, event: &Value) {
        let (reason, sentence) = (read::text(event, &["reason"]), read::text(event, &["message"]));
        self.note(at, || format!("{reason}: {sentence}"));
        self.story.push(Announced { at, reason: reason.to_owned(), sentence: sentence.to_owned() });
    }
}
