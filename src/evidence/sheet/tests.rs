//! The books, on literals.

use std::slice::from_ref;

use super::testing::assignment;
use super::*;

const POD_METRICS: Option<TrafficSource> = Some(TrafficSource::PodMetrics);
const FRESH: Duration = Duration::from_secs(10);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000 + second).unwrap()
}

fn pod(name: &str, track: Track, ready: i64) -> Target {
    Target {
        uid: format!("uid-{name}"),
        namespace: "test".into(),
        name: name.into(),
        ip: "127.0.0.1".into(),
        track,
        ready_since: at(ready),
    }
}

fn candidate(name: &str) -> Target {
    pod(name, Track::Candidate, -60)
}

fn counted(requests: u64, errors: u64) -> Scrape {
    let total = Tally { requests, errors };
    Scrape::Counted(Reading { counter: "http_requests_total", total })
}

fn seen(requests: u64, errors: u64) -> Traffic {
    Traffic::Seen(Tally { requests, errors })
}

/// Runs rounds five seconds apart and returns what is known of candidate and stable after the last.
fn after(pods: &[Target], rounds: &[Vec<(Target, Scrape)>]) -> (Option<TrafficSource>, Traffic, Traffic) {
    let assignment = assignment(pods);
    let mut sheet = Sheet::new(&assignment, 1, None, at(0));
    let mut second = 0;
    for round in rounds {
        second += 5;
        sheet.round(Asked::Pods, round, FRESH, at(second));
    }
    // A pod was checked too, else there would be no sample of a stage that was never scraped.
    sheet.checked(&pods[0], Ok(()), true, 2, at(second));
    let samples = sheet.snapshot(&assignment, at(second)).unwrap();
    (samples.source, samples.candidate, samples.stable)
}

#[test]
fn counters_count_from_the_first_sight_of_a_stage() {
    let a = candidate("a");
    let rounds = |values: &[(u64, u64)]| -> Vec<Vec<(Target, Scrape)>> {
        values.iter().map(|(n, errors)| vec![(a.clone(), counted(*n, *errors))]).collect()
    };
    for (values, expected) in [
        (&[(100, 9)][..], seen(0, 0)),
        (&[(100, 9), (150, 12)], seen(50, 3)),
        // The pod's process began anew: what it counts since is counted.
        (&[(100, 9), (150, 12), (7, 1)], seen(57, 4)),
        (&[(100, 9), (120, 2), (130, 3)], seen(130, 3)),
    ] {
        assert_eq!(after(from_ref(&a), &rounds(values)).1, expected, "{values:?}");
    }
}

#[test]
fn another_counter_of_the_same_pod_is_another_baseline() {
    let a = candidate("a");
    let total = Tally { requests: 500, errors: 5 };
    let other = Scrape::Counted(Reading { counter: "http_server_request_duration_seconds_count", total });
    let rounds = [counted(100, 1), counted(110, 1), other].map(|scrape| vec![(a.clone(), scrape)]);
    assert_eq!(after(from_ref(&a), &rounds).1, seen(10, 0));
}

#[test]
fn a_pod_that_comes_within_the_stage_counts_from_zero() {
    let (a, late) = (candidate("a"), pod("late", Track::Candidate, 3));
    let old = pod("old", Track::Candidate, -5);
    let mut sheet = Sheet::new(&assignment(from_ref(&a)), 1, None, at(0));
    let all = [a.clone(), late.clone(), old.clone()];
    sheet.update(&assignment(&all));
    let round = vec![(a, counted(10, 0)), (late, counted(20, 2)), (old, counted(40, 4))];
    sheet.round(Asked::Pods, &round, FRESH, at(5));
    let samples = sheet.snapshot(&assignment(&all), at(5)).unwrap();
    assert_eq!(samples.candidate, seen(20, 2), "the old one had a life before the stage");
}

#[test]
fn totals_stay_when_a_pod_goes() {
    let (a, b) = (candidate("a"), candidate("b"));
    let mut sheet = Sheet::new(&assignment(&[a.clone(), b.clone()]), 1, None, at(0));
    for (second, n) in [(5, 10), (10, 15)] {
        sheet.round(
            Asked::Pods,
            &[(a.clone(), counted(n, 0)), (b.clone(), counted(n, 0))],
            FRESH,
            at(second),
        );
    }
    sheet.checked(&b, Err("HTTP 500".into()), true, 2, at(10));
    let left = assignment(from_ref(&a));
    sheet.update(&left);
    sheet.checked(&b, Ok(()), true, 2, at(11));
    sheet.round(Asked::Pods, &[(a.clone(), counted(16, 0))], FRESH, at(15));
    let samples = sheet.snapshot(&left, at(15)).unwrap();
    assert_eq!(samples.candidate, seen(11, 0));
    assert!(samples.checks.is_empty(), "a late answer does not bring a pod back");
}

