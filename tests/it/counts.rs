//! Counts of what the daemon asks the API server, on the sandbox: cost follows change, and an idle daemon writes nothing.

// All of it is test: what does not fit is a failure, and a panic says so.
#![allow(clippy::panic, clippy::unwrap_used)]

#[path = "../../benches/figures/bed.rs"]
#[allow(dead_code)] // The figures need more of it.
mod bed;
#[path = "../../benches/figures/repository.rs"]
#[allow(dead_code)]
mod repository;

use std::time::Duration;

use bed::{AGENT, Bed, NAMESPACE, SERVICE, stands};
use idp::model::MANAGER_ROLLOUT;
use idp::model::record::Sync;
use idp::sandbox::{Fault, Logged, SandboxOptions, Verb};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

const FILE: &str = ".idp/deploy.yaml";
/// Nothing was asked for so long: nothing follows.
const QUIET: Duration = Duration::from_millis(400);

/// Nothing probes its pods, so that time can be stopped: no answer of a socket is waited for.
fn declaration(replicas: u32, max_surge: u32) -> String {
    format!(
        r"service: {{name: checkout, team: shop}}
workload: {{port: 8080, replicas: {replicas}}}
deploy: {{strategy: rolling, max_surge: {max_surge}}}
healthcheck: {{type: none, interval: 100ms}}
rollback: {{window: 1s}}
"
    )
}

/// Starts with a release whose first version is stable and of which nothing is left to do.
async fn settled() -> Bed {
    let options = SandboxOptions { time_scale: 0.1, ..SandboxOptions::default() };
    let mut bed = Bed::start(options).await.unwrap();
    let file = declaration(2, 1);
    let commit = bed.commit("first", &[(FILE, &file), ("src/app", "one")], "healthy").unwrap();
    bed.repository.merge().unwrap();
    bed.hook(&commit).await.unwrap();
    bed.until("the first version is stable", |record| stands(record, &commit)).await.unwrap();
    quiet(&bed).await;
    bed.sandbox.server().clear_requests();
    bed
}

/// Merges a declaration that makes no new version, and waits until it is in force and nothing follows.
async fn merge(bed: &mut Bed, file: &str) {
    let commit = bed.commit("a direct change", &[(FILE, file)], "healthy").unwrap();
    bed.repository.merge().unwrap();
    bed.hook(&commit).await.unwrap();
    let seen = |record: &idp::model::record::Record| {
        record.head.as_ref().is_some_and(|head| head.commit == commit)
            && record.applying.is_empty()
            && record.sync == Sync::Synced
    };
    bed.until("the change is in force", seen).await.unwrap();
    quiet(bed).await;
}

/// Waits until the daemon has asked nothing for a while.
async fn quiet(bed: &Bed) {
    let begun = Instant::now();
    let mut last = (asked(bed).len(), Instant::now());
    while last.1.elapsed() < QUIET {
        assert!(begun.elapsed() < Duration::from_secs(30), "never quiet: {:#?}", lines(&asked(bed)));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let count = asked(bed).len();
        if count != last.0 {
            last = (count, Instant::now());
        }
    }
}

/// What the daemon asked, watches and the lease apart.
fn asked(bed: &Bed) -> Vec<Logged> {
    let all = bed.sandbox.server().requests().into_iter();
    all.filter(|one| one.user_agent == AGENT && one.verb != Verb::Watch && one.kind != "Lease").collect()
}

fn lines(all: &[Logged]) -> Vec<String> {
    let line = |one: &Logged| {
        let Logged { verb, kind, namespace, name, subresource, field_manager, code, .. } = one;
        format!("{verb:?} {kind} {namespace}/{name} {subresource} by {field_manager}: {code}")
    };
    all.iter().map(line).collect()
}

/// The release's own: object writes, record writes, reads.
struct Counted {
    objects: Vec<Logged>,
    records: Vec<Logged>,
    reads: Vec<Logged>,
    all: Vec<String>,
}

/// Sorts what was asked in the release's namespace. Kubernetes events, which tell people of a transition, are neither.
fn counted(bed: &Bed) -> Counted {
    let asked = asked(bed);
    let all = lines(&asked);
    let here = asked.into_iter().filter(|one| one.namespace == NAMESPACE && one.kind != "Event");
    let (writes, reads): (Vec<_>, Vec<_>) = here.partition(|one| one.mutating);
    let (records, objects) = writes.into_iter().partition(|one: &Logged| one.kind == "Release");
    Counted { objects, records, reads, all }
}

