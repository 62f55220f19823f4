//! Repositories that nobody should meet, made by code from a seed: whatever a tree, a commit, an object, a ref, a declaration or a pack
//! can be that it must not be. Each goes through the reader that a source has. What must hold of all: no panic, an end within the look's
//! budget, the last good answer stays, and what is said of it has no character that a terminal or a log would obey.

mod commits;
mod declarations;
mod files;
mod found;
mod maker;
mod trees;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use gix::ObjectId;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use super::auth::Clients;
use super::cache::Cache;
use super::fixture::{compose, config};
use super::history::hidden;
use super::network::Network;
use super::reader::Reader;
use super::report::{Compose, SourceReport, Trigger};
use crate::model::desired::HeadUpdate;
use crate::model::name::ReleaseKey;

use maker::Maker;

/// What is chosen by chance is chosen by this.
const SEED: u64 = 0x1d9;
/// Tree entries that a look may read, and one tree over it.
const ENTRIES: u64 = 2_000_000 + 250_000;

/// A hostile repository: its name, and how its `main` is made out of the good head.
struct Case {
    name: String,
    make: Box<Make>,
}

type Make = dyn Fn(&Maker, ObjectId);

fn case(name: impl Into<String>, make: impl Fn(&Maker, ObjectId) + 'static) -> Case {
    Case { name: name.into(), make: Box::new(make) }
}

/// Returns bytes with a few of them changed, left out or doubled: the same for one salt.
fn mutated(bytes: &[u8], salt: u64) -> Vec<u8> {
    let mut chance = StdRng::seed_from_u64(SEED ^ salt);
    let mut bytes = bytes.to_vec();
    for _ in 0..=chance.random_range(0..3) {
        let at = chance.random_range(0..bytes.len().max(1));
        match chance.random_range(0..4) {
            _ if bytes.is_empty() => bytes.push(0),
            0 => bytes[at] ^= 1 << chance.random_range(0..8),
            1 => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, chance.random()),
        }
    }
    bytes
}

/// What is known of the releases, as whoever takes the reports knows it.
type Known = BTreeMap<ReleaseKey, Result<String, String>>;

/// Takes a report over and holds it against what must hold of each.
fn take(known: &mut Known, report: &SourceReport, name: &str) {
    for (release, update) in &report.heads.releases {
        let told = match update {
            HeadUpdate::Known(desired) => Ok(desired.revision.commit.to_string()),
            HeadUpdate::Keep { reason } => Err(reason.clone()),
        };
        known.insert(release.clone(), told);
    }
    assert!(known.contains_key(&"a.production".parse().unwrap()), "{name}: the release is not forgotten");
    assert!(report.up || !report.heads.problems.is_empty(), "{name}: a failure says why");
    let said = report.heads.problems.iter().flat_map(|problem| {
        let path = problem.path.iter().inspect(|path| assert!(!path.contains('\n'), "{name}: {path:?}"));
        path.chain([&problem.message])
    });
    let kept = known.values().filter_map(|told| told.as_ref().err());
    for text in said.chain(kept) {
        assert!(!text.chars().any(|c| c != '\n' && hidden(c)), "{name}: {text:?}");
        assert!(!text.is_empty() && text.chars().count() < 200_000, "{name}: {} characters", text.len());
    }
}

/// The tiny language of the fixture for what is good, the real parser for everything else.
fn language() -> Compose {
    let tiny = compose(Arc::default());
    let (declare, render) = (tiny.declare, tiny.render);
    let declare = move |request: &super::DeclareRequest| {
        if request.bytes.starts_with(b"service: ") {
            return declare(request);
        }
        let message = match crate::declare::parse(&request.path, &request.bytes) {
            Ok(_) => "it is well-formed".to_owned(),
            Err(found) => found.sentence(),
        };
        Err(super::Refused { service: crate::declare::service_name_of(&request.bytes), message })
    };
    Compose { declare: Arc::new(declare), render }
}

/// Sends each repository through the reader; returns how many there were.
fn run(cases: Vec<Case>) -> usize {
    let machine = Machine::new();
    let count = cases.len();
    for case in cases {
        machine.meets(case);
    }
    count
}

/// What a look needs beside its repository.
struct Machine {
    runtime: tokio::runtime::Runtime,
    clients: Clients,
}

impl Machine {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, clients: Clients::default() }
    }

    fn network(&self) -> Network {
        let _entered = self.runtime.enter();
        Network::new(self.clients.clone(), CancellationToken::new())
    }

    /// Reads a good head, the hostile one, and a good one again; returns the report of the second.
    fn meets(&self, case: Case) -> SourceReport {
        let Case { name, make } = case;
        let folder = tempfile::tempdir().unwrap();
        let maker = Maker::new(&folder.path().join("r.git"));
        let first = maker.commit(maker.root(&[]), &[]);
        maker.set_main(first);
        let paths = "paths: [.idp/deploy.yaml, \"services/*/.idp/deploy.yaml\"],";
        let config = config(&maker.path().display().to_string(), paths, folder.path());
        let cache = Cache::open(&config.cache_dir, config.cache_limit, []);
        let environments: Vec<_> = config.environments.into_values().collect();
        let source = config.sources.into_values().next().unwrap();
        let mut reader = Reader::new(source, &environments, &cache, language()).unwrap();
        let mut look = || reader.look(Ok(None), self.network(), Trigger::Webhook).report;
        let mut known = Known::new();
        let report = look();
        assert!(report.up && report.heads.problems.is_empty(), "{name}: {:?}", report.heads.problems);
        take(&mut known, &report, &name);

        make(&maker, first);
        let met = look();
        take(&mut known, &met, &name);
        assert!(met.stats.entries <= ENTRIES, "{name}: {} entries", met.stats.entries);
        let told = known[&"a.production".parse().unwrap()].clone();
        assert!(met.up || told.is_err(), "{name}: a head that cannot be read moves nothing");
        if std::env::var_os("IDP_TEST_SHOW").is_some() {
            let problem = met.heads.problems.first().map(|problem| problem.message.clone());
            println!("{name}: up {} told {told:.80?} problem {:.200}", met.up, problem.unwrap_or_default());
        }

        std::fs::remove_dir_all(maker.path().join("refs")).unwrap();
        for left in ["packed-refs", "shallow", "objects/info/alternates"] {
            std::fs::remove_file(maker.path().join(left)).ok();
        }
        let maker = Maker::new(maker.path());
        let healed = maker.commit(maker.root(&[(b"100644", b"y", maker.blob(b"2"))]), &[first]);
        maker.set_main(healed);
        let report = look();
        take(&mut known, &report, &name);
        assert!(report.up, "{name}: it heals: {:?}", report.heads.problems);
        assert_eq!(known[&"a.production".parse().unwrap()], Ok(healed.to_string()), "{name}");
        met
    }
}

#[test]
fn trees() {
    assert!(run(trees::cases()) >= 150);
}

#[test]
fn commits() {
    assert!(run(commits::cases()) >= 80);
}

#[test]
fn files() {
    assert!(run(files::cases()) >= 60);
}

#[test]
fn declarations() {
    assert!(run(declarations::cases()) >= 20);
}
