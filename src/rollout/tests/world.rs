//! The toy cluster. One tick: a pass (read, advance, effects, store, apply), then the controllers, then a second of time.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher as _};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::change::{Changes, Revision};
use crate::model::command::Command;
use crate::model::desired::{Desired, Head, Identity, Mode};
use crate::model::image::{Image, ImageRequest, ImageState, Wanted};
use crate::model::name::{Namespace, ReleaseKey};
use crate::model::object::{Manifest, ObjectKey, Role};
use crate::model::observed::{Known, Live, Observed, PodView, ReplicaSetView, RevisionBody, Routes, Stopped};
use crate::model::policy::{
    Amount, CheckKind, HealthCheck, OnLowTraffic, OnUnknown, Order, Policy, Rollback, Step, Strategy,
};
use crate::model::record::{Record, Totals};
use crate::model::samples::{
    Answers, CheckTally, Measured, Question, Samples, Tally, Track, Traffic, TrafficSource,
};
use crate::model::standing::Surroundings;
use crate::model::transition::{Kind, Transition};
use crate::model::write::Write;
use crate::model::{ANNOTATION_ROLLOUT, IMAGE_PLACEHOLDER, LABEL_GATE, LABEL_RELEASE, LABEL_TRACK};
use crate::render;
use crate::rollout::{
    Inputs, advance, assignment, effects, job_keys, must_store, rebuild, size, track_keys, view::View,
    view::epoch_of,
};

/// How the pods of an image behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Behaviour {
    Healthy,
    Errors(u64),
    Crash,
    NeverStarts,
    FailsChecks,
}

/// How a Job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    Code(i32),
    NeverStarts,
    Hangs,
}

/// Where a run is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Before,
    ReplyLost,
    After,
}

/// A body that copies of a world share until one of them writes it.
#[derive(Debug, Clone)]
pub(super) struct Body(Arc<Value>);