#[test]
fn zero_requests_are_zero_only_where_a_pod_was_seen() {
    let (a, b, s) = (candidate("a"), candidate("b"), pod("s", Track::Stable, -60));
    let failed = || Scrape::Failed("no answer within 1s".into());
    let missing = || Traffic::Unknown { reason: "not scraped: pod b: no answer within 1s".into() };
    let nobody = || Traffic::Unknown { reason: "no pod to ask".into() };
    let round = |of_b: Scrape| vec![(a.clone(), counted(5, 0)), (b.clone(), of_b)];
    let stable = vec![(s.clone(), counted(5, 0))];
    let pods = [a.clone(), b.clone()];
    for (rounds, expected) in [
        (vec![round(Scrape::Nameless)], (seen(0, 0), nobody())),
        (vec![round(failed())], (missing(), nobody())),
        (vec![round(counted(1, 0)), round(failed())], (seen(0, 0), nobody())),
        (
            vec![round(counted(1, 0)), round(failed()), round(failed()), round(failed())],
            (missing(), nobody()),
        ),
        (vec![stable], (nobody(), seen(0, 0))),
    ] {
        let (source, candidate, stable) = after(&pods, &rounds);
        assert_eq!((source, (candidate, stable)), (POD_METRICS, expected), "{rounds:?}");
    }
    // A counter that appears with its first request began at zero.
    assert_eq!(after(&pods, &[round(Scrape::Nameless), round(counted(3, 3))]).1, seen(3, 3));
    let absurd = Scrape::Absurd("line 2 of the metrics counts NaN".into());
    let reason = "pod b: line 2 of the metrics counts NaN".into();
    assert_eq!(after(&pods, &[round(absurd)]).1, Traffic::Unknown { reason });
}

#[test]
fn the_source_is_chosen_once() {
    let (a, s) = (candidate("a"), pod("s", Track::Stable, -60));
    let pods = [a.clone(), s.clone()];
    let round = |of_a: Scrape, of_s: Scrape| vec![(a.clone(), of_a), (s.clone(), of_s)];
    let not_served = || Scrape::NotServed("HTTP 404".into());
    let failed = || Scrape::Failed("no answer within 1s".into());
    let absurd = Scrape::Absurd("line 1 of the metrics counts NaN".into());
    let probes = Some(TrafficSource::Probes);
    for (rounds, expected) in [
        (vec![round(counted(1, 0), not_served())], POD_METRICS),
        (vec![round(not_served(), counted(1, 0)); 9], POD_METRICS),
        (vec![round(absurd, not_served())], POD_METRICS),
        (vec![round(not_served(), not_served())], None),
        (vec![round(not_served(), not_served()), round(not_served(), counted(1, 0))], POD_METRICS),
        (vec![round(not_served(), Scrape::Nameless); 2], probes),
        (vec![round(failed(), not_served()); 4], None),
        (vec![round(failed(), failed()); 5], probes),
    ] {
        assert_eq!(after(&pods, &rounds).0, expected, "{rounds:?}");
    }
    let pinned = Assignment { source: probes, ..assignment(&pods) };
    let mut sheet = Sheet::new(&pinned, 1, None, at(0));
    sheet.round(Asked::Pods, &round(counted(1, 0), counted(1, 0)), FRESH, at(5));
    assert_eq!(sheet.asked(), Asked::Nobody);
}

#[test]
fn checks_are_requests_where_nothing_else_counts() {
    let (a, b) = (candidate("a"), candidate("b"));
    let pinned = Assignment { source: Some(TrafficSource::Probes), ..assignment(&[a.clone(), b.clone()]) };
    let mut sheet = Sheet::new(&pinned, 1, None, at(0));
    assert_eq!(sheet.snapshot(&pinned, at(1)), None);
    sheet.checked(&a, Ok(()), true, 2, at(1));
    let reason = "not checked lately: pod b".into();
    assert_eq!(sheet.snapshot(&pinned, at(2)).unwrap().candidate, Traffic::Unknown { reason });
    sheet.checked(&b, Err("HTTP 503".into()), true, 2, at(2));
    assert_eq!(sheet.snapshot(&pinned, at(3)).unwrap().candidate, seen(2, 1));
    assert!(matches!(sheet.snapshot(&pinned, at(60)).unwrap().candidate, Traffic::Unknown { .. }));
    let mut silent = pinned.clone();
    silent.health.kind = CheckKind::None;
    assert!(matches!(sheet.snapshot(&silent, at(3)).unwrap().candidate, Traffic::Unknown { .. }));
    silent.traffic = false;
    let reason = "traffic is not measured".into();
    assert_eq!(sheet.snapshot(&silent, at(3)).unwrap().candidate, Traffic::Unknown { reason });
}

