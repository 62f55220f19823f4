//! One release on one screen: revision → objects → health → step → gate, with numbers.

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde::Serialize;
use serde_json::Value;

use super::explain::{self, Explanation};
use super::fleet::{ReleaseView, Row, tone};
use super::output::{Tone, clean, paint};
use super::table::{Cell, render};
use super::{CliError, connect};
use crate::health::{self, Assessment};
use crate::model::object::ObjectKey;
use crate::model::record::{Health, Record};
use crate::model::rollout::Version;
use crate::model::{LABEL_RELEASE, LABEL_TRACK};

/// Objects that are asked for; a release that we render has a handful.
const OBJECTS: usize = 40;
/// Calls at one time.
const CALLS: usize = 8;

/// An object with its health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectLine {
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// Health and why.
    #[serde(flatten)]
    pub assessment: Assessment,
}

/// The pods of one track.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PodsLine {
    /// `stable` or `canary`.
    pub track: String,
    /// Pods that are Ready.
    pub ready: usize,
    /// All pods.
    pub all: usize,
    /// Why others are not, the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What is read beside the release itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// The objects of the inventory.
    pub objects: Vec<ObjectLine>,
    /// The pods, by track.
    pub pods: Vec<PodsLine>,
}

/// Everything about one release.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Screen {
    /// Its line in the fleet.
    #[serde(flatten)]
    pub row: Row,
    /// Why it is where it is.
    pub explanation: Explanation,
    /// Its objects.
    pub objects: Vec<ObjectLine>,
    /// Its pods.
    pub pods: Vec<PodsLine>,
    /// Its status as it stands, less the outbox.
    pub status: Value,
}

impl Screen {
    /// Puts together what was read.
    pub fn new(view: &ReleaseView, parts: Parts, now: Timestamp) -> Self {
        let mut status = view.status.clone();
        if let Some(fields) = status.as_object_mut() {
            fields.remove("outbox");
        }
        let explanation = explain::explain_view(view, now);
        Self { row: view.row(now), explanation, objects: parts.objects, pods: parts.pods, status }
    }
}

/// Reads objects and pods. What cannot be read is unknown, and no error of the release.
pub async fn parts(client: &Client, view: &ReleaseView) -> Parts {
    let keys = view.record().into_iter().flat_map(|record| record.inventory.keys()).take(OBJECTS);
    let objects = futures::stream::iter(keys.cloned().map(|key| object(client, key)));
    Parts { objects: objects.buffered(CALLS).collect().await, pods: pods(client, view).await }
}

async fn object(client: &Client, key: ObjectKey) -> ObjectLine {
    let (group, version) = key.api_version.split_once('/').unwrap_or(("", key.api_version.as_str()));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &key.kind));
    let api: Api<DynamicObject> = if key.namespace.is_empty() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), &key.namespace, &resource)
    };
    let assessment = match connect::call("reading the object", api.get(&key.name)).await {
        Ok(live) => match serde_json::to_value(&live) {
            Ok(live) => health::of(&key.kind, &live, super::now()),
            Err(error) => Assessment { health: Health::Unknown, reason: error.to_string() },
        },
        Err(CliError::Answered { code: 404, .. }) => {
            Assessment { health: Health::Missing, reason: "is not there".to_owned() }
        }
        Err(error) => Assessment { health: Health::Unknown, reason: error.to_string() },
    };
    ObjectLine { kind: key.kind, name: key.name, assessment }
}

async fn pods(client: &Client, view: &ReleaseView) -> Vec<PodsLine> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &view.namespace);
    let params = ListParams::default().labels(&format!("{LABEL_RELEASE}={}", view.release));
    let Ok(list) = connect::call("reading the pods", api.list(&params)).await else { return Vec::new() };
    let values: Vec<Value> = list.items.iter().filter_map(|pod| serde_json::to_value(pod).ok()).collect();
    tracks(&values, super::now())
}

