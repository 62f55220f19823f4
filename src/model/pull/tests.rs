//! The order of deliveries does not matter, and a document stays small.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn told(action: Action, second: i64) -> PullRequest {
    let state = match action {
        Action::Closed => PullState::Closed,
        Action::Merged => PullState::Merged,
        _ => PullState::Open,
    };
    PullRequest {
        number: 7,
        action,
        at: Some(at(second)),
        state: Some(state),
        title: None,
        author: None,
        base: "main".to_owned(),
        head: Some("topic".to_owned()),
        commit: Some("a".to_owned()),
        labels: Vec::new(),
        review: None,
    }
}

fn with(commit: &str, told: PullRequest) -> PullRequest {
    PullRequest { commit: Some(commit.to_owned()), ..told }
}

fn review(who: &str, action: Action, second: i64, commit: Option<&str>) -> PullRequest {
    let (who, commit) = (who.to_owned(), commit.map(str::to_owned));
    PullRequest { review: Some(Review { who, at: Some(at(second)), commit }), ..told(action, second) }
}

fn all(told: &[PullRequest]) -> Pulls {
    told.iter().fold(Pulls::default(), |pulls, told| fold(pulls, told, at(1_000)))
}

fn states(told: &[PullRequest]) -> (PullState, i64) {
    let pulls = all(told);
    (pulls.pulls[&7].state, pulls.pulls[&7].state_at.as_second())
}

#[test]
fn a_close_is_undone_by_a_later_reopening_and_by_nothing_that_is_merely_late() {
    use Action::{Closed, Labeled, Merged, Opened, Reopened, Synchronized};
    use PullState as S;
    let unclocked = |action| PullRequest { at: None, ..told(action, 0) };
    let closed = |told: PullRequest| PullRequest { state: Some(S::Closed), ..told };
    for (what, events, expected) in [
        ("in order", vec![told(Opened, 1), told(Closed, 2)], (S::Closed, 2)),
        ("backwards", vec![told(Closed, 2), told(Opened, 1)], (S::Closed, 2)),
        ("a late label", vec![told(Closed, 2), told(Labeled, 1)], (S::Closed, 2)),
        ("a label at the same second", vec![told(Closed, 2), told(Labeled, 2)], (S::Closed, 2)),
        ("late commits", vec![told(Closed, 2), told(Synchronized, 1)], (S::Closed, 2)),
        ("commits of no known time", vec![told(Closed, 2), unclocked(Synchronized)], (S::Closed, 2)),
        ("opened again", vec![told(Closed, 2), told(Reopened, 3)], (S::Open, 3)),
        ("opened again, told first", vec![told(Reopened, 3), told(Closed, 2)], (S::Open, 3)),
        ("both in one second", vec![told(Closed, 2), told(Reopened, 2)], (S::Closed, 2)),
        ("and seen open later", vec![told(Closed, 2), told(Reopened, 2), told(Labeled, 3)], (S::Open, 3)),
        ("a merge is for ever", vec![told(Merged, 2), told(Reopened, 3), told(Closed, 4)], (S::Merged, 2)),
        ("a merge that is told late", vec![told(Closed, 4), told(Merged, 2)], (S::Merged, 2)),
        ("only the label after it came", vec![closed(told(Labeled, 5))], (S::Closed, 5)),
        ("twice", vec![told(Closed, 2), told(Closed, 2)], (S::Closed, 2)),
        ("a time that is far off", vec![told(Closed, 9_000), told(Reopened, 9_000)], (S::Closed, 1_300)),
    ] {
        assert_eq!(states(&events), expected, "{what}");
    }
}

#[test]
fn an_approval_is_for_a_commit_and_is_kept_when_another_comes() {
    use Stance::{Approved, Rejected, Unapproved};
    let approved = |commit| review("ann", Action::Approved, 5, Some(commit));
    let by = |events: &[PullRequest]| {
        let pulls = all(events);
        let approval = pulls.pulls[&7].approvals["ann"].clone();
        (pulls.pulls[&7].approved_by().count(), approval.stance, approval.stale)
    };
    let next = |second| with("b", told(Action::Synchronized, second));
    for (what, events, expected) in [
        ("given", vec![approved("a")], (1, Approved, false)),
        ("for the commit before", vec![next(6), approved("a")], (0, Approved, true)),
        ("then another commit", vec![approved("a"), next(6)], (0, Approved, true)),
        ("and back to it", vec![approved("a"), next(6), told(Action::Synchronized, 7)], (1, Approved, false)),
        (
            "given again",
            vec![approved("a"), next(6), with("b", review("ann", Action::Approved, 7, Some("b")))],
            (1, Approved, false),
        ),
        (
            "taken back",
            vec![approved("a"), review("ann", Action::Unapproved, 6, Some("a"))],
            (0, Unapproved, false),
        ),
        (
            "taken back, told first",
            vec![review("ann", Action::Unapproved, 6, Some("a")), approved("a")],
            (0, Unapproved, false),
        ),
        (
            "both in one second",
            vec![review("ann", Action::Rejected, 5, Some("a")), approved("a")],
            (0, Rejected, false),
        ),
        ("of no named commit", vec![review("ann", Action::Approved, 5, None)], (1, Approved, false)),
    ] {
        assert_eq!(by(&events), expected, "{what}");
    }
}

