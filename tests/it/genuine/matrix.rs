//! The crash matrix on a genuine API server: the daemon, a process of its own, is killed at each named effect of a good and of a bad
//! rollout, before the write is sent, with its reply lost, and after the reply; by pods and by an `HTTPRoute`.
//!
//! The yardstick is the same rollout while nobody is killed: the same end, the same objects made and deleted, the same outcome, told
//! once. A good rollout and a bad one take turns, so that each begins where the one before it of its kind began.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use idp::model::record::Record;
use idp::model::rollout::Outcome;
use idp::sandbox::gateway::Gateway;
use idp::simulation::effects::{self, Deed, EFFECTS, Effects};
use kube::api::{Api, DynamicObject};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::SOON;
use super::census::Census;
use super::daemon::{Daemon, Setup};
use super::events::{ensure_unbroken, outcomes, until_published};
use super::ground::Ground;
use super::proxy::{Moment, Proxy, Write};
use super::release;
use super::routes;
use super::service::{NAMESPACE, Service};
use crate::lease;
use crate::stack::{Kafka, kafka, require, until};

/// After a reply the daemon lives so much longer, unless it writes again before.
const LAST_BREATH: Duration = Duration::from_millis(20);

/// As long as nothing changes so long, it has come to rest.
const QUIET: Duration = Duration::from_secs(3);
/// The effect that comes by itself, half a minute after the end.
const TRIM: &str = "E12";

/// Where the daemon dies, seen from a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Before,
    ReplyLost,
    After,
}

const CUTS: [Cut; 3] = [Cut::Before, Cut::ReplyLost, Cut::After];

/// How a service's traffic moves, and what becomes of a bad version of it.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    routed: bool,
    bad: &'static str,
    /// The effects of a good rollout and of a bad one.
    effects: [&'static [&'static str]; 2],
}

const PODS: Way =
    Way { name: "pods", routed: false, bad: "crash", effects: [effects::BY_PODS, effects::BACK_BY_PODS] };
const ROUTE: Way =
    Way { name: "route", routed: true, bad: "errors-60", effects: [effects::BY_ROUTE, BACK_BY_ROUTE] };

/// Without E4: a version may fail its first requests before it is told that it is ready.
const BACK_BY_ROUTE: &[&str] = &["E1", "E2", "E3", "E5", "A1", "A2", "A3", "A4", "A5", "A6", "A7", "E12"];

/// One kill: at the first write of an effect.
type Cell = (&'static str, Cut);

/// A few cells of both rollouts.
#[tokio::test]
async fn killed_at_a_sample_of_the_named_effects_it_ends_as_if_it_never_was() -> anyhow::Result<()> {
    let good = vec![("E6", Cut::ReplyLost), ("E10", Cut::After)];
    let bad = vec![("A3", Cut::Before), ("A5", Cut::After)];
    play(PODS, [good, bad]).await
}

/// `cargo test --test it -- --ignored --nocapture killed_at_every_named_effect`; with `IDP_EFFECTS=E11,A7` those only.
#[tokio::test]
#[ignore = "some sixty rollouts one after the other: ask for it"]
async fn killed_at_every_named_effect_by_pods() -> anyhow::Result<()> {
    play(PODS, all(PODS)).await
}

#[tokio::test]
#[ignore = "some seventy rollouts one after the other: ask for it"]
async fn killed_at_every_named_effect_by_a_route() -> anyhow::Result<()> {
    play(ROUTE, all(ROUTE)).await
}

/// All cells, or those of the effects that `IDP_EFFECTS` names.
fn all(way: Way) -> [Vec<Cell>; 2] {
    let asked = std::env::var("IDP_EFFECTS").ok();
    let is_asked =
        |effect: &&&str| asked.as_ref().is_none_or(|asked| asked.split(',').any(|one| one == **effect));
    way.effects.map(|effects| {
        effects.iter().filter(is_asked).flat_map(|effect| CUTS.map(|cut| (*effect, cut))).collect()
    })
}

/// Who decides about each write of the daemon.
#[derive(Default)]
struct Fate {
    service: &'static str,
    effects: Effects,
    /// Effects of which a write was seen.
    seen: BTreeSet<&'static str>,
    last: &'static str,
    target: Option<Cell>,
    /// The daemon breathes its last.
    dying: bool,
    killed: bool,
}

type Shared = Arc<Mutex<Fate>>;
/// Ends the daemon; there once there is one.
type Kill = Arc<Mutex<Option<Box<dyn Fn() + Send>>>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fate {
    /// Looks at a write; `true`: the daemon is to be killed now. After the reply it is left a moment.
    fn due(&mut self, write: &Write, moment: Moment) -> bool {
        let Some((kind, name, door)) = place(self.service, write).filter(|_| !self.killed) else {
            return false;
        };
        if moment == Moment::Before && !self.dying {
            let deletes = write.method == http::Method::DELETE;
            let deed = Deed { kind, name, door, deletes, body: &write.body };
            self.last = self.effects.name(self.service, &deed);
            self.seen.insert(self.last);
        }
        let cut = match moment {
            Moment::Before if self.dying => return true,
            Moment::Before => Cut::Before,
            Moment::After => Cut::ReplyLost,
        };
        let Some((_, wanted)) = self.target.filter(|(effect, _)| *effect == self.last) else { return false };
        self.dying |= wanted == Cut::After && moment == Moment::After;
        wanted == cut
    }
}

/// Kind, name and subresource of what a write of a rollout changes. `None`: leases, Kubernetes events, what belongs to nobody here.
fn place<'a>(service: &str, write: &'a Write) -> Option<(&'static str, &'a str, &'a str)> {
    let path = write.path.rsplit_once("/namespaces/")?.1;
    let mut parts = path.split('/');
    let namespace = parts.next()?;
    let kind = match parts.next()? {
        "deployments" => "Deployment",
        "httproutes" => "HTTPRoute",
        "releases" => "Release",
        "secrets" => "Secret",
        "services" => "Service",
        _ => return None,
    };
    let named = || write.body.pointer("/metadata/name").and_then(Value::as_str);
    let name = parts.next().or_else(named)?;
    let ours = namespace == NAMESPACE && (name == "edge" || name.split('-').any(|part| part == service));
    ours.then(|| (kind, name, parts.next().unwrap_or_default()))
}

