//! When the loop looks, how often a burst makes it fetch, and how soon it stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::fixture::{Repo, Running};
use super::forge::{Fault, Forge, started, started_among};
use super::*;
use crate::model::suspension::SuspensionAsked;

fn repo() -> Repo {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    repo
}

async fn reached(what: impl Fn() -> bool) {
    let waited = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), waited).await.expect("within 20 s");
}

#[tokio::test]
async fn ten_thousand_hints_for_two_pushes_are_at_most_two_fetches() {
    let repo = repo();
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    let (packs, requests) = (forge.packs(), forge.requests());

    let gate = Arc::new(Semaphore::new(0));
    forge.fail(Fault::Hold(gate.clone()));
    repo.publish(&[("x", "2")]);
    (0..5_000).for_each(|_| running.hint.send(Trigger::Webhook));
    reached(|| forge.requests() > requests).await;
    let third = repo.publish(&[("x", "3")]);
    (0..5_000).for_each(|_| running.hint.send(Trigger::Webhook));
    forge.heal();
    gate.add_permits(1);

    let mut looks = 0;
    loop {
        let report = running.next().await;
        looks += 1;
        assert!(report.up && report.trigger == Trigger::Webhook);
        if looks == 2 {
            assert_eq!(report.commit.unwrap().as_str(), third);
            break;
        }
    }
    assert!(forge.packs() - packs <= 2, "{} fetches", forge.packs() - packs);
    running.hint.send(Trigger::Poll);
    assert_eq!(running.next().await.trigger, Trigger::Poll, "no hint was left over");
}

