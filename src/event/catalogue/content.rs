//! What each transition means: type, subject, content, custom data. One arm a transition.

use serde_json::{Map, Value, json};

use super::EventSource;
use super::purl::purl;
use super::types::{self, EventType};
use crate::model::change::{Change, Changes, PullRequest, Revision};
use crate::model::image::Image;
use crate::model::rollout::{Hold, Outcome, Version};
use crate::model::transition::{Kind, Transition};
use crate::model::verdict::Verdict;

/// Characters of a text that others wrote, at most: an entry has to fit the outbox whatever stands in a commit or a message.
const TEXT: usize = 1024;
/// Names of objects in one event, at most.
const OBJECTS: usize = 50;

/// One event before it has an id and a place in a chain.
#[derive(Debug)]
pub struct Meaning {
    /// Its type.
    pub kind: &'static EventType,
    /// `subject.id`.
    pub subject: String,
    /// `subject.content`: for standard types only keys that their schema names.
    pub content: Map<String, Value>,
    /// `customData`: what is ours.
    pub custom: Map<String, Value>,
}

/// Commits that an event tells one by one.
const COMMITS: usize = 10;

/// Cuts a text that others wrote.
pub fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(mut map) => {
            map.retain(|_, value| !value.is_null());
            map
        }
        _ => Map::new(),
    }
}

/// What every event says beside its own content, so that a reader needs no other event to know what it is about.
fn custom(source: &EventSource, transition: &Transition, more: Value) -> Map<String, Value> {
    let mut map = object(json!({
        "cluster": source.cluster,
        "environment": transition.environment,
        "namespace": source.namespace,
        "release": transition.release,
        "rollout": transition.rollout,
        "sentence": cut(&transition.sentence),
        "service": transition.release.service,
        "source": transition.source,
        "team": transition.team,
        "transition": transition.kind.name(),
    }));
    map.extend(object(more));
    map
}

fn change(revision: &Revision) -> Value {
    json!({
        "author": cut(&revision.author),
        "commit": revision.commit,
        "committedAt": revision.committed_at.to_string(),
        "repository": cut(&revision.repository),
        "subject": cut(&revision.subject),
        "url": revision.url.as_deref().map(cut),
    })
}

/// What came with a commit: its own pull request, and the newest commits.
fn brought(changes: &Changes) -> Value {
    if changes.is_empty() {
        return json!({});
    }
    let pull = |pull: &PullRequest| json!({"number": pull.number, "title": cut(&pull.title)});
    let commit = |change: &Change| {
        object(json!({
            "author": cut(&change.author),
            "commit": change.commit,
            "committedAt": change.committed_at.to_string(),
            "committer": change.committer.as_deref().map(cut),
            "mergedAt": change.merged_at.map(|at| at.to_string()),
            "pullRequest": change.pull_request.as_ref().map(pull),
        }))
    };
    json!({
        "commitCount": changes.commits.len(),
        "commits": changes.commits.iter().take(COMMITS).map(commit).collect::<Vec<_>>(),
        "commitsPartial": changes.partial,
        "pullRequest": changes.commits.first().and_then(|change| change.pull_request.as_ref()).map(pull),
    })
}

fn version(version: &Version) -> Value {
    json!({
        "change": object(change(&version.revision)),
        "identity": version.identity,
        "image": version.image.reference(),
    })
}

fn judged(verdict: &Verdict) -> Value {
    let mut judged = json!({
        "answer": verdict.answer.name(),
        "cause": verdict.gate.name(),
        "limit": verdict.numbers.limit,
        "reason": cut(&verdict.reason),
        "samples": verdict.numbers.samples,
        "value": verdict.numbers.value,
        "windowSeconds": verdict.numbers.window_seconds,
    });
    for (key, said) in [("gate", &verdict.name), ("provider", &verdict.numbers.provider)] {
        if let (Value::Object(judged), Some(said)) = (&mut judged, said) {
            judged.insert(key.to_owned(), json!(cut(said)));
        }
    }
    judged
}

fn with(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}

struct Writer<'a> {
    source: &'a EventSource,
    transition: &'a Transition,
}

