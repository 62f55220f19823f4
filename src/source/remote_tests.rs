//! The source loop over smart HTTP.

use super::fixture::{Repo, Running, config};
use super::forge::{Fault, Forge, TOKEN, started};
use super::*;

#[tokio::test]
async fn a_push_is_one_fetch_and_an_idle_look_is_none() {
    let repo = Repo::new();
    let first = repo.publish(&[(".idp/deploy.yaml", "service: a"), ("x", "1")]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    let report = running.next().await;
    assert!(report.up, "{:?}", report.heads.problems);
    assert_eq!(report.commit.unwrap().as_str(), first);
    assert_eq!((report.stats.fetches, forge.packs()), (1, 1));
    assert!(report.stats.bytes > 0);

    let before = forge.requests();
    running.hint.send(Trigger::Webhook);
    let report = running.next().await;
    assert_eq!((report.stats.fetches, forge.packs()), (0, 1));
    assert_eq!(forge.requests() - before, 1, "refs");
    assert!(!report.status_changed && report.heads.releases.is_empty());

    let second = repo.publish(&[("x", "2")]);
    for _ in 0..50 {
        running.hint.send(Trigger::Webhook);
    }
    running.until(|report| report.commit.as_ref().unwrap().as_str() == second).await;
    assert_eq!(forge.packs(), 2, "fifty hints, one change, one fetch");
    assert_eq!(running.good("a.production").revision.commit.as_str(), second);
    assert!(
        !repo.dir.path().join("cache/git/a/refs/tags").read_dir().is_ok_and(|mut tags| tags.next().is_some())
    );
}

#[tokio::test]
async fn a_look_that_finds_nothing_new_says_what_the_one_before_said() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a"), ("x", "1")]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    repo.publish(&[(".idp/deploy.yaml", "service: a\nbroken: E_SYNTAX at 3:1")]);
    let first = running.look_at(&repo.head()).await;
    assert_eq!(first.heads.problems.len(), 1, "{:?}", first.heads.problems);
    assert!(!first.heads.releases.is_empty());
    running.hint.send(Trigger::Asked);
    let again = running.next().await;
    assert_eq!(again.trigger, Trigger::Asked);
    assert_eq!((again.stats.requests, again.stats.fetches, again.stats.entries), (1, 0, 0));
    assert_eq!(
        (again.up, &again.commit, &again.heads.problems),
        (true, &first.commit, &first.heads.problems)
    );
    assert!(again.heads.releases.is_empty(), "nothing moved: {:?}", again.heads.releases);
    assert!(!again.status_changed && again.looked_at > first.looked_at);
    assert_eq!(again.status, SourceStatus { looked_at: again.looked_at, ..first.status });
}

#[tokio::test]
async fn history_is_deepened_until_the_commit_that_brought_the_content() {
    let repo = Repo::new();
    let code = repo.commit(&[(".idp/deploy.yaml", "service: a"), ("x", "1")]);
    for _ in 0..100 {
        repo.commit(&[]);
    }
    repo.push();
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    assert_eq!(running.good("a.production").revision.commit.as_str(), code);
    assert_eq!(forge.packs(), 3, "32, 64 and 128 commits");

    repo.work(&["checkout", "-q", "--orphan", "other"]);
    repo.commit(&[("x", "2")]);
    repo.work(&["push", "-q", "--force", "origin", "HEAD:main"]);
    running.look_at(&repo.head()).await;
    assert_eq!(running.good("a.production").revision.commit.as_str(), repo.head());
}

#[tokio::test]
async fn whatever_the_server_does_the_last_good_answer_stays_and_no_token_is_shown() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let elsewhere = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    let status = |status: u16| Fault::Status(status, "x-nothing", String::new());
    for (fault, reason) in [
        (status(401), "does not take these credentials"),
        (status(403), "may not read it"),
        (status(404), "there is no repository"),
        (status(500), "answers 500"),
        (Fault::Status(429, "retry-after", "0".to_owned()), "left alone"),
        (Fault::Status(302, "location", elsewhere.url()), "sends us to"),
        (Fault::Garbage, "fetch from the repository"),
        (Fault::Endless, "more than"),
    ] {
        forge.fail(fault.clone());
        running.hint.send(Trigger::Webhook);
        let report = running.until(|report| !report.up).await;
        let kept = running.kept("a.production").to_owned();
        assert!(kept.contains(reason), "{fault:?}: {kept}");
        assert!(!format!("{report:?}").contains(TOKEN));
        forge.heal();
        running.hint.send(Trigger::Webhook);
        running.until(|report| report.up).await;
        running.good("a.production");
    }
    assert_eq!(elsewhere.requests(), 0, "a redirect carries nothing anywhere");
    assert_eq!(forge.packs(), 1, "coming back costs no fetch");
}

#[tokio::test]
async fn a_damaged_mirror_is_made_anew_and_a_token_is_read_anew() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    let mirror = repo.dir.path().join("cache/git/a");
    std::fs::write(mirror.join("HEAD"), "nonsense").unwrap();
    let second = repo.publish(&[("x", "2")]);
    running.look_at(&second).await;
    assert!(running.good("a.production").revision.commit.as_str() == second);
    std::fs::remove_dir_all(&mirror).unwrap();
    let third = repo.publish(&[("x", "3")]);
    running.look_at(&third).await;
    assert_eq!(running.good("a.production").revision.commit.as_str(), third);

    let token = repo.dir.path().join("cache/token");
    std::fs::write(&token, "wrong").unwrap();
    running.hint.send(Trigger::Webhook);
    running.until(|report| !report.up).await;
    std::fs::remove_file(&token).unwrap();
    running.hint.send(Trigger::Webhook);
    running.until(|_| true).await;
    assert!(
        running.kept("a.production").contains("read the source's credentials"),
        "{}",
        running.kept("a.production")
    );
    std::fs::write(&token, TOKEN).unwrap();
    running.hint.send(Trigger::Webhook);
    running.until(|report| report.up).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let cache = repo.dir.path().join("cache");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut running = Running::start(config(&format!("http://{address}/origin.git"), "", &cache));
    let report = running.next().await;
    assert!(!report.up && report.commit.is_none() && report.heads.releases.is_empty());
    assert!(report.heads.problems[0].message.contains("cannot reach the repository"));
    let report = running.next().await;
    assert_eq!(report.trigger, Trigger::Poll, "it is tried again long before the interval");
}
