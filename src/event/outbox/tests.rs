//! The outbox at its caps.

use proptest::prelude::*;

use super::*;
use crate::event::catalogue::stories::{source, stories, transition};
use crate::model::record::{OUTBOX_BYTES, OUTBOX_ENTRIES, Totals};

/// A record of `hello.production` with nothing in it.
pub fn record() -> Record {
    serde_json::from_value(serde_json::json!({
        "schema": 1, "epoch": 1, "environment": "production", "team": "team", "source": "hello", "mode": "apply",
        "sequence": 0, "replicas": 3, "phase": "Stable", "health": "Healthy", "sync": "Synced",
    }))
    .unwrap()
}

fn drift() -> Transition {
    transition(None, Kind::DriftCorrected { objects: vec!["Service/hello".into()] }, "put back")
}

fn terminal() -> Transition {
    stories().into_iter().find(|story| matches!(story.kind, Kind::HoldSet { .. })).unwrap()
}

#[test]
fn a_full_outbox_drops_progress_and_says_so() {
    let mut record = record();
    let mut dropped = None;
    for number in 0..OUTBOX_ENTRIES {
        assert_eq!(dropped, None, "{number}");
        let story = if number == 5 { terminal() } else { drift() };
        dropped = outbox_push(&mut record, &source(), &story).map(|transition| transition.kind);
    }
    assert_eq!(dropped, Some(Kind::EventsDropped { from: 1, to: 64, count: 63 }));
    assert_eq!(record.outbox.keys().copied().collect::<Vec<_>>(), [6, 65]);
    assert!(!record.outbox_full());
}

#[test]
fn a_later_marker_stands_for_all_that_an_earlier_one_stood_for() {
    let mut record = record();
    let mut last = None;
    for _ in 0..200 {
        last = outbox_push(&mut record, &source(), &drift()).map(|transition| transition.kind).or(last);
    }
    // 64 pushed, marker 65; 63 more with it are 64 entries again, marker 129; and once more.
    assert_eq!(last, Some(Kind::EventsDropped { from: 1, to: 192, count: 64 + 63 + 63 }));
}

#[test]
fn what_says_an_end_is_never_dropped_and_new_rollouts_wait() {
    let mut record = record();
    for number in 0..OUTBOX_ENTRIES + 5 {
        assert_eq!(record.outbox_full(), number >= OUTBOX_ENTRIES, "{number}");
        assert_eq!((record.outbox_fill() >= 0.8), number >= 52, "{number}");
        assert_eq!(outbox_push(&mut record, &source(), &terminal()), None);
    }
    assert_eq!(record.outbox.len(), OUTBOX_ENTRIES + 5);
    outbox_trim(&mut record, 60);
    assert!(!record.outbox_full());
    assert_eq!((record.outbox.len(), record.published), (9, 60));
}

#[test]
fn bytes_count_too() {
    let mut record = record();
    let names = (0..50).map(|_| "x".repeat(1000)).collect();
    let big = transition(None, Kind::DriftCorrected { objects: names }, "put back");
    assert_eq!(outbox_push(&mut record, &source(), &big), None);
    assert_eq!(outbox_push(&mut record, &source(), &big), None);
    assert!(matches!(
        outbox_push(&mut record, &source(), &big).unwrap().kind,
        Kind::EventsDropped { from: 1, to: 3, count: 3 }
    ));
    assert!(serde_json::to_vec(&record.outbox).unwrap().len() < OUTBOX_BYTES);
}

#[derive(Debug, Clone)]
enum Act {
    Push(usize),
    Ack(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => (0..stories().len()).prop_map(Act::Push),
        1 => (0_u64..40).prop_map(Act::Ack),
    ];
    proptest::collection::vec(act, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is pushed and acknowledged: equal inputs give equal bytes, no id is used twice, and every number that is neither
    /// waiting nor acknowledged is explained by a marker.
    #[test]
    fn numbers_have_no_unexplained_gap(acts in acts()) {
        let (mut one, mut two) = (record(), record());
        let mut ids = std::collections::BTreeMap::new();
        let mut explained = std::collections::BTreeSet::new();
        for act in &acts {
            match act {
                Act::Push(story) => {
                    let story = &stories()[*story];
                    let dropped = outbox_push(&mut one, &source(), story);
                    prop_assert_eq!(&dropped, &outbox_push(&mut two, &source(), story));
                    if let Some(Kind::EventsDropped { from, to, .. }) = dropped.map(|dropped| dropped.kind) {
                        explained.extend(from..=to);
                    }
                }
                Act::Ack(number) => {
                    let sequence = one.published + number;
                    outbox_trim(&mut one, sequence);
                    outbox_trim(&mut two, sequence);
                }
            }
            for event in one.outbox.values().flat_map(|entry| &entry.events) {
                let first = ids.entry(event.id.clone()).or_insert_with(|| event.clone());
                prop_assert_eq!(first, event);
            }
            let accounted = (1..=one.sequence).all(|number| {
                number <= one.published || one.outbox.contains_key(&number) || explained.contains(&number)
            });
            prop_assert!(accounted);
        }
        prop_assert_eq!(&one.outbox, &two.outbox);
        prop_assert_eq!(Totals::default(), one.totals);
    }
}