struct Scene {
    way: Way,
    ground: Ground,
    service: Service,
    daemon: Daemon,
    census: Census,
    kafka: Arc<Kafka>,
    fate: Shared,
}

/// The team's route, and what obeys it.
struct Street {
    _gateway: Gateway,
    routes: Api<DynamicObject>,
    spec: Value,
}

/// What a rollout leaves: what is there, what was made and deleted, and its own facts.
type Left = (BTreeMap<String, String>, BTreeMap<String, i64>, Value);

async fn play(way: Way, cells: [Vec<Cell>; 2]) -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let (ground, kafka) = tokio::try_join!(Ground::lay(), kafka())?;
    let service = Service::create(&ground, way.name).await?;
    let fate: Shared = Arc::new(Mutex::new(Fate { service: way.name, ..Fate::default() }));
    let killer = Kill::default();
    let look = {
        let (fate, killer) = (Arc::clone(&fate), Arc::clone(&killer));
        move |write: &Write, moment| {
            let (due, dying) = {
                let mut fate = lock(&fate);
                let due = fate.due(write, moment);
                fate.killed |= due;
                (due, fate.dying && !fate.killed && moment == Moment::After)
            };
            if due && let Some(kill) = lock(&killer).as_ref() {
                kill();
            } else if dying {
                let (fate, killer) = (Arc::clone(&fate), Arc::clone(&killer));
                tokio::spawn(async move {
                    sleep(LAST_BREATH).await;
                    let over = std::mem::replace(&mut lock(&fate).killed, true);
                    if !over && let Some(kill) = lock(&killer).as_ref() {
                        kill();
                    }
                });
            }
            due
        }
    };
    let proxy = Proxy::open(&ground.api.kubeconfig, ground.folder.path(), look).await?;
    let setup = Setup {
        kubeconfig: &proxy.kubeconfig,
        sources: service.source(),
        kafka: (&kafka.bootstrap, way.name),
        environment: "",
    };
    let daemon = Daemon::prepare(&ground, &setup)?;
    *lock(&killer) = Some(Box::new(daemon.killer()));
    let census = Census::begin(&ground.client, NAMESPACE);
    let scene = Scene { way, ground, service, daemon, census, kafka, fate };
    let played = scene.play(cells).await;
    scene.daemon.explain(played)
}

