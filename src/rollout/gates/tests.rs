//! Gates on literals.

use std::collections::BTreeMap;

use super::*;
use crate::model::histogram::Histogram;
use crate::model::policy::{Longest, Quantile, Strategy};
use crate::model::samples::{Latencies, Latency, Traffic, TrafficSource};
use crate::rollout::statistics;
use crate::rollout::tests::world::policy;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(10_000 + second).unwrap()
}

fn histogram(counts: [u64; 4]) -> Latency {
    Latency::Seen(Histogram { bounds: vec![0.1, 0.5, 1.0], counts: counts.to_vec() })
}

fn samples(candidate: Latency, stable: Latency) -> Samples {
    Samples {
        rollout: 1,
        stage: 1,
        session: 7,
        last_at: at(60),
        checks: BTreeMap::new(),
        source: Some(TrafficSource::PodMetrics),
        candidate: Traffic::Seen(Tally::default()),
        stable: Traffic::Seen(Tally::default()),
        latency: Some(Latencies { probes: false, candidate, stable }),
        answers: BTreeMap::new(),
    }
}

/// Asks the gate of latency a minute after the stage began.
fn asked(limits: &[LatencyLimit], state: &StageState, samples: &Samples) -> Evaluation {
    let mut policy = policy(Strategy::Canary);
    policy.health.kind = CheckKind::None;
    let state = StageState { number: 1, ready_at: Some(at(0)), ..state.clone() };
    Stage {
        policy: &policy,
        max_error_rate: None,
        declared: Vec::new(),
        jobs: BTreeMap::new(),
        max_latency: limits,
        state: &state,
        session: 7,
        rollout: 1,
        candidate: &[],
        stable: &[],
        samples: Some(samples),
        wanted: false,
        since: at(0),
        now: at(60),
    }
    .evaluate()
}

/// A service with `replicas: 0`, or a DaemonSet that no node is fit for, was held since nobody sent samples.
#[test]
fn who_has_no_pod_and_wants_none_waits_for_no_samples() {
    let policy = policy(Strategy::Canary);
    let state = StageState { number: 1, ready_at: Some(at(0)), ..StageState::default() };
    let limits = half_a_second();
    for (wanted, sentence) in [(false, "pass: no pod is wanted"), (true, "unknown: no samples for")] {
        let found = Stage {
            policy: &policy,
            max_error_rate: Some(0.01),
            declared: Vec::new(),
            jobs: BTreeMap::new(),
            max_latency: &limits,
            state: &state,
            session: 7,
            rollout: 1,
            candidate: &[],
            stable: &[],
            samples: None,
            wanted,
            since: at(0),
            now: at(600),
        }
        .evaluate();
        assert_eq!(found.fresh, !wanted);
        for gate in ["health_check", "error_rate", "latency"] {
            let said = found.verdicts[gate].to_string();
            assert!(said.starts_with(&format!("{gate} {sentence}")), "{said}");
        }
    }
}

fn p99(most: Longest) -> Vec<LatencyLimit> {
    vec![LatencyLimit { quantile: Quantile::P99, most }]
}

fn half_a_second() -> Vec<LatencyLimit> {
    p99(Longest::Time(Duration::from_millis(500)))
}

#[test]
fn latency_fails_where_it_is_proven_and_not_shared() {
    let calm = || histogram([9_000, 1_000, 0, 0]);
    let session = StageState { session: 7, ..StageState::default() };
    for (limits, candidate, stable, sentence) in [
        (
            half_a_second(),
            histogram([900, 90, 0, 0]),
            calm(),
            "latency pass: p99 within the limit (value 456 ms, limit 500 ms, 990 samples, over 1m, by the pods' metrics)",
        ),
        (
            half_a_second(),
            histogram([900, 0, 90, 0]),
            calm(),
            "latency fail: the candidate is too slow: p99 above 500ms (value 945 ms, limit 500 ms, 990 samples, over 1m, by the pods' metrics)",
        ),
        (
            half_a_second(),
            histogram([900, 0, 90, 0]),
            histogram([9_000, 0, 900, 0]),
            "latency unknown: p99 above 500ms, and stable's as well: what slows both says nothing of the candidate (value 945 ms, limit 500 ms, 990 samples, over 1m, by the pods' metrics)",
        ),
        (
            half_a_second(),
            histogram([0, 0, 0, 0]),
            calm(),
            "latency pass: no requests yet (limit 500 ms, over 1m, by the pods' metrics)",
        ),
        (
            half_a_second(),
            Latency::Unknown { reason: "Prometheus: no answer within 5s".into() },
            calm(),
            "latency unknown: Prometheus: no answer within 5s",
        ),
        (
            p99(Longest::Time(Duration::from_secs(3))),
            histogram([900, 0, 0, 90]),
            calm(),
            "latency unknown: the last bucket of the durations begins below the limit: p99 above 3s cannot be told (value 1000 ms, limit 3000 ms, 990 samples, over 1m, by the pods' metrics)",
        ),
        (
            p99(Longest::TimesStable(1.5)),
            histogram([900, 0, 0, 90]),
            calm(),
            "latency fail: the candidate is too slow: p99 above 1.5 times stable's (value 1000 ms, limit 750 ms, 990 samples, over 1m, by the pods' metrics)",
        ),
        (
            p99(Longest::TimesStable(1.5)),
            histogram([900, 90, 0, 0]),
            histogram([20, 0, 0, 0]),
            "latency pass: p99 of stable is not known well enough yet to compare with (value 456 ms, 990 samples, over 1m, by the pods' metrics)",
        ),
    ] {
        let found = asked(&limits, &session, &samples(candidate, stable));
        assert_eq!(found.verdicts["latency"].to_string(), sentence);
        assert_eq!(found.doubt, None, "{sentence}");
    }
}

