//! The daemon killed at each write of a good and of a bad rollout, before the write and after it, and started again.
//!
//! The yardstick is a second service that sees the same changes while nobody is killed: in the end both have the same stable version,
//! the same held ones, the same objects, made as often, and told the same transitions.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use idp::model::record::Record;
use idp::model::rollout::Outcome;
use serde_json::Value;

use super::SOON;
use super::census::Census;
use super::daemon::{Daemon, Setup};
use super::events::{Event, ensure_unbroken, outcomes, until_published};
use super::ground::Ground;
use super::proxy::{Moment, Proxy, Write};
use super::release;
use super::service::{NAMESPACE, Service};
use crate::lease;
use crate::stack::{Kafka, kafka, require, until};

const TOPIC: &str = "kill";
/// A rollout with some twenty restarts in it.
const LIMIT: Duration = Duration::from_mins(6);

/// The changes, how their images behave, how each ends, and when the daemon is killed at each write that follows.
const CHANGES: [(&str, &str, Outcome, Option<Moment>); 5] = [
    ("one", "v1", Outcome::Promoted, None),
    ("two", "v2", Outcome::Promoted, Some(Moment::Before)),
    ("three", "v3.crash", Outcome::RolledBack, Some(Moment::Before)),
    ("four", "v4", Outcome::Promoted, Some(Moment::After)),
    ("five", "v5.crash", Outcome::RolledBack, Some(Moment::After)),
];

/// Who decides about each write of the victim.
#[derive(Default)]
struct Fate {
    moment: Option<Moment>,
    /// The steps of the running rollout at which the daemon was killed.
    done: HashSet<String>,
    /// In how many of the victim's rollouts each kind of step was one.
    all: BTreeMap<String, usize>,
}

type Shared = Arc<Mutex<Fate>>;

/// Ends the daemon; there once there is one.
type Kill = Box<dyn Fn() + Send>;

#[tokio::test]
async fn killed_at_every_write_it_ends_as_if_it_never_was() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let (ground, kafka) = tokio::try_join!(Ground::lay(), kafka())?;
    let calm = Service::create(&ground, "calm").await?;
    let victim = Service::create(&ground, "victim").await?;
    let fate = Shared::default();
    let killer: Arc<Mutex<Option<Kill>>> = Arc::default();
    let look = {
        let (fate, killer) = (Arc::clone(&fate), Arc::clone(&killer));
        move |write: &Write, moment| {
            let due = fate.lock().unwrap_or_else(PoisonError::into_inner).due(write, moment);
            if due && let Some(kill) = killer.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                kill();
            }
            due
        }
    };
    let proxy = Proxy::open(&ground.api.kubeconfig, ground.folder.path(), look).await?;
    let setup = Setup {
        kubeconfig: &proxy.kubeconfig,
        sources: format!("{}{}", calm.source(), victim.source()),
        kafka: (&kafka.bootstrap, TOPIC),
        environment: "",
    };
    let daemon = Daemon::prepare(&ground, &setup)?;
    *killer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(daemon.killer()));
    let census = Census::begin(&ground.client, NAMESPACE);
    let scene = Scene { client: ground.client.clone(), calm, victim, daemon, census, kafka, fate };
    let played = scene.play().await;
    scene.daemon.explain(played)
}

struct Scene {
    client: kube::Client,
    calm: Service,
    victim: Service,
    daemon: Daemon,
    census: Census,
    kafka: Arc<Kafka>,
    fate: Shared,
}

impl Scene {
    async fn play(&self) -> anyhow::Result<()> {
        self.daemon.start().await?;
        for (content, behaviour, outcome, moment) in CHANGES {
            let begun = tokio::time::Instant::now();
            let commit = self.calm.merge(content, behaviour).await?;
            self.rest(&self.calm, &commit, outcome).await.context("nobody is killed")?;
            let calmly = begun.elapsed();
            self.begin(moment);
            let commit = self.victim.merge(content, behaviour).await?;
            let what = format!("{content} ({behaviour}), killed {moment:?}");
            self.rest(&self.victim, &commit, outcome).await.with_context(|| what.clone())?;
            self.same_end().await.with_context(|| what.clone())?;
            let kills = self.begin(None);
            println!(
                "{what}: {kills} kills in {:?}, calmly {calmly:?}",
                begun.elapsed().saturating_sub(calmly)
            );
            anyhow::ensure!(
                moment.is_none() || kills >= 10,
                "{what}: {kills} writes were seen: {:?}",
                self.lock().all
            );
        }
        self.same_events().await
    }