impl Scene {
    async fn play(&self, cells: [Vec<Cell>; 2]) -> anyhow::Result<()> {
        let street = self.begin().await?;
        let mut told = vec!["success"];
        // The first pair makes the beginning of all later ones, the second is the yardstick.
        let mut yardsticks = Vec::new();
        for _ in 0..2 {
            yardsticks.clear();
            for kind in [0, 1] {
                let (left, seen) = self.rollout((kind, told.len()), None, None).await?;
                // What is trimmed later, with nothing else, is waited for by the cells of that effect only.
                let wanted = self.way.effects[kind].iter().filter(|effect| **effect != TRIM);
                let missing: Vec<_> = wanted.filter(|effect| !seen.contains(*effect)).collect();
                anyhow::ensure!(missing.is_empty(), "{}: no {missing:?} in {seen:?}", self.way.name);
                yardsticks.push(left);
                told.push(["success", "failure"][kind]);
            }
        }
        let mut table: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for round in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            for kind in [0, 1] {
                let cell = cells[kind].get(round).copied();
                let begun = Instant::now();
                let played = self.rollout((kind, told.len()), cell, Some(&yardsticks[kind])).await;
                played.with_context(|| format!("{cell:?}"))?;
                told.push(["success", "failure"][kind]);
                if let Some(street) = &street {
                    routes::as_it_was(&street.routes, &street.spec).await?;
                }
                let Some((effect, cut)) = cell else { continue };
                println!(
                    "{} {} {effect} {cut:?}: {:.1?}",
                    self.way.name,
                    ["good", "bad"][kind],
                    begun.elapsed()
                );
                table.entry(effect).or_default().push(format!("{cut:?}"));
            }
        }
        drop(street);
        self.told(&told).await?;
        println!("{}", rows(self.way.name, &table));
        self.daemon.stop().await
    }

    /// The first version, and the team's route to it.
    async fn begin(&self) -> anyhow::Result<Option<Street>> {
        if self.way.routed {
            routes::define(&self.ground.client).await?;
        }
        let first = self.service.merge_as("first", "v0", &self.declaration()).await?;
        self.daemon.start().await?;
        self.service.release.until_ended(&first, Outcome::Promoted).await?;
        if !self.way.routed {
            return Ok(None);
        }
        let gateway = Gateway::start(&self.ground.client, Some(Duration::from_millis(200)));
        let (routes, spec) = routes::create(&self.ground.client, self.way.name).await?;
        gateway.drive("HTTPRoute", NAMESPACE, "edge", 200.0);
        until("requests to be served", SOON, async || Ok((!gateway.sent().served.is_empty()).then_some(())))
            .await?;
        Ok(Some(Street { _gateway: gateway, routes, spec }))
    }

    fn declaration(&self) -> String {
        super::service::declaration(self.way.name).replace("rollback: {", "rollback: {history: 1, ")
    }

    /// Rolls out a good version or a bad one, with one kill or none; returns what it leaves and the effects that were seen.
    async fn rollout(
        &self,
        (kind, number): (usize, usize),
        cell: Option<Cell>,
        wanted: Option<&Left>,
    ) -> anyhow::Result<(Left, BTreeSet<&'static str>)> {
        let (behaviour, outcome) =
            [("healthy", Outcome::Promoted), (self.way.bad, Outcome::RolledBack)][kind];
        let before = self.counted();
        {
            let mut fate = lock(&self.fate);
            *fate =
                Fate { service: fate.service, effects: Effects::resting(), target: cell, ..Fate::default() };
        }
        let content = format!("{number}");
        let commit =
            self.service.merge_as(&content, &format!("v{number}.{behaviour}"), &self.declaration()).await?;
        let mut last: Option<Record> = None;
        let rested = until("the rollout to end", SOON, async || {
            self.revive().await?;
            last = self.service.release.read().await?.map(|(_, record)| record);
            let trims = cell.is_some_and(|(effect, _)| effect == TRIM);
            let over = last
                .as_ref()
                .filter(|record| record.rollout.is_none() && (record.outbox.is_empty() || !trims));
            let killed = cell.is_none() || lock(&self.fate).killed;
            Ok(over.and_then(|record| release::ended(record, &commit)).filter(|_| killed))
        });
        let ended = rested.await.with_context(|| {
            format!("{}, seen {:?}", release::shown(last.as_ref()), lock(&self.fate).seen)
        })?;
        anyhow::ensure!(ended == outcome, "it ended as {ended:?}: {}", release::shown(last.as_ref()));
        let left = self.left(&before, wanted).await?;
        Ok((left, std::mem::take(&mut lock(&self.fate).seen)))
    }

    async fn revive(&self) -> anyhow::Result<()> {
        if self.daemon.runs()? {
            return Ok(());
        }
        lease::end(self.ground.client.clone(), "genuine").await?;
        self.daemon.spawn()
    }

    /// How many objects were made and deleted so far, revisions of all numbers as one.
    fn counted(&self) -> BTreeMap<String, i64> {
        let mut counts = BTreeMap::new();
        for (what, of) in
            [("made", self.census.made(self.way.name)), ("deleted", self.census.gone(self.way.name))]
        {
            for (name, count) in of {
                let name = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
                *counts.entry(format!("{what} {name}")).or_default() += i64::try_from(count).unwrap();
            }
        }
        counts
    }

    /// Waits until what is there is as wanted, or, where nothing is, until nothing has changed for a while; tells what is there then.
    async fn left(&self, before: &BTreeMap<String, i64>, wanted: Option<&Left>) -> anyhow::Result<Left> {
        let mut known = None;
        let rested = until("the cluster to be as it was without a kill", SOON, async || {
            self.revive().await?;
            let left = self.now(before).await?;
            let same = wanted.or(known.as_ref()) == Some(&left);
            known = Some(left.clone());
            if !same {
                sleep(if wanted.is_some() { Duration::from_millis(200) } else { QUIET }).await;
            }
            Ok(same.then_some(left))
        });
        rested.await.with_context(|| format!("{known:#?}\nand not {wanted:#?}"))
    }

    async fn now(&self, before: &BTreeMap<String, i64>) -> anyhow::Result<Left> {
        let (_, record) = self.service.release.read().await?.context("read the record")?;
        let mut counts = self.counted();
        for (name, count) in &mut counts {
            *count -= before.get(name).copied().unwrap_or_default();
        }
        counts.retain(|_, count| *count != 0);
        let plain = |text: &str| relative(text, record.rollouts);
        let there = self.census.there(self.way.name);
        let there = there.iter().map(|(name, facts)| (plain(name), plain(facts)));
        Ok((there.collect(), counts, facts(&record)))
    }

    /// Every rollout was told of once, and ended as it did.
    async fn told(&self, wanted: &[&str]) -> anyhow::Result<()> {
        let (uid, record) = self.service.release.read().await?.context("read the record")?;
        let sequence = (uid.as_str(), record.sequence);
        let events = until_published(&self.kafka, self.way.name, &self.service.key(), sequence).await?;
        ensure_unbroken(&events, &uid, record.sequence)?;
        let told = outcomes(&events)?;
        anyhow::ensure!(told == wanted, "told {told:?}\nand not {wanted:?}");
        Ok(())
    }
}