impl Writer<'_> {
    fn event(&self, kind: &'static EventType, subject: String, content: Value, more: Value) -> Vec<Meaning> {
        let custom = custom(self.source, self.transition, more);
        vec![Meaning { kind, subject, content: object(content), custom }]
    }

    fn release(&self) -> String {
        self.transition.release.to_string()
    }

    fn run(&self) -> String {
        match self.transition.rollout {
            Some(number) => format!("{}/{number}", self.transition.release),
            None => self.release(),
        }
    }

    fn environment(&self) -> Value {
        json!({"id": self.transition.environment, "source": self.source.uri()})
    }

    /// A `pipelinerun.*` event: the rollout is the run, the release is the pipeline.
    fn pipeline(&self, kind: &'static EventType, content: Value, more: Value) -> Vec<Meaning> {
        let run = json!({
            "pipelineName": self.release(),
            "uri": self.source.release_uri(self.transition),
        });
        self.event(kind, self.run(), with(run, content), more)
    }

    /// A `service.*` event.
    fn service(&self, kind: &'static EventType, image: Option<&Image>, more: Value) -> Vec<Meaning> {
        let content = json!({"environment": self.environment(), "artifactId": image.map(purl)});
        self.event(kind, self.transition.release.service.to_string(), content, more)
    }

    /// An `incident.*` event. A release has at most one open incident, so both ends of it name the release.
    fn incident(&self, kind: &'static EventType, image: Option<&Image>, more: Value) -> Vec<Meaning> {
        let content = json!({
            "description": cut(&self.transition.sentence),
            "environment": self.environment(),
            "service": {"id": self.transition.release.service, "source": self.source.uri()},
            "artifactId": image.map(purl),
        });
        self.event(kind, format!("{}/incident", self.transition.release), content, more)
    }

    /// An event of a type of our own, about the release.
    fn own(&self, kind: &'static EventType, content: Value) -> Vec<Meaning> {
        self.event(kind, self.run(), content, Value::Null)
    }

    fn change_seen(&self, revision: &Revision, changes: &Changes) -> Vec<Meaning> {
        let repository = (!revision.repository.is_empty()).then(|| json!({"id": cut(&revision.repository)}));
        let content = json!({"repository": repository});
        self.event(
            &types::CHANGE_MERGED,
            revision.commit.to_string(),
            content,
            with(change(revision), brought(changes)),
        )
    }

    fn promoted(&self, new: &Version, previous: Option<&Version>, times: Value) -> Vec<Meaning> {
        let kind = if previous.is_some() { &types::SERVICE_UPGRADED } else { &types::SERVICE_DEPLOYED };
        let more = json!({
            "previous": previous.map(|previous| object(version(previous))),
            "version": object(version(new)),
        });
        self.service(kind, Some(&new.image), with(more, times))
    }

    fn rolled_back(
        &self,
        verdict: &Verdict,
        tried: Option<&Version>,
        runs: Option<&Version>,
    ) -> Vec<Meaning> {
        let more = json!({
            "candidate": tried.map(|tried| object(version(tried))),
            "running": runs.map(|runs| object(version(runs))),
        });
        // Without a version to name as its artifact, a rolled back service is one that is gone.
        let kind = if runs.is_some() { &types::SERVICE_ROLLEDBACK } else { &types::SERVICE_REMOVED };
        self.service(kind, runs.map(|runs| &runs.image), with(judged(verdict), more))
    }

    fn gate_failed(&self, verdict: &Verdict, image: Option<&Image>) -> Vec<Meaning> {
        if image.is_some() {
            self.incident(&types::INCIDENT_DETECTED, image, judged(verdict))
        } else {
            self.own(&types::GATE_FAILED, judged(verdict))
        }
    }
}

fn outcome(outcome: Outcome, ran: bool) -> &'static str {
    match outcome {
        Outcome::Promoted | Outcome::Undone => "success",
        Outcome::Superseded | Outcome::Aborted => "cancel",
        Outcome::Failed if !ran => "error",
        Outcome::RolledBack | Outcome::Failed => "failure",
    }
}

fn hold_name(hold: Hold) -> &'static str {
    match hold {
        Hold::Held => "held",
        Hold::Parked => "parked",
    }
}