impl Deref for Body {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl DerefMut for Body {
    fn deref_mut(&mut self) -> &mut Value {
        Arc::make_mut(&mut self.0)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) uid: String,
    pub(super) version: u64,
    pub(super) body: Body,
    scaled: bool,
}

#[derive(Debug, Clone)]
struct Set {
    view: ReplicaSetView,
    template: Value,
}

/// What a pass decided, and what it had read.
#[derive(Clone)]
pub struct Decision {
    read: Record,
    record: Record,
    stores: bool,
    transitions: Vec<Transition>,
    writes: Vec<Write>,
    revisions: BTreeMap<u64, RevisionBody>,
}

#[derive(Clone)]
#[allow(clippy::struct_excessive_bools)] // Each is one thing that a story may break.
pub struct World {
    pub now: Timestamp,
    pub release: ReleaseKey,
    pub namespace: Namespace,
    pub head: Head,
    pub images: BTreeMap<Identity, ImageState>,
    pub behaviours: BTreeMap<String, Behaviour>,
    pub record: Option<Record>,
    /// The fencing epoch of the process that leads.
    pub epoch: u64,
    pub commands: BTreeMap<String, Command>,
    pub suspended: bool,
    pub around: Surroundings,
    pub slot: bool,
    pub provider_down: bool,
    /// What the questions of declared gates give, by key; what is not here is not measured.
    pub measures: BTreeMap<String, Measured>,
    /// How the Jobs of gates end, by the gate's name; those that are not here complete.
    pub ends: BTreeMap<String, JobEnd>,
    pub transitions: Vec<Transition>,
    pub creates: BTreeMap<String, u32>,
    pub deletes: BTreeMap<String, u32>,
    pub mutations: u64,
    pub cut: Option<(u64, Cut)>,
    pub weights: Vec<(u64, u32)>,
    pub git_away: bool,
    /// Seconds after which gateways take a change of a route; none: never.
    pub gateway: Option<u64>,
    /// The shares that gateways gave the candidate, each noted once it changed.
    pub shares: Vec<u8>,
    /// New pods of stable's own Deployment do not become ready.
    pub no_room: bool,
    /// Only a change of the cluster, or the time that a pass asked for, wakes the next one: no sample does.
    pub quiet: bool,
    due: Option<Timestamp>,
    stirred: bool,
    /// For messages.
    pub label: String,
    /// What was there right after the last pass is kept, as what a watch that is late would show.
    pub keeps_past: bool,
    pub past: Option<Arc<Observed>>,
    /// What the next pass is shown instead of what is there.
    pub shown: Option<Arc<Observed>>,
    /// What is done was decided by what is not there any more.
    stale: bool,
    /// A pass decides once, not twice to compare.
    pub trusts: bool,
    working: Option<Record>,
    direct: Option<Desired>,
    waiting: Option<Desired>,
    pub(super) objects: BTreeMap<ObjectKey, Object>,
    /// Jobs run again at these times.
    pub cron: Option<String>,
    /// The workload is a DaemonSet on these nodes, of which those of `lost` do not answer.
    pub nodes: Vec<String>,
    pub lost: BTreeSet<String>,
    /// The nodes that were without a pod a round ago.
    pub empty: BTreeSet<String>,
    /// The workload is a StatefulSet; its templates by what they are called.
    pub stateful: bool,
    pub templates: BTreeMap<String, Value>,
    sets: Vec<Set>,
    pub pods: Vec<PodView>,
    revisions: BTreeMap<u64, RevisionBody>,
    samples: Option<Samples>,
    session: u64,
    pub clock: u64,
    pub routes: Routes,
    /// When each route was last changed.
    pub changed: BTreeMap<ObjectKey, Timestamp>,
    /// What gateways go by.
    pub obeyed: BTreeMap<ObjectKey, Value>,
    /// The lowest weight of a rollout that is on its way back.
    pub fallen: Option<(u64, u8)>,
    /// What the record allowed a tick ago.
    pub granted: u8,
    /// The story breaks pods or routes: traffic may go nowhere.
    pub disturbed: bool,
    /// The sizes that our writes gave stable's Deployment, and those that came through its scale subresource.
    pub sized: Vec<u32>,
    pub raised: Vec<u32>,
}

pub fn policy(strategy: Strategy) -> Policy {
    let steps: &[(u8, u64)] = match strategy {
        Strategy::Canary => &[(10, 8), (50, 8), (100, 4)],
        Strategy::BlueGreen => &[(0, 0), (100, 8)],
        Strategy::Rolling | Strategy::Recreate | Strategy::Job => &[],
    };
    let asks = if strategy == Strategy::Job { CheckKind::None } else { CheckKind::Tcp };
    let step = |(weight, pause): &(u8, u64)| Step::timed(*weight, Duration::from_secs(*pause));
    Policy {
        strategy,
        traffic: crate::model::traffic::Traffic::default(),
        steps: steps.iter().map(step).collect(),
        progress_deadline: Duration::from_mins(2),
        image_wait: Duration::from_mins(1),
        max_surge: Amount::Percent(25),
        max_unavailable: Amount::Count(0),
        health: HealthCheck {
            kind: asks,
            port: 8080,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            threshold: 3,
            success_threshold: 1,
            initial_delay: Duration::ZERO,
        },
        order: Order::default(),
        rollback: Rollback {
            auto: true,
            max_error_rate: Some(0.01).filter(|_| strategy != Strategy::Job),
            max_latency: Vec::new(),
            max_restarts: 2,
            min_requests: 20,
            window: Duration::from_secs(8),
            on_low_traffic: OnLowTraffic::Pass,
            on_unknown: OnUnknown::Hold,
            unknown_timeout: Duration::from_mins(5),
            hold: true,
            history: 10,
        },
        gates: Vec::new(),
        slo: Vec::new(),
    }
}

pub fn digest(tag: &str) -> String {
    format!("sha256:{:0>64}", tag.bytes().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

/// A declaration of version `tag`.
pub fn desired(tag: &str, strategy: Strategy) -> Desired {
    let release: ReleaseKey = "web.production".parse().unwrap();
    let labels = json!({LABEL_RELEASE: "web.production", LABEL_TRACK: "stable"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [
                {"name": "app", "image": IMAGE_PLACEHOLDER, "ports": [{"containerPort": 8080}], "env": [{"name": "V", "value": tag}]}]}}},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "labels": labels, "annotations": {"for": tag}},
        "spec": {"selector": {LABEL_RELEASE: "web.production"}},
    });
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("web-files-{tag}"), "namespace": "shop", "labels": labels}, "data": {"a": tag},
    });
    let manifest =
        |body: Value, role| Manifest { key: key_of(&body), role, hash: render::content_hash(&body), body };
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "web", "namespace": "shop", "labels": {LABEL_RELEASE: "web.production"}},
        "spec": {"suspend": true, "activeDeadlineSeconds": 60, "template": deployment["spec"]["template"]},
    });
    Desired {
        release,
        namespace: "shop".parse().unwrap(),
        team: "web".parse().unwrap(),
        source: "apps".parse().unwrap(),
        revision: Revision {
            commit: format!("{:0>40}", &digest(tag)[60..71]).parse().unwrap(),
            committed_at: Timestamp::UNIX_EPOCH,
            author: "Ada".to_owned(),
            subject: format!("change {tag}"),
            repository: "https://git.example.com/apps".to_owned(),
            url: None,
        },
        changes: Changes::default(),
        identity: Identity(format!("1-{tag}")),
        platform: "p".to_owned(),
        image: ImageRequest {
            repository: "registry.example.com/web".to_owned(),
            wanted: Wanted::Tags(vec![tag.to_owned()]),
        },
        mode: Mode::Apply,
        auto_deploy: true,
        replicas: if strategy == Strategy::Job { 0 } else { 3 },
        autoscale: None,
        policy: policy(strategy),
        port: 8080,
        objects: if strategy == Strategy::Job {
            vec![manifest(config, Role::Config), manifest(job, Role::Job)]
        } else {
            vec![
                manifest(config, Role::Config),
                manifest(deployment, Role::Workload),
                manifest(service, Role::Shared),
            ]
        },
    }
}

fn key_of(body: &Value) -> ObjectKey {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    ObjectKey {
        api_version: text("/apiVersion"),
        kind: text("/kind"),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    }
}

fn hashed(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// One measurement, where it is due.
fn answer(samples: &mut Samples, question: &Question, measured: &Measured, now: Timestamp) {
    let known = samples.answers.get(&question.key);
    if known.is_some_and(|known| known.last_at + question.interval > now) {
        return;
    }
    let (mut passed, mut failed) = known.map_or((0, 0), |known| (known.passed, known.failed));
    let mut last_failure = known.and_then(|known| known.last_failure.clone());
    match measured {
        Measured::Pass(_) => passed += 1,
        Measured::Fail(clause, value) => {
            failed += 1;
            last_failure = Some((clause.clone(), *value));
        }
        Measured::Unknown(_) => {}
    }
    let answers = Answers { passed, failed, last: measured.clone(), last_failure, last_at: now };
    samples.answers.insert(question.key.clone(), answers);
}

fn describe_pods<'a>(text: &mut String, pods: &[PodView], sets: impl Iterator<Item = &'a ReplicaSetView>) {
    for set in sets {
        let _ = write!(text, "{:?}", (&set.uid, &set.owner));
    }
    for pod in pods {
        let _ = write!(text, "{:?}", (&pod.owner, &pod.track, pod.ready_since.is_some(), &pod.image_id));
    }
}