/// Counts pods by track.
pub fn tracks(pods: &[Value], now: Timestamp) -> Vec<PodsLine> {
    let count = |track: &str| {
        let mut line = PodsLine { track: track.to_owned(), ..PodsLine::default() };
        let label =
            |pod: &Value| pod.pointer("/metadata/labels").and_then(|labels| labels.get(LABEL_TRACK)).cloned();
        for pod in pods.iter().filter(|pod| label(pod).as_ref().and_then(Value::as_str) == Some(track)) {
            let assessment = health::of("Pod", pod, now);
            line.all += 1;
            if assessment.health == Health::Healthy {
                line.ready += 1;
            } else if line.trouble.is_none() {
                let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                line.trouble = Some(format!("{name} {}", assessment.reason));
            }
        }
        line
    };
    ["stable", "canary"].into_iter().map(count).filter(|line| line.all > 0).collect()
}

/// Renders the screen for people.
pub fn text(screen: &Screen, view: &ReleaseView, now: Timestamp, width: u16, colour: bool) -> String {
    let Screen { row, explanation, objects, pods, status: _ } = screen;
    let word = |text: &str| paint(&clean(text), tone(text).unwrap_or(Tone::Good), colour);
    let words = [&explanation.phase, &row.health, &row.sync].into_iter().filter(|text| !text.is_empty());
    let words: Vec<String> = words.map(|text| word(text)).collect();
    let (release, namespace) = (clean(&row.release), clean(&row.namespace));
    let mut sections = vec![format!("{release}  {}  in {namespace}", words.join("  "))];
    sections.extend(view.record().map(|record| versions(record, width, colour)));
    if !objects.is_empty() {
        sections.push(section("objects", objects.iter().map(object_cells).collect(), width, colour));
    }
    if !pods.is_empty() {
        sections.push(section("pods", pods.iter().map(pod_cells).collect(), width, colour));
    }
    let why = explain::text(explanation, width, colour);
    sections.push(why.lines().skip(1).collect::<Vec<_>>().join("\n"));
    if let Some(record) = view.record().filter(|record| !record.history.is_empty()) {
        sections.push(format!(
            "{}\n{}",
            paint("history", Tone::Faint, colour),
            explain::history(record, now, width, colour)
        ));
    }
    sections.join("\n")
}

fn section(title: &str, rows: Vec<Vec<Cell>>, width: u16, colour: bool) -> String {
    let columns = vec![""; rows.iter().map(Vec::len).max().unwrap_or(0)];
    format!("{}\n{}", paint(title, Tone::Faint, colour), render(&columns, rows, width, colour))
}

fn versions(record: &Record, width: u16, colour: bool) -> String {
    let cells = |what: &str, version: &Version| {
        let image = &version.image;
        let tag = image.tag.as_deref().map(|tag| format!(":{tag}")).unwrap_or_default();
        vec![
            Cell::new(format!("  {what}")),
            Cell::new(version.revision.commit.short()),
            Cell::new(image.digest.short()),
            Cell::new(format!(
                "{}{tag}  {:?} by {}",
                image.repository, version.revision.subject, version.revision.author
            )),
        ]
    };
    let mut rows = Vec::new();
    rows.extend(record.stable.as_ref().map(|stable| cells("stable", &stable.version)));
    if let Some(rollout) = &record.rollout {
        let revision = rollout.candidate.revision();
        rows.push(match rollout.candidate.version() {
            Some(version) => cells("candidate", version),
            None => vec![
                Cell::new("  candidate"),
                Cell::new(revision.commit.short()),
                Cell::new("no image yet"),
                Cell::new(format!("{:?} by {}", revision.subject, revision.author)),
            ],
        });
    }
    if rows.is_empty() {
        return format!("{}\n  none was ever promoted", paint("versions", Tone::Faint, colour));
    }
    section("versions", rows, width, colour)
}

fn object_cells(line: &ObjectLine) -> Vec<Cell> {
    let health = Cell::new(line.assessment.health.name());
    vec![
        Cell::new(format!("  {}", line.kind)),
        Cell::new(&line.name),
        match tone(line.assessment.health.name()) {
            Some(tone) => health.tone(tone),
            None => health,
        },
        Cell::new(&line.assessment.reason),
    ]
}