/// Returns the events that a transition means, one to three.
pub fn meanings(source: &EventSource, transition: &Transition) -> Vec<Meaning> {
    let writer = Writer { source, transition };
    match &transition.kind {
        Kind::ChangeSeen { revision, changes } => writer.change_seen(revision, changes),
        Kind::Queued { revision } => writer.pipeline(
            &types::PIPELINERUN_QUEUED,
            Value::Null,
            json!({"change": object(change(revision))}),
        ),
        Kind::Started { candidate, first } => {
            let more = json!({"first": first, "version": object(version(candidate))});
            writer.pipeline(&types::PIPELINERUN_STARTED, Value::Null, more)
        }
        Kind::Stepped { step, of, asked, real, verdict, candidate } => {
            let content = json!({
                "step": step, "of": of, "weightAsked": asked, "weightReal": real,
                "verdict": object(judged(verdict)), "sentence": cut(&verdict.to_string()),
                "artifactId": purl(&candidate.image),
            });
            writer.own(&types::ROLLOUT_STEPPED, content)
        }
        Kind::GateFailed { verdict, image } => writer.gate_failed(verdict, image.as_ref()),
        Kind::Promoted { version, previous, took, since_commit } => {
            let times = json!({"leadTimeSeconds": since_commit.as_secs(), "seconds": took.as_secs()});
            writer.promoted(version, previous.as_ref(), times)
        }
        Kind::RolledBack { verdict, candidate, running, took: _ } => {
            writer.rolled_back(verdict, candidate.as_ref(), running.as_ref())
        }
        Kind::Finished { outcome: ended, reason, took, image, caught } => {
            let good = matches!(ended, Outcome::Promoted | Outcome::Undone);
            let errors = (!good).then(|| cut(reason));
            let content = json!({"outcome": outcome(*ended, image.is_some()), "errors": errors});
            let more = json!({
                "artifactId": image.as_ref().map(purl), "caught": caught,
                "outcome": ended.name(), "seconds": took.as_secs(),
            });
            writer.pipeline(&types::PIPELINERUN_FINISHED, content, more)
        }
        Kind::HealthyAgain { version } => {
            writer.incident(&types::INCIDENT_RESOLVED, Some(&version.image), Value::Null)
        }
        other => own_meanings(&writer, other),
    }
}

/// The transitions that no standard type tells.
fn own_meanings(writer: &Writer<'_>, kind: &Kind) -> Vec<Meaning> {
    match kind {
        Kind::HoldSet { hold, identity, revision, verdict } => {
            let content = json!({
                "change": object(change(revision)), "hold": hold_name(*hold), "identity": identity,
                "verdict": object(judged(verdict)),
            });
            writer.own(&types::VERSION_HELD, content)
        }
        Kind::HoldReleased { identity, by } => {
            writer.own(&types::VERSION_RELEASED, json!({"by": cut(by), "identity": identity}))
        }
        Kind::DriftCorrected { objects } => {
            let names: Vec<String> = objects.iter().take(OBJECTS).map(|name| cut(name)).collect();
            writer.own(&types::DRIFT_CORRECTED, json!({"count": objects.len(), "objects": names}))
        }
        Kind::Applied { revision } => {
            writer.own(&types::RELEASE_APPLIED, json!({"change": object(change(revision))}))
        }
        Kind::ApprovalRequested { what } => {
            writer.own(&types::APPROVAL_REQUESTED, json!({"what": cut(what)}))
        }
        Kind::RecordRebuilt { phase } => writer.own(&types::RECORD_REBUILT, json!({"phase": cut(phase)})),
        Kind::CommandAnswered { verb, who, why, accepted } => {
            let content = json!({"accepted": accepted, "verb": verb, "who": cut(who), "why": cut(why)});
            writer.own(&types::COMMAND_ANSWERED, content)
        }
        Kind::EventsDropped { from, to, count } => {
            writer.own(&types::EVENTS_DROPPED, json!({"count": count, "from": from, "to": to}))
        }
        // Told by standard types.
        Kind::ChangeSeen { .. }
        | Kind::Queued { .. }
        | Kind::Started { .. }
        | Kind::Stepped { .. }
        | Kind::GateFailed { .. }
        | Kind::Promoted { .. }
        | Kind::RolledBack { .. }
        | Kind::Finished { .. }
        | Kind::HealthyAgain { .. } => Vec::new(),
    }
}