impl World {
    pub fn new() -> Self {
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            release: "web.production".parse().unwrap(),
            namespace: "shop".parse().unwrap(),
            head: Head::None { reason: "not looked yet".to_owned(), looked: false },
            images: BTreeMap::new(),
            behaviours: BTreeMap::new(),
            record: None,
            epoch: 1,
            commands: BTreeMap::new(),
            suspended: false,
            slot: true,
            around: Surroundings::default(),
            provider_down: false,
            measures: BTreeMap::new(),
            ends: BTreeMap::new(),
            transitions: Vec::new(),
            creates: BTreeMap::new(),
            deletes: BTreeMap::new(),
            mutations: 0,
            cut: None,
            weights: Vec::new(),
            git_away: false,
            gateway: Some(1),
            shares: Vec::new(),
            no_room: false,
            routes: Routes::default(),
            changed: BTreeMap::new(),
            obeyed: BTreeMap::new(),
            fallen: None,
            granted: 0,
            disturbed: false,
            sized: Vec::new(),
            raised: Vec::new(),
            quiet: false,
            due: None,
            stirred: true,
            label: String::new(),
            keeps_past: false,
            past: None,
            shown: None,
            stale: false,
            trusts: false,
            working: None,
            direct: None,
            waiting: None,
            objects: BTreeMap::new(),
            cron: None,
            nodes: Vec::new(),
            lost: BTreeSet::new(),
            empty: BTreeSet::new(),
            stateful: false,
            templates: BTreeMap::new(),
            sets: Vec::new(),
            pods: Vec::new(),
            revisions: BTreeMap::new(),
            samples: None,
            session: 1,
            clock: 0,
        }
    }

    /// Merges a commit whose image behaves so.
    pub fn merge(&mut self, tag: &str, strategy: Strategy, behaviour: Behaviour) {
        self.stirred = true;
        self.push_image(tag, behaviour);
        let mut desired = desired(tag, strategy);
        if self.stateful {
            super::in_place::stateful(&mut desired);
        }
        if let Some(schedule) = &self.cron {
            super::runs::again(&mut desired, schedule);
        }
        if !self.nodes.is_empty() {
            super::by_node::by_node(&mut desired);
        }
        self.head = Head::Known(Box::new(desired));
    }

    pub fn push_image(&mut self, tag: &str, behaviour: Behaviour) {
        let image = Image {
            repository: "registry.example.com/web".to_owned(),
            tag: Some(tag.to_owned()),
            digest: digest(tag).parse().unwrap(),
        };
        self.behaviours.insert(digest(tag), behaviour);
        self.images.insert(Identity(format!("1-{tag}")), ImageState::Resolved(image));
    }

    pub fn desired_mut(&mut self) -> &mut Desired {
        match &mut self.head {
            Head::Known(desired) => desired,
            _ => panic!("no head"),
        }
    }

    /// Forgets everything that a process has in memory.
    pub fn restart(&mut self) {
        self.working = None;
        self.samples = None;
        self.waiting = None;
        self.direct = None;
        self.session += 1;
    }

    pub fn observed(&self) -> Observed {
        let live = |object: &Object| Live {
            uid: object.uid.clone(),
            resource_version: object.version.to_string(),
            managed: object.body.pointer("/metadata/labels").is_some(),
            scaled: object.scaled,
            object: Arc::clone(&object.body.0),
        };
        let mut objects: BTreeMap<ObjectKey, Known<Live>> = BTreeMap::new();
        let mut wanted: BTreeSet<ObjectKey> = self.objects.keys().cloned().collect();
        for name in ["web", "web-canary"] {
            wanted.insert(ObjectKey {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                namespace: "shop".into(),
                name: name.into(),
            });
        }
        wanted.extend(self.record.iter().flat_map(|record| record.inventory.keys().cloned()));
        wanted.insert(render::autoscaler_key("web", "shop"));
        if let Some(record) = &self.record {
            wanted.extend(track_keys(&self.release, "shop", record));
            wanted.extend(job_keys(&self.release, "shop", record));
        }
        wanted.extend(
            self.head.desired().iter().flat_map(|desired| desired.objects.iter().map(|m| m.key.clone())),
        );
        wanted.extend(
            self.revisions.values().flat_map(|revision| revision.objects.iter().map(|m| m.key.clone())),
        );
        for key in wanted {
            let known = self.objects.get(&key).map_or(Known::Absent, |object| Known::Present(live(object)));
            objects.insert(key, known);
        }
        Observed {
            namespace: Known::Present(()),
            objects,
            replica_sets: self.sets.iter().map(|set| set.view.clone()).collect(),
            pods: self.pods.clone(),
            revisions: self.revisions.iter().map(|(n, r)| (*n, Known::Present(r.clone()))).collect(),
            routes: self.routes.clone(),
            refusals: BTreeMap::new(),
        }
    }

    /// One pass; `false` if the process was cut down in it.
    pub fn pass(&mut self) -> bool {
        match self.decide() {
            Some(decision) => self.act(decision),
            None => self.begin(),
        }
    }

    /// There is no record yet.
    fn begin(&mut self) -> bool {
        let Some(desired) = self.head.desired().cloned() else { return true };
        let rebuilt = rebuild(&self.release, &desired, &self.observed(), self.epoch, self.now);
        if rebuilt.keep.is_some_and(|write| !self.write(write)) {
            return false;
        }
        self.mutate(|world| {
            world.record = Some(rebuilt.record);
            world.transitions.extend(rebuilt.transitions);
        })
    }

    /// Reads, advances and plans; `None` without a record.
    pub fn decide(&mut self) -> Option<Decision> {
        let shown = self.shown.take();
        self.stale = shown.is_some();
        let observed = shown.unwrap_or_else(|| Arc::new(self.observed()));
        let stored = self.record.clone()?;
        let before = self
            .working
            .clone()
            .filter(|working| !must_store(&stored, working))
            .unwrap_or_else(|| stored.clone());
        let head = if self.git_away {
            Head::None { reason: "Git is away".to_owned(), looked: false }
        } else {
            self.head.clone()
        };
        let (images, commands, samples) = (self.images.clone(), self.commands.clone(), self.samples.clone());
        let (direct, waiting) = (self.direct.clone(), self.waiting.clone());
        let release = self.release.clone();
        let namespace = self.namespace.clone();
        let input = Inputs {
            release: &release,
            namespace: &namespace,
            head: &head,
            waiting: waiting.as_ref(),
            direct: direct.as_ref(),
            images: &images,
            observed: &observed,
            samples: samples.as_ref(),
            commands: &commands,
            unreadable: &BTreeMap::new(),
            around: &self.around.clone(),
            suspended: self.suspended,
            slot: self.slot,
            session: self.session,
            epoch: self.epoch,
            now: self.now,
        };
        let answer = advance(&before, &input);
        if !self.trusts {
            let again = advance(&before, &input);
            assert_eq!(answer.record, again.record, "same inputs, same answer");
        }
        self.due = answer.due;
        let mut record = answer.record;
        let effects = effects(&mut record, &input);
        let deleted: Vec<&ObjectKey> = effects
            .writes
            .iter()
            .filter_map(|write| if let Write::Delete { key, .. } = write { Some(key) } else { None })
            .collect();
        assert_eq!(
            deleted.iter().collect::<BTreeSet<_>>().len(),
            deleted.len(),
            "deleted twice: {deleted:?}"
        );
        self.remember(&record);
        let worth_it = must_store(&stored, &record) || !answer.transitions.is_empty();
        Some(Decision {
            read: stored,
            record,
            stores: worth_it,
            transitions: answer.transitions,
            writes: effects.writes,
            revisions: self.revisions.clone(),
        })
    }

    /// Stores and applies what was decided just now.
    fn act(&mut self, decision: Decision) -> bool {
        let Decision { record, stores, transitions, writes, .. } = decision;
        if stores {
            let stored = record.clone();
            let ok = self.mutate(|world| {
                world.record = Some(stored);
                world.transitions.extend(transitions);
            });
            if !ok {
                return false;
            }
        }
        self.working = Some(record);
        writes.into_iter().all(|write| self.write(write))
    }

    /// Does what another process decided a while ago, as far as the server lets it: the record by compare-and-swap, objects under
    /// their fences, a creation only where nothing is, a revision only as it was read.
    pub fn act_late(&mut self, decision: Decision) {
        if decision.stores {
            if self.record.as_ref() != Some(&decision.read) {
                return;
            }
            self.record = Some(decision.record);
            self.transitions.extend(decision.transitions);
        }
        for write in decision.writes {
            let refused = match &write {
                Write::SaveRevision { rollout, .. }
                | Write::MarkRevision { rollout, .. }
                | Write::DropRevision { rollout } => {
                    self.revisions.get(rollout) != decision.revisions.get(rollout)
                }
                other => self.misses(other),
            };
            if refused {
                return;
            }
            self.do_write(write);
        }
    }

    fn remember(&mut self, record: &Record) {
        if let Head::Known(head) = &self.head
            && !self.git_away
        {
            if record.stable.as_ref().is_some_and(|stable| stable.version.identity == head.identity) {
                self.direct = Some(head.as_ref().clone());
            }
            let candidate = record.rollout.as_ref().map(|rollout| rollout.candidate.identity());
            if candidate == Some(&head.identity) {
                self.waiting = Some(head.as_ref().clone());
            }
        }
    }

    /// Counts a mutation of the cluster and cuts the process down where the run says so.
    fn mutate(&mut self, effect: impl FnOnce(&mut Self)) -> bool {
        self.mutations += 1;
        let cut = self.cut.filter(|(at, _)| *at == self.mutations).map(|(_, cut)| cut);
        if cut != Some(Cut::Before) {
            effect(self);
        }
        if cut.is_some() {
            self.restart();
        }
        cut.is_none()
    }

    fn write(&mut self, write: Write) -> bool {
        self.mutate(|world| world.do_write(write))
    }

    fn do_write(&mut self, write: Write) {
        self.clock += 1;
        let version = self.clock;
        // The server refuses it.
        if self.stale && self.misses(&write) {
            return;
        }
        match write {
            Write::Apply { manifest, fence: None } => {
                assert!(
                    !self.objects.contains_key(&manifest.key),
                    "created over an existing {}",
                    manifest.key
                );
                *self.creates.entry(manifest.key.to_string()).or_default() += 1;
                let mut body = manifest.body.clone();
                body["metadata"]["generation"] = json!(1);
                let body = Body(Arc::new(body));
                let object = Object { uid: format!("u{version}"), version, body, scaled: false };
                self.objects.insert(manifest.key, object);
            }
            Write::Apply { manifest, fence: Some(fence) } => {
                let object = self.objects.get_mut(&manifest.key).expect("fenced apply of what is there");
                if object.uid != fence.uid || object.version.to_string() != fence.resource_version {
                    return;
                }
                assert!(manifest.body.pointer("/spec/replicas").is_none(), "replicas belong to idp-rollout");
                let (before, after) = (epoch_of(&object.body), epoch_of(&manifest.body));
                assert!(before <= after, "epoch {after} wrote over {before} in {}", manifest.key);
                let generation = object.body["metadata"]["generation"].as_u64().unwrap_or(1) + 1;
                merge(&mut object.body, &manifest.body);
                if manifest.key.kind == "Service" {
                    object.body["spec"]["selector"] = manifest.body["spec"]["selector"].clone();
                }
                if manifest.key.kind == "DaemonSet" {
                    object.body["spec"] = manifest.body["spec"].clone();
                }
                object.body["metadata"]["generation"] = json!(generation);
                object.version = version;
            }
            Write::Scale { .. } | Write::Raise { .. } => self.resize(write, version),
            Write::Start { key, fence } => {
                let object = self.objects.get_mut(&key).expect("start of what is there");
                if object.uid == fence.uid && object.version.to_string() == fence.resource_version {
                    object.body["spec"]["suspend"] = json!(false);
                    object.version = version;
                }
            }
            Write::Route { key, patch, fence } => self.patch_route(&key, &patch, Some(&fence)),
            Write::Delete { key, uid } => {
                if self.objects.get(&key).is_some_and(|object| object.uid == uid) {
                    self.objects.remove(&key);
                    *self.deletes.entry(key.to_string()).or_default() += 1;
                    let gone: BTreeSet<String> = self
                        .sets
                        .iter()
                        .filter(|set| set.view.owner == uid)
                        .map(|set| set.view.uid.clone())
                        .collect();
                    self.sets.retain(|set| !gone.contains(&set.view.uid));
                    self.pods.retain(|pod| !gone.contains(&pod.owner) && pod.owner != uid);
                }
            }
            Write::ReplacePod { uid, .. } => self.pods.retain(|pod| pod.uid != uid),
            Write::SaveRevision { rollout, version, mark, objects } => {
                let body = RevisionBody { rollout, version: *version, mark, objects: Arc::new(objects) };
                self.revisions.insert(rollout, body);
            }
            Write::MarkRevision { rollout, mark } => {
                if let Some(revision) = self.revisions.get_mut(&rollout) {
                    revision.mark = mark;
                }
            }
            Write::DropRevision { rollout } => {
                self.revisions.remove(&rollout);
            }
        }
    }

    /// Tells whether a write creates what is there, or changes what is not.
    fn misses(&self, write: &Write) -> bool {
        match write {
            Write::Apply { manifest, fence: None } => self.objects.contains_key(&manifest.key),
            Write::Apply { manifest, fence: Some(_) } => !self.objects.contains_key(&manifest.key),
            Write::Scale { key, .. } | Write::Raise { key, .. } | Write::Start { key, .. } => {
                !self.objects.contains_key(key)
            }
            _ => false,
        }
    }

    fn resize(&mut self, write: Write, version: u64) {
        let (key, replicas, fence, raised) = match write {
            Write::Scale { key, replicas, fence } => (key, replicas, fence, false),
            Write::Raise { key, replicas, fence } => (key, replicas, fence, true),
            other => panic!("no size in {other:?}"),
        };
        let object = self.objects.get_mut(&key).expect("scale of what is there");
        if object.uid != fence.uid || object.version.to_string() != fence.resource_version {
            return;
        }
        let generation = object.body["metadata"]["generation"].as_u64().unwrap_or(1) + 1;
        object.body["spec"]["replicas"] = json!(replicas);
        object.body["metadata"]["generation"] = json!(generation);
        object.scaled = true;
        object.version = version;
        if key.name == "web" {
            if raised { &mut self.raised } else { &mut self.sized }.push(replicas);
        }
    }

    /// The Deployment controller and the kubelet, one round.
    fn controllers(&mut self) {
        let keys: Vec<ObjectKey> =
            self.objects.keys().filter(|key| key.kind == "Deployment").cloned().collect();
        for key in keys {
            self.deployment(&key);
        }
        self.stateful_sets();
        self.daemon_sets();
        self.jobs();
        let of_job = |key: &ObjectKey| key.kind == "Job";
        let jobs: BTreeSet<&String> =
            self.objects.iter().filter(|(key, _)| of_job(key)).map(|(_, object)| &object.uid).collect();
        for pod in self.pods.iter_mut().filter(|pod| !jobs.contains(&pod.owner)) {
            let behaviour = pod.image_id.as_ref().and_then(|digest| self.behaviours.get(digest)).copied();
            match behaviour.unwrap_or(Behaviour::Healthy) {
                Behaviour::Crash => {
                    pod.started = true;
                    pod.restarts += 1;
                    pod.terminated =
                        Some(Stopped { reason: "Error".into(), message: String::new(), exit_code: Some(1) });
                }
                _ if self.no_room && pod.track == "stable" && pod.ready_since.is_none() => {
                    pod.unschedulable = Some("no room".to_owned());
                }
                Behaviour::NeverStarts => pod.unschedulable = Some("no room".to_owned()),
                _ if self.lost.contains(&pod.node) => {
                    pod.ready_since = None;
                    pod.disrupted = Some("NodeNotReady".to_owned());
                }
                _ => {
                    pod.disrupted = None;
                    pod.started = true;
                    pod.ready_since = pod.ready_since.or(Some(self.now));
                }
            }
        }
    }

    /// The Job controller: a pod in one round, its end in the next.
    pub fn jobs(&mut self) {
        let running = |object: &Object| {
            object.body["spec"]["suspend"] == json!(false) && object.body["status"]["conditions"].is_null()
        };
        let jobs = self.objects.iter().filter(|(key, object)| key.kind == "Job" && running(object));
        let keys: Vec<ObjectKey> = jobs.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let object = self.objects[&key].clone();
            let gate = object.body["metadata"]["labels"][LABEL_GATE].as_str().unwrap_or("run");
            let end = self.ends.get(gate).copied().unwrap_or(JobEnd::Code(0));
            self.clock += 1;
            let now = self.now.to_string();
            let body = &mut self.objects.get_mut(&key).unwrap().body;
            let Some(at) = self.pods.iter().position(|pod| pod.owner == object.uid) else {
                body["status"] = json!({"startTime": now});
                let pod = self.pod(&object.uid, "", "");
                self.pods.push(pod);
                continue;
            };
            let seconds = body["spec"]["activeDeadlineSeconds"].as_i64().unwrap();
            let begun: Timestamp = body["status"]["startTime"].as_str().unwrap().parse().unwrap();
            let late = self.now.duration_since(begun).as_secs() >= seconds;
            let pod = &mut self.pods[at];
            pod.started = end != JobEnd::NeverStarts;
            let (kind, reason) = match end {
                _ if late => ("Failed", "DeadlineExceeded"),
                JobEnd::NeverStarts => {
                    pod.unschedulable = Some("no room".to_owned());
                    continue;
                }
                JobEnd::Hangs => continue,
                JobEnd::Code(0) => ("Complete", ""),
                JobEnd::Code(_) => ("Failed", "BackoffLimitExceeded"),
            };
            if let (JobEnd::Code(code), false) = (end, late) {
                let message = "one\nthe last words".to_owned();
                pod.ended = true;
                pod.terminated = Some(Stopped { reason: "Error".into(), message, exit_code: Some(code) });
            }
            body["status"]["conditions"] =
                json!([{"type": kind, "status": "True", "reason": reason, "lastTransitionTime": now}]);
            self.objects.get_mut(&key).unwrap().version = self.clock;
        }
    }

    /// Somebody deletes the Jobs.
    pub fn delete_jobs(&mut self) {
        self.objects.retain(|key, _| key.kind != "Job");
        self.stir();
    }

    /// The Jobs that are there, whole.
    pub fn job_bodies(&self) -> Vec<Value> {
        self.objects
            .iter()
            .filter(|(key, _)| key.kind == "Job")
            .map(|(_, job)| Value::clone(&job.body))
            .collect()
    }

    /// The Jobs that are there.
    pub fn job_names(&self) -> Vec<String> {
        self.objects.keys().filter(|key| key.kind == "Job").map(|key| key.name.clone()).collect()
    }

    fn deployment(&mut self, key: &ObjectKey) {
        let object = self.objects.get_mut(key).unwrap();
        let template = object.body.pointer("/spec/template").unwrap().clone();
        let wanted = u32::try_from(object.body["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap();
        let mine = |set: &&mut Set| set.view.owner == object.uid;
        let newest = self
            .sets
            .iter()
            .filter(|set| set.view.owner == object.uid)
            .map(|set| set.view.revision)
            .max()
            .unwrap_or(0);
        let found = self.sets.iter_mut().filter(mine).find(|set| set.template == template);
        let revision = if let Some(set) = found {
            if set.view.revision != newest {
                set.view.revision = newest + 1;
            }
            set.view.revision
        } else {
            self.clock += 1;
            let uid = format!("u{}", self.clock);
            let view = ReplicaSetView {
                uid: uid.clone(),
                owner: object.uid.clone(),
                name: uid,
                revision: newest + 1,
                replicas: 0,
            };
            self.sets.push(Set { view, template });
            newest + 1
        };
        let revision_text = json!(revision.to_string());
        let status = json!({"observedGeneration": object.body["metadata"]["generation"]});
        let annotations = &object.body["metadata"]["annotations"];
        if annotations["deployment.kubernetes.io/revision"] != revision_text
            || object.body["status"] != status
        {
            object.body["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = revision_text;
            object.body["status"] = status;
            self.clock += 1;
            object.version = self.clock;
        }
        let track = object.body.pointer("/spec/template/metadata/labels").unwrap()[LABEL_TRACK]
            .as_str()
            .unwrap()
            .to_owned();
        let owner = object.uid.clone();
        self.roll(&owner, revision, wanted, &track);
    }

    /// Surges by one, and lowers the old only as the new turn ready.
    fn roll(&mut self, owner: &str, revision: u64, wanted: u32, track: &str) {
        let (mut new_uid, mut image, mut old) = (String::new(), String::new(), BTreeSet::new());
        for set in self.sets.iter().filter(|set| set.view.owner == owner) {
            if set.view.revision == revision {
                new_uid.clone_from(&set.view.uid);
                let text = set.template.pointer("/spec/containers/0/image").unwrap().as_str().unwrap();
                image = text.split_once('@').unwrap().1.to_owned();
            } else {
                old.insert(set.view.uid.clone());
            }
        }
        let count = |pods: &[PodView], of: &dyn Fn(&PodView) -> bool| {
            u32::try_from(pods.iter().filter(|p| of(p)).count()).unwrap()
        };
        let news = count(&self.pods, &|pod| pod.owner == new_uid);
        let news_ready = count(&self.pods, &|pod| pod.owner == new_uid && pod.ready_since.is_some());
        let olds = count(&self.pods, &|pod| old.contains(&pod.owner));
        let room = (wanted + u32::from(olds > 0)).saturating_sub(news + olds);
        for _ in 0..room.min(wanted.saturating_sub(news)) {
            self.clock += 1;
            self.pods.push(self.pod(&new_uid, &image, track));
        }
        let mut surplus = (news + olds).saturating_sub(wanted).min(olds + news.saturating_sub(wanted));
        // Not ready first, then old ones as far as the new are ready.
        let mut spare_ready = (news_ready
            + count(&self.pods, &|p| old.contains(&p.owner) && p.ready_since.is_some()))
        .saturating_sub(wanted);
        let mut keep = Vec::new();
        for pod in std::mem::take(&mut self.pods) {
            let is_old = old.contains(&pod.owner);
            let over = pod.owner == new_uid && news > wanted;
            if (is_old || over) && surplus > 0 && (pod.ready_since.is_none() || spare_ready > 0) {
                surplus -= 1;
                if pod.ready_since.is_some() {
                    spare_ready -= 1;
                }
            } else {
                keep.push(pod);
            }
        }
        self.pods = keep;
    }

    pub(super) fn pod(&self, owner: &str, image: &str, track: &str) -> PodView {
        PodView {
            name: format!("pod-{}", self.clock),
            uid: format!("pod-{}", self.clock),
            owner: owner.to_owned(),
            track: track.to_owned(),
            ip: Some("127.1.0.1".to_owned()),
            created_at: self.now,
            image_id: Some(image.to_owned()),
            ..PodView::default()
        }
    }

    /// The evidence loop, one second.
    fn measure(&mut self) {
        let share = self.share();
        let Some(record) = self.working.as_ref().or(self.record.as_ref()) else { return };
        let observed = self.observed();
        let view = View::new(record, &self.release, self.namespace.as_str(), &observed);
        let Some(assignment) = assignment(record, &self.release, &self.namespace, &view, &observed) else {
            self.samples = None;
            return;
        };
        let fresh = self
            .samples
            .as_ref()
            .is_none_or(|s| s.rollout != assignment.rollout || s.stage != assignment.stage);
        let samples = self.samples.get_or_insert_with(|| Samples {
            rollout: 0,
            stage: 0,
            session: 0,
            last_at: self.now,
            checks: BTreeMap::new(),
            source: None,
            candidate: Traffic::Seen(Tally::default()),
            stable: Traffic::Seen(Tally::default()),
            latency: None,
            answers: BTreeMap::new(),
        });
        if fresh {
            *samples = Samples {
                rollout: assignment.rollout,
                stage: assignment.stage,
                session: self.session,
                last_at: self.now,
                checks: BTreeMap::new(),
                source: Some(TrafficSource::PodMetrics),
                candidate: Traffic::Seen(Tally::default()),
                stable: Traffic::Seen(Tally::default()),
                latency: None,
                answers: BTreeMap::new(),
            };
        }
        samples.last_at = self.now;
        for question in &assignment.questions {
            if let Some(measured) = self.measures.get(&question.key) {
                answer(samples, question, measured, self.now);
            }
        }
        for target in &assignment.pods {
            let image =
                self.pods.iter().find(|pod| pod.uid == target.uid).and_then(|pod| pod.image_id.clone());
            let behaviour =
                image.and_then(|image| self.behaviours.get(&image)).copied().unwrap_or(Behaviour::Healthy);
            let tally = samples.checks.entry(target.uid.clone()).or_insert_with(|| CheckTally {
                track: target.track,
                pod: target.name.clone(),
                passed_in_row: 0,
                failed_in_row: 0,
                asked: 0,
                failed: 0,
                last_failure: None,
                last_at: self.now,
            });
            tally.asked += 1;
            if behaviour == Behaviour::FailsChecks {
                tally.failed_in_row += 1;
                tally.passed_in_row = 0;
                tally.last_failure = Some("HTTP 503".to_owned());
            } else {
                tally.passed_in_row += 1;
                tally.failed_in_row = 0;
            }
            let traffic =
                if target.track == Track::Candidate { &mut samples.candidate } else { &mut samples.stable };
            if self.provider_down {
                *traffic = Traffic::Unknown { reason: "the pods' metrics do not answer".to_owned() };
            } else {
                if !matches!(traffic, Traffic::Seen(_)) {
                    *traffic = Traffic::Seen(Tally::default());
                }
                // Where gateways tell the tracks apart, a track without a share is asked nothing.
                let idle = if target.track == Track::Candidate { 0 } else { 100 };
                if let Traffic::Seen(tally) = traffic
                    && share != Some(idle)
                {
                    tally.requests += 100;
                    if let Behaviour::Errors(percent) = behaviour {
                        tally.errors += percent;
                    }
                }
            }
        }
    }

    /// One second of the world.
    pub fn tick(&mut self) {
        let awake = !self.quiet || self.stirred || self.due.is_some_and(|due| due <= self.now);
        for _ in 0..if awake { 6 } else { 0 } {
            let before = self.mutations;
            self.pass();
            if self.mutations == before {
                break;
            }
        }
        if self.keeps_past {
            self.past = Some(Arc::new(self.observed()));
        }
        let before = self.pods.clone();
        self.controllers();
        self.stirred = before != self.pods;
        self.gateways();
        self.measure();
        self.check();
        self.now += Duration::from_secs(1);
    }

    /// Ticks until `done` or for `seconds`; tells whether it was reached.
    pub fn until(&mut self, seconds: u32, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..seconds {
            self.tick();
            if done(self) {
                return true;
            }
        }
        false
    }

    /// Ticks until nothing runs and the release rests.
    pub fn settle(&mut self, seconds: u32) {
        let done = self.until(seconds, |world| {
            let record = world.record.as_ref();
            record.is_some_and(|record| {
                let head = world.head.desired().map(|desired| desired.identity.clone());
                let seen = record.head.as_ref().map(|head| head.identity.clone());
                record.rollout.is_none() && seen == head && !record.incident
            })
        });
        assert!(
            done,
            "not settled: {}: {:?}",
            self.label,
            self.record.as_ref().map(|record| (&record.phase, &record.message, &record.rollout))
        );
        for _ in 0..5 {
            self.tick();
        }
    }

    /// What must hold at any moment.
    fn check(&mut self) {
        let replicas = |name: &str| {
            let key = ObjectKey {
                api_version: "apps/v1".into(),
                kind: "Deployment".into(),
                namespace: "shop".into(),
                name: name.into(),
            };
            self.objects.get(&key).map_or(0, |object| {
                u32::try_from(object.body["spec"]["replicas"].as_u64().unwrap_or(0)).unwrap()
            })
        };
        let (stable, canary) = (replicas("web"), replicas("web-canary"));
        let Some(record) = &self.record else { return };
        let bounds = size::Bounds::new(record.replicas, Amount::Percent(25), Amount::Count(0));
        let running = record.rollout.as_ref().or(record.serving.as_deref());
        let routed = running.is_some_and(|rollout| rollout.router.is_some() || rollout.scaling.scaled)
            || !self.routes.objects.is_empty();
        let most = if routed { 2 * record.replicas } else { 0 };
        assert!(
            stable + canary <= bounds.most.max(record.replicas + 1).max(most),
            "{stable} + {canary} pods are too many"
        );
        if let Some(rollout) = record.rollout.as_ref() {
            self.weights.push((rollout.number, canary));
        }
        self.check_routes(canary);
        let mut terminal: BTreeMap<u64, u32> = BTreeMap::new();
        for transition in &self.transitions {
            if let Kind::Finished { .. } = transition.kind {
                *terminal.entry(transition.rollout.unwrap()).or_default() += 1;
            }
        }
        assert!(terminal.values().all(|count| *count == 1), "one terminal event each: {terminal:?}");
    }

    pub fn kinds(&self) -> Vec<&'static str> {
        self.transitions.iter().map(|transition| transition.kind.name()).collect()
    }

    pub fn stable_tag(&self) -> Option<String> {
        let stable = self.record.as_ref()?.stable.as_ref()?;
        stable.version.image.tag.clone()
    }

    pub fn phase(&self) -> String {
        self.record.as_ref().map_or(String::new(), |record| record.phase.clone())
    }

    pub fn stir(&mut self) {
        self.stirred = true;
    }

    /// The body of a Service.
    pub fn object(&self, name: &str) -> Option<&Value> {
        let mut all = self.objects.iter();
        all.find(|(key, _)| key.kind == "Service" && key.name == name).map(|(_, object)| &*object.body)
    }

    pub fn has_object(&self, name: &str) -> bool {
        self.objects.keys().any(|key| key.name == name)
    }

    pub fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Value)) {
        self.clock += 1;
        let version = self.clock;
        let (_, object) =
            self.objects.iter_mut().find(|(key, _)| key.kind == "Deployment" && key.name == name).unwrap();
        edit(&mut object.body);
        object.version = version;
    }

    pub fn kill_pods(&mut self, track: &str) {
        for pod in self.pods.iter_mut().filter(|pod| pod.track == track) {
            pod.ready_since = None;
        }
    }

    /// All that decides what can happen next, without counts of what was done. Times and the order in which names were given are left
    /// to whoever compares.
    pub fn essence(&self) -> String {
        let mut record = self.record.clone().unwrap();
        record.sequence = 0;
        record.history.clear();
        record.totals = Totals::default();
        record.conditions.clear();
        record.message.clear();
        if let Some(rollout) = &mut record.rollout {
            rollout.log = Arc::default();
            // Of matter is only whether this process measures.
            rollout.stage.session = u64::from(rollout.stage.session == self.session);
            rollout.policy = policy(Strategy::Rolling);
        }
        let mut text = serde_json::to_string(&record).unwrap();
        for (key, object) in &self.objects {
            let body = &object.body;
            let settled = body["status"]["observedGeneration"] == body["metadata"]["generation"];
            let template = body.pointer("/spec/template").map(hashed);
            let annotations = hashed(&body["metadata"]["annotations"]);
            let shown =
                (&object.uid, &body["spec"]["replicas"], template, annotations, object.scaled, settled);
            let _ = write!(text, "{} {shown:?}", key.name);
        }
        describe_pods(&mut text, &self.pods, self.sets.iter().map(|set| &set.view));
        if let Some(past) = &self.past {
            let objects = past.objects.values().filter_map(Known::present);
            for live in objects {
                let body = &live.object;
                let settled = body["status"]["observedGeneration"] == body["metadata"]["generation"];
                let _ = write!(text, "{:?}", (&live.uid, settled, &body["spec"]["replicas"]));
            }
            describe_pods(&mut text, &past.pods, past.replica_sets.iter());
        }
        let revisions = self.revisions.iter().map(|(number, revision)| (number, revision.mark));
        let remembered = (self.working.is_some(), self.waiting.is_some(), self.direct.is_some());
        let rest = (revisions.collect::<Vec<_>>(), remembered, self.samples.is_some(), self.epoch);
        let _ = write!(text, "{rest:?}");
        text
    }

    /// What must be equal at the end of two runs of one story.
    pub fn fingerprint(&self) -> Value {
        let record = self.record.as_ref().unwrap();
        let objects: BTreeMap<String, Value> = self
            .objects
            .iter()
            .map(|(key, object)| {
                let mut body = Value::clone(&object.body);
                let metadata = body["metadata"].as_object_mut().unwrap();
                metadata.remove("generation");
                let annotations = metadata.get("annotations").cloned().unwrap_or_default();
                metadata
                    .insert("annotations".into(), json!({"rollout": annotations.get(ANNOTATION_ROLLOUT)}));
                body["status"] = Value::Null;
                (key.to_string(), body)
            })
            .collect();
        let outcomes: Vec<Value> =
            record.history.iter().map(|(n, s)| json!([n, s.outcome, s.identity])).collect();
        let held: Vec<Value> =
            record.held.iter().map(|(n, h)| json!([n, h.identity, h.hold, h.released])).collect();
        let marks: Vec<Value> = self.revisions.iter().map(|(n, r)| json!([n, r.mark])).collect();
        let inventory: Vec<String> = record.inventory.keys().map(ToString::to_string).collect();
        let routes: Vec<Value> = self
            .routes
            .objects
            .values()
            .filter_map(Known::present)
            .map(|live| json!([live.object["spec"], live.object["metadata"]["annotations"]]))
            .collect();
        json!({"objects": objects, "routes": routes, "outcomes": outcomes, "held": held, "marks": marks, "inventory": inventory,
            "creates": self.creates, "deletes": self.deletes, "kinds": self.kinds()})
    }
}