#[test]
fn a_check_wakes_when_a_decision_may_follow() {
    let a = candidate("a");
    let mut sheet = Sheet::new(&assignment(from_ref(&a)), 1, None, at(0));
    let bad = || Err("HTTP 503".to_owned());
    for (number, (result, wakes)) in [
        (Ok(()), true),
        (Ok(()), true),
        (Ok(()), false),
        (bad(), true),
        (bad(), true),
        (Ok(()), true),
        (Ok(()), true),
        (Ok(()), false),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(sheet.checked(&a, result, true, 2, at(1)), wakes, "check {number}");
    }
    let samples = sheet.snapshot(&assignment(from_ref(&a)), at(1)).unwrap();
    let tally = &samples.checks["uid-a"];
    assert_eq!((tally.asked, tally.failed, tally.passed_in_row, tally.failed_in_row), (8, 2, 3, 0));
    assert_eq!(tally.last_failure.as_deref(), Some("HTTP 503"));
}

const PATIENCE: Duration = Duration::from_secs(90);

/// Runs rounds of a Prometheus ten seconds apart.
fn by_prometheus(pods: &[Target], rounds: &[Vec<(Target, Scrape)>]) -> (Sheet, Samples) {
    let assignment = assignment(pods);
    let mut sheet = Sheet::new(&assignment, 1, Some(PATIENCE), at(0));
    let mut second = 0;
    for round in rounds {
        let counted =
            round.iter().any(|(_, scrape)| matches!(scrape, Scrape::Counted(_) | Scrape::Absurd(_)));
        let dialect = counted.then_some(Dialect::Istio);
        sheet.round(Asked::Prometheus(dialect, PATIENCE), round, FRESH, at(second));
        second += 10;
    }
    sheet.checked(&pods[0], Ok(()), true, 2, at(second - 10));
    let samples = sheet.snapshot(&assignment, at(second - 10)).unwrap();
    (sheet, samples)
}

#[test]
fn prometheus_comes_first_and_is_waited_for() {
    let (a, s) = (candidate("a"), pod("s", Track::Stable, -60));
    let pods = [a.clone(), s.clone()];
    let round = |of_a: Scrape, of_s: Scrape| vec![(a.clone(), of_a), (s.clone(), of_s)];
    let down = || Scrape::Failed("Prometheus: no answer within 5s".into());
    let missing = || Scrape::NotServed("Prometheus does not scrape it".into());
    let pinned = Asked::Prometheus(Some(Dialect::Istio), PATIENCE);
    for (rounds, expected) in [
        (vec![round(counted(1, 0), missing())], pinned),
        (vec![round(down(), down()); 50], Asked::Prometheus(None, PATIENCE)),
        (vec![round(missing(), missing()); 5], Asked::Prometheus(None, PATIENCE)),
        (vec![round(missing(), missing()); 11], Asked::Pods),
        (vec![round(Scrape::Nameless, Scrape::Nameless)], Asked::Prometheus(None, PATIENCE)),
        (vec![round(Scrape::Nameless, Scrape::Nameless); 2], Asked::Pods),
        (vec![round(Scrape::Nameless, down()), round(down(), counted(9, 0))], pinned),
    ] {
        assert_eq!(by_prometheus(&pods, &rounds).0.asked(), expected, "{rounds:?}");
    }
    let samples = by_prometheus(&pods, &[round(down(), down())]).1;
    let reason = "not scraped: pod a: Prometheus: no answer within 5s".to_owned();
    assert_eq!((samples.source, samples.candidate), (None, Traffic::Unknown { reason }));
}

#[test]
fn what_a_young_pod_counted_before_its_first_scrape_is_the_stages() {
    let (young, old) = (candidate("young"), pod("old", Track::Stable, -9_000));
    let pods = [young.clone(), old.clone()];
    let missing = || Scrape::NotServed("Prometheus does not scrape it".into());
    let first = vec![(young.clone(), missing()), (old.clone(), missing())];
    let then = vec![(young.clone(), counted(40, 20)), (old.clone(), counted(9_000, 3))];
    let samples = by_prometheus(&pods, &[first.clone(), then]).1;
    assert_eq!((samples.candidate, samples.stable), (seen(40, 20), seen(0, 0)));
    // A pod that is not scraped is not a pod without requests.
    let gone = vec![(young.clone(), counted(5, 0)), (old, missing())];
    let samples = by_prometheus(&pods, &[first, gone]).1;
    assert_eq!(samples.candidate, seen(5, 0));
    assert!(matches!(samples.stable, Traffic::Unknown { .. }), "{:?}", samples.stable);
}