fn pod_cells(line: &PodsLine) -> Vec<Cell> {
    let tone = if line.ready == line.all { Tone::Good } else { Tone::Busy };
    vec![
        Cell::new(format!("  {}", line.track)),
        Cell::new(format!("{} of {} ready", line.ready, line.all)).tone(tone),
        Cell::new(line.trouble.as_deref().unwrap_or_default()),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{self as at, noon, view};
    use super::*;

    fn parts() -> Parts {
        let line = |kind: &str, health, reason: &str| ObjectLine {
            kind: kind.into(),
            name: "hello".into(),
            assessment: Assessment { health, reason: reason.into() },
        };
        let pod = |name: &str, track: &str, ready: &str| {
            json!({"metadata": {"name": name, "labels": {"idp.dev/track": track}},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "reason": "ContainersNotReady"}]}})
        };
        Parts {
            objects: vec![
                line("Deployment", Health::Healthy, "3 of 3 pods available"),
                line("Service", Health::Missing, "is not there"),
            ],
            pods: tracks(
                &[
                    pod("hello-1", "stable", "True"),
                    pod("hello-2", "stable", "True"),
                    pod("hello-canary-1", "canary", "False"),
                ],
                noon(),
            ),
        }
    }

    #[test]
    fn a_canary_on_one_screen() {
        let view = view(&at::watched());
        let screen = Screen::new(&view, parts(), noon());
        insta::assert_snapshot!(text(&screen, &view, noon(), 120, false), @r#"
    hello.production  Progressing  Progressing  OutOfSync  in web
    versions
      stable     aaaaaaaaaa  sha256:aaaaaaaaaaaa  registry.example.com/web/hello:aaaaaaa  "good" by Ann
      candidate  bbbbbbbbbb  sha256:bbbbbbbbbbbb  registry.example.com/web/hello:bbbbbbb  "new" by Ann
    objects
      Deployment  hello  Healthy  3 of 3 pods available
      Service     hello  Missing  is not there
    pods
      stable  2 of 2 ready  -
      canary  0 of 1 ready  hello-canary-1 is not ready: ContainersNotReady
      why       rollout #7 (bbbbbbbbbb) is at step 1 of 3 (asked 10 %, real 25 %); 3m of 5m count so far
      unblocks  time in which samples are seen and no gate fails
      next      with the next sample; the next step in 2m (12:02:00 UTC) at the earliest
      gate      error_rate pass: few requests fail (value 0.10 %, limit 1.00 %, 1000 samples, over 2m)
      gate      pod_state pass: no restarts
      last      rollout #6 of aaaaaaaaaa ended 2h ago as Promoted: all gates passed
      try       idp rollout abort hello.production
    history
      #6  Promoted  aaaaaaaaaa  2h ago  all gates passed
"#);
    }

    #[test]
    fn without_a_record_there_is_a_screen_too() {
        let view = view(&json!(null));
        let screen = Screen::new(&view, Parts::default(), noon());
        insta::assert_snapshot!(text(&screen, &view, noon(), 100, false), @r#"
    hello.production  Unknown  in web
      why       it has no record yet, or its record was lost
      unblocks  a running daemon: it makes the record, or rebuilds it from the cluster
      next      with the daemon's next pass
"#);
    }

    #[test]
    fn data_has_the_record_without_its_outbox() {
        let mut status = at::stable();
        status["outbox"] = json!({"9": {"at": "2026-01-01T11:00:00Z", "events": []}});
        let screen = Screen::new(&view(&status), parts(), noon());
        let data = serde_json::to_value(&screen).unwrap();
        assert_eq!(data["release"], json!("hello.production"));
        assert_eq!(data["objects"][1]["health"], json!("Missing"));
        assert_eq!(data["status"]["rollouts"], json!(6));
        assert!(data["status"].get("outbox").is_none());
    }
}