#[test]
fn a_step_does_not_end_while_slow_requests_may_be_chance() {
    let session = StageState { session: 7, ..StageState::default() };
    let found =
        asked(&half_a_second(), &session, &samples(histogram([98, 0, 2, 0]), histogram([900, 0, 0, 0])));
    assert_eq!(found.verdicts["latency"].answer, Answer::Pass);
    let doubt = found.doubt.unwrap();
    assert_eq!((doubt.gate, doubt.answer), (Gate::Latency, Answer::Unknown));
    let few = samples(histogram([9, 0, 1, 0]), histogram([900, 0, 0, 0]));
    assert_eq!(asked(&half_a_second(), &session, &few).doubt, None, "fewer than min_requests");
}

#[test]
fn durations_of_an_earlier_session_still_count() {
    let earlier = |counts: [u64; 4]| Histogram { bounds: vec![0.1, 0.5, 1.0], counts: counts.to_vec() };
    let kept = StageLatency {
        base_candidate: earlier([10, 0, 0, 0]),
        last_candidate: earlier([5, 0, 1, 0]),
        ..StageLatency::default()
    };
    let state =
        |session| StageState { session, latency: Some(Box::new(kept.clone())), ..StageState::default() };
    let now = samples(histogram([1, 0, 0, 0]), histogram([0, 0, 0, 0]));
    let after = |session| asked(&half_a_second(), &state(session), &now).latency.unwrap();
    let same = after(7);
    assert_eq!((same.base_candidate.total(), same.last_candidate.total()), (10, 1));
    let other = after(6);
    assert_eq!(
        (other.base_candidate.counts, other.last_candidate.counts),
        (vec![15, 0, 1, 0], vec![1, 0, 0, 0])
    );
}

#[test]
fn a_candidate_that_turns_bad_fails_although_all_of_the_stage_is_within_the_limit() {
    let tally = |requests, errors| Tally { requests, errors };
    let mut policy = policy(Strategy::Canary);
    policy.health.kind = CheckKind::None;
    let mut state = StageState { number: 1, session: 7, ready_at: Some(at(0)), ..StageState::default() };
    for second in 1..=59 {
        let requests = u64::try_from(second).unwrap() * 100;
        begin_anew(&mut state, tally(requests, 0), tally(requests * 9, 0), at(second));
    }
    for (errors, beside, sentence) in [
        (
            0,
            0,
            "error_rate pass: within the limit (value 0.00 %, limit 1.00 %, 6000 samples, over 1m, by the pods' metrics)",
        ),
        (
            50,
            0,
            "error_rate fail: the candidate began to fail too many requests (value 50.00 %, limit 1.00 %, 100 samples, over 1s, by the pods' metrics)",
        ),
        (
            50,
            450,
            "error_rate unknown: stable fails too many requests as well: an outage that hits both says nothing of the candidate (value 50.00 %, limit 1.00 %, 100 samples, over 1s, by the pods' metrics)",
        ),
    ] {
        let mut measured = samples(histogram([0, 0, 0, 0]), histogram([0, 0, 0, 0]));
        measured.candidate = Traffic::Seen(tally(6_000, errors));
        measured.stable = Traffic::Seen(tally(54_000, beside));
        let found = Stage {
            policy: &policy,
            max_error_rate: Some(0.01),
            declared: Vec::new(),
            jobs: BTreeMap::new(),
            max_latency: &[],
            state: &state,
            session: 7,
            rollout: 1,
            candidate: &[],
            stable: &[],
            samples: Some(&measured),
            wanted: false,
            since: at(0),
            now: at(60),
        }
        .evaluate();
        assert_eq!(found.verdicts["error_rate"].to_string(), sentence);
    }
}

/// Between the chance to be wrong of all tests of the error rate together and that of the one from the begin there are counts that
/// only the former would call proven: the gate does not fail on them, so the end of the step must not take them for enough either.
#[test]
fn a_rate_above_the_limit_that_the_gate_does_not_fail_is_no_reason_to_go_on() {
    let limit = 0.01;
    let mut policy = policy(Strategy::Canary);
    policy.rollback.max_error_rate = Some(limit);
    policy.rollback.min_requests = 100;
    let tallies = (100..4_000_u64).flat_map(|requests| {
        (1..40).map(move |errors| Tally { requests, errors }).filter(move |_| requests % 7 == 0)
    });
    let above = |tally: &Tally, alpha| statistics::exceeds(*tally, limit, alpha) == Some(true);
    let between = tallies.filter(|tally| above(tally, statistics::ALPHA) && !above(tally, FROM_BEGIN));
    let mut seen = 0;
    for tally in between {
        assert!(matches!(traffic(&policy, tally), Traffics::Undecided(_)), "{tally:?}");
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}