#[tokio::test]
async fn a_look_is_given_up_within_a_second_of_the_end() {
    let repo = repo();
    for (fault, in_the_pack) in [
        (Fault::Silence, false),
        (Fault::Endless, false),
        (Fault::SlowPack, true),
        (Fault::Status(429, "retry-after", "3600".to_owned()), false),
    ] {
        let forge = Forge::start(repo.dir.path()).await;
        forge.fail(fault.clone());
        let cache = repo.dir.path().join("cache/git");
        std::fs::remove_dir_all(&cache).ok();
        let mut running = started(&forge, &repo, "");
        reached(|| if in_the_pack { forge.packs() > 0 } else { forge.requests() > 0 }).await;
        if matches!(fault, Fault::Status(..)) {
            assert!(!running.next().await.up);
            running.hint.send(Trigger::Webhook);
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        running.stop.cancel();
        let ended = timeout(Duration::from_secs(5), running.task.take().unwrap()).await;
        assert!(ended.expect("it ends").expect("without a panic").is_ok());
        assert!(began.elapsed() < Duration::from_secs(1), "{fault:?}: {:?}", began.elapsed());
    }
}

/// Waits for the next report; returns it with the seconds, rounded, since `since`.
async fn next(running: &mut Running, since: Instant) -> (SourceReport, u64) {
    let report = loop {
        // Longer than any interval of these tests: the clock is paused.
        if let Ok(report) = timeout(Duration::from_hours(24), running.receive()).await {
            break report;
        }
    };
    (report, (since.elapsed() + Duration::from_millis(500)).as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_hook_before_its_ref_is_looked_after_at_1_3_and_10_seconds() {
    let repo = repo();
    let forge = Forge::start_apart(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    next(&mut running, Instant::now()).await;
    let hooked = Instant::now();
    running.hint.send(Trigger::Webhook);
    for (at, trigger) in [(0, Trigger::Webhook), (1, Trigger::Poll), (3, Trigger::Poll)] {
        let (report, seconds) = next(&mut running, hooked).await;
        assert_eq!((report.trigger, seconds, report.stats.fetches), (trigger, at, 0));
    }
    let second = repo.publish(&[("x", "2")]);
    let (report, seconds) = next(&mut running, hooked).await;
    assert_eq!((report.commit.unwrap().as_str(), seconds), (&*second, 10));
}

#[tokio::test(start_paused = true)]
async fn polls_slow_down_for_a_hook_that_is_right_and_speed_up_for_a_change_untold() {
    let repo = repo();
    let forge = Forge::start_apart(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "poll: 1m,");
    let start = Instant::now();
    assert_eq!(next(&mut running, start).await.1, 0, "looked at on start");
    let (report, seconds) = next(&mut running, start).await;
    assert!(report.trigger == Trigger::Poll && (6..=60).contains(&seconds), "spread: {seconds}");

    repo.publish(&[("x", "2")]);
    running.hint.send(Trigger::Webhook);
    next(&mut running, start).await;
    let told = Instant::now();
    let third = repo.publish(&[("x", "3")]);
    let (report, seconds) = next(&mut running, told).await;
    assert!(report.commit.unwrap().as_str() == third && (540..=660).contains(&seconds), "{seconds}");
    let found = Instant::now();
    let (report, seconds) = next(&mut running, found).await;
    assert!((54..=66).contains(&seconds), "{seconds}");
    assert_eq!((report.trigger, report.stats.requests), (Trigger::Poll, 1));
}

#[tokio::test(start_paused = true)]
async fn who_shares_a_host_that_wants_to_be_left_alone_waits_with_its_neighbour() {
    let (repo, other) = (repo(), repo());
    let forge = Forge::start_apart(repo.dir.path()).await;
    let hosts = Hosts::default();
    let mut first = started_among(&hosts, &forge, &repo, "");
    let mut second = started_among(&hosts, &forge, &other, "");
    let start = Instant::now();
    assert_eq!((next(&mut first, start).await.1, next(&mut second, start).await.1), (0, 0));

    forge.fail(Fault::Status(429, "retry-after", "60".to_owned()));
    first.hint.send(Trigger::Webhook);
    assert!(!next(&mut first, start).await.0.up);
    let (refused, requests) = (Instant::now(), forge.requests());
    forge.heal();
    second.hint.send(Trigger::Webhook);
    let (report, seconds) = next(&mut second, refused).await;
    assert_eq!((report.up, seconds), (true, 60), "{:?}", report.heads.problems);
    assert!(forge.requests() - requests <= 4, "only after the pause");
    assert!(next(&mut first, refused).await.0.up);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_at_the_short_question_is_asked_by_gix() {
    let repo = repo();
    let forge = Forge::start_apart(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    next(&mut running, Instant::now()).await;
    let requests = forge.requests();
    forge.fail(Fault::Silence);
    let asked = Instant::now();
    running.hint.send(Trigger::Poll);
    reached(|| forge.requests() > requests).await;
    forge.heal();
    tokio::time::advance(Duration::from_secs(15)).await;
    let (report, seconds) = next(&mut running, asked).await;
    assert_eq!((report.up, report.stats.requests, seconds), (true, 3, 15), "{:?}", report.heads.problems);
}

#[tokio::test(start_paused = true)]
async fn a_pack_that_dribbles_is_given_up_after_a_minute() {
    let repo = repo();
    let forge = Forge::start_apart(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    let first = next(&mut running, Instant::now()).await.0.commit;
    let packs = forge.packs();
    let second = repo.publish(&[("x", "2")]);
    forge.fail(Fault::SlowPack);
    running.hint.send(Trigger::Webhook);
    reached(|| forge.packs() > packs).await;
    tokio::time::advance(Duration::from_mins(1)).await;
    let (report, _) = next(&mut running, Instant::now()).await;
    assert!(!report.up && report.commit == first);
    assert!(running.kept("a.production").contains("did not answer within 1m"), "{report:?}");
    forge.heal();
    let (report, _) = next(&mut running, Instant::now()).await;
    assert_eq!((report.up, report.commit.unwrap().as_str()), (true, &*second), "tried again by itself");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_source_is_not_looked_at_whatever_is_hinted_and_at_once_when_it_is_resumed() {
    let repo = repo();
    let forge = Forge::start_apart(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    next(&mut running, Instant::now()).await;
    let asked = |suspended| SuspensionAsked {
        suspended,
        who: "ann".to_owned(),
        why: "audit".to_owned(),
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    let source = "a".parse().unwrap();
    running.suspensions.note(&source, Some(&asked(true)));
    tokio::task::yield_now().await;
    let (requests, second) = (forge.requests(), repo.publish(&[("x", "2")]));
    for trigger in [Trigger::Poll, Trigger::Asked, Trigger::Webhook] {
        running.hint.send(trigger);
        tokio::time::sleep(Duration::from_hours(1)).await;
    }
    assert_eq!(forge.requests(), requests);
    running.suspensions.note(&source, Some(&asked(false)));
    let (report, seconds) = next(&mut running, Instant::now()).await;
    assert_eq!((report.commit.unwrap().as_str(), seconds), (&*second, 0));

    let pace = report.pace.unwrap();
    assert_eq!((pace.interval_seconds, pace.slowed), (86_400, true), "the webhook was right");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_the_configuration_suspends_is_never_looked_at() {
    let repo = repo();
    let forge = Forge::start_apart(repo.dir.path()).await;
    let running = started(&forge, &repo, "suspend: true,");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(forge.requests(), 0);
    assert!(running.suspensions.of(&"a".parse().unwrap()).is_some());
}