/// A text in which the number of a rollout is how long ago it was.
fn relative(text: &str, newest: u64) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for letter in text.chars().chain([' ']) {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        // Any other number is a size.
        if !digits.is_empty() {
            let number: u64 = digits.parse().unwrap();
            let of_rollout = out.ends_with('-') || out.ends_with("rollout Some(\"");
            let shown = if of_rollout { format!("N-{}", newest - number) } else { digits.clone() };
            out.push_str(&shown);
            digits.clear();
        }
        out.push(letter);
    }
    out.trim_end().to_owned()
}

/// What of a record must not depend on when the daemon was killed.
fn facts(record: &Record) -> Value {
    let newest = record.rollouts;
    let last = record.history.get(&newest);
    let roles: BTreeSet<String> =
        record.inventory.iter().map(|(key, entry)| format!("{} {:?}", key.kind, entry.role)).collect();
    serde_json::json!({
        "phase": record.phase,
        "stable": record.stable.as_ref().map(|stable| newest - stable.rollout),
        "held": record.held.contains_key(&newest),
        "outcome": last.map(|summary| format!("{:?} {}", summary.outcome, summary.steps)),
        "inventory": roles,
        "health": record.health,
        "incident": record.incident,
    })
}

fn rows(name: &str, table: &BTreeMap<&str, Vec<String>>) -> String {
    let mut out = format!("{name}: {} kills\n", table.values().map(Vec::len).sum::<usize>());
    for (effect, what) in EFFECTS {
        if let Some(cuts) = table.get(effect) {
            writeln!(out, "| {effect} | {what} | {} |", cuts.join(", ")).unwrap();
        }
    }
    out
}