    /// Kills from now on so; returns how often it was since the last call.
    fn begin(&self, moment: Option<Moment>) -> usize {
        let mut fate = self.lock();
        fate.moment = moment;
        std::mem::take(&mut fate.done).len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of a commit's rollout; starts the daemon as often as it is killed.
    async fn rest(&self, service: &Service, commit: &str, outcome: Outcome) -> anyhow::Result<()> {
        let mut last: Option<Record> = None;
        let waited = until("the rollout to end", LIMIT, async || {
            self.revive().await?;
            last = service.release.read().await?.map(|(_, record)| record);
            Ok(last
                .as_ref()
                .filter(|record| record.rollout.is_none())
                .and_then(|record| release::ended(record, commit)))
        });
        let ended = waited.await.with_context(|| release::shown(last.as_ref()))?;
        anyhow::ensure!(ended == outcome, "it ended as {ended:?}: {}", release::shown(last.as_ref()));
        Ok(())
    }

    /// Starts the daemon if it was killed. The lease of the one before is ended for it: one that is short enough to be waited for some
    /// eighty times is lost by a daemon that lives, wherever the machine stalls for a second.
    async fn revive(&self) -> anyhow::Result<()> {
        if self.daemon.runs()? {
            return Ok(());
        }
        lease::end(self.client.clone(), "genuine").await?;
        self.daemon.spawn()
    }

    /// Waits until both services have the same objects and the same record, and compares how often each object was made.
    async fn same_end(&self) -> anyhow::Result<()> {
        let mut ends = Vec::new();
        let same = until("the same end", SOON, async || {
            self.revive().await?;
            ends.clear();
            for service in [&self.calm, &self.victim] {
                let (_, record) = service.release.read().await?.context("read the record")?;
                ends.push((self.census.there(service.name), end(&record)));
            }
            Ok((ends[0] == ends[1]).then_some(()))
        });
        same.await.with_context(|| format!("{ends:#?}"))?;
        let canary = ends[1].0.keys().find(|name| name.contains("canary"));
        anyhow::ensure!(canary.is_none(), "a candidate is left: {canary:?}");
        let made = [&self.calm, &self.victim].map(|service| self.census.made(service.name));
        anyhow::ensure!(made[0] == made[1], "objects were made oftener: {made:#?}");
        Ok(())
    }

    /// Compares what was told of both services.
    async fn same_events(&self) -> anyhow::Result<()> {
        let mut told = Vec::new();
        for service in [&self.calm, &self.victim] {
            let (uid, record) = service.release.read().await?.context("read the record")?;
            let events = until_published(&self.kafka, TOPIC, &service.key(), (&uid, record.sequence)).await?;
            ensure_unbroken(&events, &uid, record.sequence).context(service.name)?;
            outcomes(&events)?;
            told.push(events.iter().map(|event: &Event| event.transition().to_owned()).collect::<Vec<_>>());
        }
        anyhow::ensure!(told[0] == told[1], "transitions differ: {told:#?}");
        Ok(())
    }
}

/// What of a record must not depend on when the daemon was killed.
fn end(record: &Record) -> Value {
    let held: BTreeMap<u64, String> = record
        .held
        .iter()
        .map(|(number, held)| (*number, format!("{:?} {}", held.hold, held.identity)))
        .collect();
    let history: BTreeMap<u64, String> = record
        .history
        .iter()
        .map(|(number, summary)| {
            (*number, format!("{:?} {} {}", summary.outcome, summary.identity, summary.steps))
        })
        .collect();
    let roles: BTreeSet<String> =
        record.inventory.iter().map(|(key, entry)| format!("{} {:?}", key.kind, entry.role)).collect();
    serde_json::json!({
        "phase": record.phase,
        "stable": record.stable.as_ref().map(|stable| (stable.rollout, stable.version.identity.to_string())),
        "rollouts": record.rollouts,
        "held": held,
        "history": history,
        "inventory": roles,
        "health": record.health,
        "incident": record.incident,
    })
}

impl Fate {
    /// Tells whether the daemon is to be killed at this write: the first of its kind in the running rollout.
    fn due(&mut self, write: &Write, moment: Moment) -> bool {
        let Some(step) = step(write).filter(|_| self.moment == Some(moment)) else { return false };
        let new = self.done.insert(step.clone());
        if new {
            *self.all.entry(step).or_default() += 1;
        }
        new
    }
}

/// Names a write of the victim by what it changes, not by when and by whom: a restarted daemon repeats a write under a new epoch, and
/// were that another step, it would be killed for ever. `None`: no step of a rollout (the lease, Kubernetes events, the other service).
fn step(write: &Write) -> Option<String> {
    let path = write.path.rsplit_once("/namespaces/")?.1;
    let (namespace, object) = path.split_once('/')?;
    let mut parts = object.split('/');
    let kind = parts.next()?;
    if namespace != NAMESPACE || kind == "events" {
        return None;
    }
    let name =
        parts.next().or(write.body.pointer("/metadata/name").and_then(Value::as_str)).unwrap_or_default();
    if !name.split('-').any(|part| part == "victim") {
        return None;
    }
    let what = match (kind, parts.next()) {
        ("releases", Some("status")) => recorded(write.body.get("status")?)?,
        ("secrets", _) => format!("{}", write.body.pointer("/metadata/labels").unwrap_or(&Value::Null)),
        _ => {
            let spec = write.body.get("spec").unwrap_or(&Value::Null).to_string();
            let mut hash = DefaultHasher::new();
            spec.hash(&mut hash);
            format!(
                "{:x} {}",
                hash.finish() & 0xffff,
                write.body.pointer("/spec/replicas").unwrap_or(&Value::Null)
            )
        }
    };
    Some(format!("{} {kind}/{name} {what}", write.method))
}

/// Names what a patch of the record moves on; `None`: counters, trimmed events and the like.
fn recorded(status: &Value) -> Option<String> {
    let mut moved = Vec::new();
    for pointer in [
        "/phase",
        "/rollout/phase",
        "/rollout/step",
        "/rollout/stable_ready",
        "/rollout/proven",
        "/stable/rollout",
    ] {
        if let Some(value) = status.pointer(pointer).filter(|value| !value.is_object()) {
            moved.push(format!("{pointer}={value}"));
        }
    }
    for pointer in [
        "/rollout/candidate/ready",
        "/rollout/stage/ready_at",
        "/rollout/ending",
        "/held",
        "/history",
        "/inventory",
    ] {
        if status.pointer(pointer).is_some_and(|value| !value.is_null()) {
            moved.push(pointer.to_owned());
        }
    }
    (!moved.is_empty()).then(|| moved.join(" "))
}
