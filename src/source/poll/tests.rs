//! What polls cost, counted at a real server, and that a surprise costs no more than the long way round.

use std::sync::atomic::Ordering;

use crate::source::Trigger;
use crate::source::fixture::{Repo, Running};
use crate::source::forge::{Fault, Forge, TOKEN, started};
use crate::source::report::SourceReport;

/// Looks as a poll would.
async fn poll(running: &mut Running) -> SourceReport {
    running.hint.send(Trigger::Poll);
    running.next().await
}

async fn world() -> (Repo, Forge, Running) {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    assert!(running.next().await.up);
    (repo, forge, running)
}

#[tokio::test]
async fn an_idle_poll_is_one_request_and_less_than_a_kilobyte_at_ten_thousand_refs() {
    let (repo, forge, mut running) = world().await;
    let head = repo.head();
    let first = "# pack-refs with: peeled fully-peeled sorted ".to_owned();
    let refs = (0..10_000).map(|number| format!("{head} refs/heads/topic/{number:05}"));
    let packed: Vec<String> = std::iter::once(first).chain(refs).collect();
    std::fs::write(repo.bare().join("packed-refs"), packed.join("\n") + "\n").unwrap();
    for _ in 0..3 {
        let before = forge.requests();
        let report = poll(&mut running).await;
        assert!(report.up && !report.status_changed && report.heads.releases.is_empty());
        assert_eq!(report.trigger, Trigger::Poll);
        assert_eq!((report.stats.requests, report.stats.fetches), (1, 0));
        assert_eq!(forge.requests() - before, 1);
        assert_eq!(report.stats.bytes, 65, "one line and the end");
    }
    let second = repo.publish(&[("x", "2")]);
    let report = poll(&mut running).await;
    assert_eq!(report.commit.unwrap().as_str(), second);
    assert_eq!((report.stats.requests, report.stats.fetches), (2, 1), "refs, pack");
    assert_eq!(poll(&mut running).await.stats.requests, 1);
    assert_eq!(forge.packs(), 2);
}

#[tokio::test]
async fn a_branch_that_goes_and_comes_back_is_seen_by_polls() {
    let (repo, _forge, mut running) = world().await;
    let head = repo.head();
    repo.work(&["push", "-q", "origin", "HEAD:refs/heads/main-2"]);
    std::fs::remove_file(repo.bare().join("refs/heads/main")).unwrap();
    assert!(!poll(&mut running).await.up);
    assert!(running.kept("a.production").contains("there is no branch main"));
    let report = poll(&mut running).await;
    assert!(!report.up && report.stats.requests == 1, "that it is away can be asked as cheaply");
    repo.work(&["push", "-q", "origin", "HEAD:main"]);
    let report = poll(&mut running).await;
    assert!(report.up && report.commit.unwrap().as_str() == head);
    running.good("a.production");
}

#[tokio::test]
async fn after_a_surprise_gix_asks_and_for_a_while_only_gix() {
    let (repo, forge, mut running) = world().await;
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let sha256 = line(&format!("{} refs/heads/main\n", "1".repeat(64))) + "0000";
    let far = "x".repeat(70_000);
    for answer in ["", "0000trailing", "<html>", &sha256, &far, &line("ERR no\n")] {
        forge.fail(Fault::Short(answer.to_owned().into_bytes()));
        let report = poll(&mut running).await;
        assert!(report.up && !report.status_changed, "{answer:.80}");
        assert_eq!(report.stats.requests, 3, "the short question, then gix's two: {answer:.80}");
        forge.heal();
        let mut requests = Vec::new();
        while requests.last() != Some(&1) {
            requests.push(poll(&mut running).await.stats.requests);
        }
        assert_eq!(requests.len(), 11, "{requests:?}");
        assert!(requests[..10].iter().all(|count| *count == 2), "{requests:?}");
    }
    let second = repo.publish(&[("x", "2")]);
    forge.fail(Fault::Short(b"0009lying".to_vec()));
    assert_eq!(poll(&mut running).await.commit.unwrap().as_str(), second);
}

#[tokio::test]
async fn a_server_without_protocol_v2_is_never_asked_the_short_way() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    forge.old.store(true, Ordering::SeqCst);
    let mut running = started(&forge, &repo, "");
    assert!(running.next().await.up);
    for _ in 0..2 {
        let report = poll(&mut running).await;
        assert!(report.up && report.stats.requests == 1, "its greeting has the refs");
    }
    let second = repo.publish(&[("x", "2")]);
    let report = poll(&mut running).await;
    assert_eq!((report.commit.unwrap().as_str(), report.stats.requests), (&*second, 2));

    forge.old.store(false, Ordering::SeqCst);
    assert_eq!(poll(&mut running).await.stats.requests, 2, "it learned");
    assert_eq!(poll(&mut running).await.stats.requests, 1);
    forge.old.store(true, Ordering::SeqCst);
    let report = poll(&mut running).await;
    assert!(report.up, "it forgot again: {:?}", report.heads.problems);
}

#[tokio::test]
async fn a_refusal_is_final_and_a_redirect_carries_no_token() {
    let (repo, forge, mut running) = world().await;
    let elsewhere = Forge::start(repo.dir.path()).await;
    for (status, header, value, requests, reason) in [
        (401, "x-nothing", String::new(), 1, "does not take these credentials"),
        (404, "x-nothing", String::new(), 1, "there is no repository"),
        (500, "x-nothing", String::new(), 1, "answers 500"),
        (503, "retry-after", "0".to_owned(), 1, "left alone"),
        (302, "location", elsewhere.url(), 2, "sends us to"),
    ] {
        forge.fail(Fault::Status(status, header, value));
        let report = poll(&mut running).await;
        assert!(!report.up && report.stats.requests == requests, "{status}: {}", report.stats.requests);
        assert!(running.kept("a.production").contains(reason), "{}", running.kept("a.production"));
        assert!(!format!("{report:?}").contains(TOKEN));
        forge.heal();
        while poll(&mut running).await.stats.requests != 1 {}
    }
    assert_eq!(elsewhere.requests(), 0);
    running.good("a.production");
}