/// Passes so far.
fn passes(bed: &Bed) -> u64 {
    let text = bed.daemon.metrics().render();
    let counts = text.lines().filter(|line| line.starts_with("idp_passes_total"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn one_changed_object_is_one_write_two_of_the_record_and_no_read() {
    let mut bed = settled().await;
    merge(&mut bed, &declaration(2, 2)).await;
    let Counted { objects, records, reads, all } = counted(&bed);
    assert_eq!(objects.len(), 1, "{all:#?}");
    assert!(objects.iter().all(|one| one.kind == "Deployment" && one.code == 200), "{all:#?}");
    assert!((1..=2).contains(&records.len()), "{all:#?}");
    assert!(reads.is_empty(), "{all:#?}");
    bed.stop().await;
}

#[tokio::test]
async fn other_replicas_are_one_write_of_the_replicas() {
    let mut bed = settled().await;
    merge(&mut bed, &declaration(3, 1)).await;
    let Counted { objects, records: _, reads, all } = counted(&bed);
    let [scale] = objects.as_slice() else { panic!("{all:#?}") };
    assert_eq!(scale.field_manager, MANAGER_ROLLOUT);
    assert_eq!(scale.body.pointer("/spec/replicas"), Some(&json!(3)));
    assert!(reads.is_empty(), "{all:#?}");
    bed.stop().await;
}

#[tokio::test]
async fn a_pass_with_nothing_to_do_asks_nothing() {
    let bed = settled().await;
    let before = passes(&bed);
    // Somebody else's annotation: news, and nothing of ours.
    let api: Api<Deployment> = Api::namespaced(bed.sandbox.server().client_as("somebody"), NAMESPACE);
    let poke = json!({"metadata": {"annotations": {"example.com/poke": "1"}}});
    api.patch(SERVICE, &PatchParams::default(), &Patch::Merge(poke)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while passes(&bed) == before {
        assert!(Instant::now() < deadline, "no pass came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    quiet(&bed).await;
    assert_eq!(asked(&bed).len(), 0, "{:#?}", lines(&asked(&bed)));
    bed.stop().await;
}

#[tokio::test]
async fn an_idle_minute_has_no_mutating_call_but_the_lease() {
    let bed = settled().await;
    let renewals = |bed: &Bed| {
        let all = bed.sandbox.server().requests();
        all.iter().filter(|one| one.user_agent == AGENT && one.kind == "Lease" && one.mutating).count()
    };
    // Real parts, stopped time: it runs ahead whenever all of them wait. The source is polled once, at 66 s at the latest.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(70)).await;
    tokio::time::resume();
    let mutating: Vec<Logged> = asked(&bed).into_iter().filter(|one| one.mutating).collect();
    assert!(mutating.is_empty(), "{:#?}", lines(&mutating));
    assert!(renewals(&bed) > 1, "time did not pass");
    bed.stop().await;
}

/// What was begun is finished before another may begin: the lease is given back after the last write.
#[tokio::test]
async fn a_stop_gives_the_lease_back_after_the_pass_that_writes() {
    let mut bed = settled().await;
    let (write, mut written) = tokio::sync::watch::channel(false);
    bed.sandbox.server().inject(move |request| {
        let ours = request.user_agent == AGENT && request.kind == "Release" && request.verb.is_mutating();
        ours.then(|| {
            write.send_replace(true);
            Fault::Delay(Duration::from_millis(300))
        })
    });
    let commit = bed.commit("a change", &[(FILE, &declaration(2, 2))], "healthy").unwrap();
    bed.repository.merge().unwrap();
    bed.hook(&commit).await.unwrap();
    written.wait_for(|written| *written).await.unwrap();
    let server = bed.sandbox.server().clone();
    bed.stop().await;
    let all = server.requests().into_iter().filter(|one| one.user_agent == AGENT && one.mutating);
    let all: Vec<Logged> = all.filter(|one| one.kind != "Event").collect();
    let (last, before) = all.split_last().unwrap();
    let holder = last.body.pointer("/spec/holderIdentity");
    assert!(last.kind == "Lease" && holder.is_none_or(|holder| holder == ""), "{last:?}");
    assert!(before.iter().any(|one| one.kind == "Release" && one.code == 200), "{:#?}", lines(before));
}
