//! Servers that do not keep their word: half an answer, none at all, far too much. The last good answer stays, and it heals.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::fixture::{Repo, Running, config};
use super::forge::{Fault, Forge, started};
use super::*;

#[tokio::test]
async fn half_a_pack_is_none() {
    let repo = Repo::new();
    let first = repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    for bytes in [0, 3, 4, 20, 60, 100, 200, 300] {
        forge.fail(Fault::Half(bytes));
        let pushed = repo.publish(&[("x", &bytes.to_string())]);
        running.hint.send(Trigger::Webhook);
        let report = running.next().await;
        assert!(!report.up, "{bytes} bytes are no pack");
        assert!(report.commit.unwrap().as_str() != pushed);
        running.kept("a.production");
        let packs = repo.dir.path().join("cache/git/a/objects/pack");
        let half = std::fs::read_dir(packs).into_iter().flatten().flatten().filter(|entry| {
            entry.path().extension().is_none_or(|extension| extension != "pack" && extension != "idx")
        });
        assert_eq!(half.count(), 0, "nothing half is left");
        forge.heal();
        running.look_at(&pushed).await;
        assert_eq!(running.good("a.production").revision.commit.as_str(), pushed);
    }
    assert_ne!(repo.head(), first);
}

/// Listens, accepts, and never says a word.
fn blackhole() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/origin.git", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for connection in listener.incoming() {
            held.push(connection);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, accepted)
}

#[tokio::test(start_paused = true)]
async fn a_blackhole_is_given_up_and_its_neighbours_do_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (url, accepted) = blackhole();
    let mut running = Running::start(config(&url, "", folder.path()));
    let asked = async {
        while accepted.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), asked).await.unwrap();
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start_apart(repo.dir.path()).await;
    let mut neighbour = started(&forge, &repo, "");
    assert!(neighbour.receive().await.up);
    tokio::time::advance(Duration::from_mins(1)).await;
    let report = running.receive().await;
    let message = &report.heads.problems[0].message;
    assert!(!report.up && report.heads.releases.is_empty());
    assert!(message.contains("did not answer") || message.contains("cannot reach"), "{message}");
}

#[tokio::test]
async fn a_million_refs_cost_an_idle_look_what_one_costs() {
    let repo = Repo::new();
    let head = repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let lines = (0..1_000_000).map(|number| format!("{head} refs/heads/topic/{number:07}\n"));
    let packed = "# pack-refs with: peeled fully-peeled sorted \n".to_owned() + &lines.collect::<String>();
    std::fs::write(repo.bare().join("packed-refs"), packed).unwrap();
    let mut running = started(&forge, &repo, "");
    let report = running.next().await;
    assert!(report.up && report.stats.bytes < 20_000, "{} bytes", report.stats.bytes);
    running.hint.send(Trigger::Poll);
    let report = running.next().await;
    assert!(report.up);
    assert_eq!((report.stats.requests, report.stats.bytes), (1, 65));
}