#[test]
fn the_newest_snapshot_counts() {
    let labeled = |second, labels: &[&str]| PullRequest {
        labels: labels.iter().map(ToString::to_string).collect(),
        title: Some(format!("title {second}\n")),
        ..told(Action::Labeled, second)
    };
    let pulls = all(&[labeled(3, &["x", "y"]), labeled(2, &["x"])]);
    let pull = &pulls.pulls[&7];
    assert_eq!((pull.labels.len(), pull.title.as_deref()), (2, Some("title 3 ")));
    let pulls = all(&[labeled(3, &["x", "y"]), PullRequest { head: None, ..labeled(3, &[]) }]);
    let pull = &pulls.pulls[&7];
    assert_eq!((pull.labels.len(), pull.head.as_deref()), (0, Some("topic")), "what is not said stays");
}

#[test]
fn the_document_is_readable_and_unknown_fields_do_not_hurt() {
    let pulls =
        all(&[told(Action::Opened, 1), review("ann", Action::Approved, 5, None), told(Action::Closed, 6)]);
    let text = serde_json::to_string_pretty(&pulls).unwrap();
    insta::assert_snapshot!(text, @r#"
    {
      "schema": 1,
      "pulls": {
        "7": {
          "state": "closed",
          "state_at": "1970-01-01T00:00:06Z",
          "updated_at": "1970-01-01T00:00:06Z",
          "base": "main",
          "head": "topic",
          "commit": "a",
          "approvals": {
            "ann": {
              "stance": "approved",
              "at": "1970-01-01T00:00:05Z",
              "commit": "a"
            }
          }
        }
      }
    }
    "#);
    assert_eq!(serde_json::from_str::<Pulls>(&text).unwrap(), pulls);
    let newer = text.replacen("\"schema\"", "\"more\": 1, \"schema\"", 1);
    assert_eq!(serde_json::from_str::<Pulls>(&newer).unwrap(), pulls);
}

/// Many pull requests, all told with the longest of everything.
fn many(numbers: std::ops::Range<u64>, action: Action, length: usize) -> Pulls {
    numbers.fold(Pulls::default(), |pulls, number| {
        let second = i64::try_from(number).unwrap();
        let labels = vec!["\u{1}\"é".repeat(length); 60];
        fold(pulls, &PullRequest { number, labels, ..told(action, second) }, at(second))
    })
}

#[test]
fn closed_ones_go_first_the_oldest_of_them_before_the_others() {
    let pulls = many(1..1_200, Action::Opened, 0);
    let now = at(1_300);
    let (kept, dropped) = bounded(pulls.clone(), now);
    assert_eq!((kept.pulls.len(), dropped, kept.pulls.keys().next()), (1_000, 199, Some(&200)));
    let closed = many(1..600, Action::Closed, 0);
    let (kept, dropped) = bounded(closed.clone(), now);
    assert_eq!((kept.pulls.len(), dropped, kept.pulls.keys().next()), (500, 0, Some(&100)));
    assert_eq!(kept.forgotten, Some(at(99)));
    let late = fold(kept.clone(), &PullRequest { number: 50, ..told(Action::Labeled, 40) }, now);
    assert_eq!(late, kept, "what is told late of one that went is not taken for news");
    let new = fold(kept, &PullRequest { number: 50, ..told(Action::Reopened, 1_200) }, now);
    assert!(new.pulls.contains_key(&50));
    let (kept, _) = bounded(closed, now + SignedDuration::from_hours(14 * 24));
    assert!(kept.pulls.is_empty(), "two weeks later");
}

#[test]
fn a_document_never_has_more_bytes_than_fit() {
    let open = many(1..400, Action::Opened, 70);
    let closed = many(1_000..1_300, Action::Closed, 70);
    let pulls = open.pulls.into_iter().chain(closed.pulls).collect();
    let pulls = Pulls { pulls, ..Pulls::default() };
    assert!(serde_json::to_string(&pulls).unwrap().len() > BYTES);
    let (kept, dropped) = bounded(pulls, at(1_300));
    let bytes = serde_json::to_string(&kept).unwrap().len();
    assert!(bytes <= BYTES && bytes > BYTES * 9 / 10, "{bytes}");
    assert!(dropped > 0 && kept.pulls.values().all(|pull| pull.state == PullState::Open));
    assert_eq!(kept.pulls.keys().last(), Some(&399));
}

#[test]
fn people_are_few() {
    let pulls = (0..200).fold(Pulls::default(), |pulls, number| {
        let action = if number < 10 { Action::Unapproved } else { Action::Approved };
        fold(pulls, &review(&format!("p{number:03}"), action, number, None), at(1_000))
    });
    let people = &pulls.pulls[&7].approvals;
    assert_eq!((people.len(), people.keys().next().map(String::as_str)), (50, Some("p150")));
}

fn event() -> impl Strategy<Value = PullRequest> {
    let action = prop::sample::select(vec![
        Action::Opened,
        Action::Synchronized,
        Action::Reopened,
        Action::Labeled,
        Action::Closed,
        Action::Merged,
        Action::Approved,
        Action::Unapproved,
        Action::Rejected,
    ]);
    (action, 1_i64..6, prop::sample::select(vec!["ann", "bob"])).prop_map(|(action, second, who)| {
        let reviews = matches!(action, Action::Approved | Action::Unapproved | Action::Rejected);
        let event = if reviews { review(who, action, second, None) } else { told(action, second) };
        // One commit a second: what is told of the same instant is the same.
        with(&format!("c{second}"), event)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_order_with_any_repetitions_ends_the_same(
        events in prop::collection::vec(event(), 1..8),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut shuffled = events.clone();
        shuffled.reverse();
        shuffled.extend(order.iter().map(|index| index.get(&events).clone()));
        let middle = shuffled.len() / 2;
        shuffled.rotate_left(middle);
        prop_assert_eq!(all(&shuffled), all(&events));
    }
}
