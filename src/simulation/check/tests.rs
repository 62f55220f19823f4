//! Each property of stored records says no to what breaks it.

use std::time::Duration;

use super::Facts;
use super::records::{Stored, check};
use crate::model::record::Record;
use crate::model::rollout::{Ending, Hold, Outcome, Phase};
use crate::model::verdict::{Gate, Verdict};
use crate::simulation::bed::Bed;
use crate::simulation::heads::{ENVIRONMENT, Shape, Workshop};
use crate::simulation::plan::{Action, Plan};
use crate::simulation::trace::Trace;

/// A record in the first step of a canary, as a driver stored it.
fn progressing() -> Record {
    let commit = Action::Commit { tag: "v1.good".to_owned(), late: 0 };
    let plan = Plan::quiet(5, Shape::canary(), 3).then(120, commit);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let record = runtime.unwrap().block_on(async {
        let workshop = Workshop::new(ENVIRONMENT).unwrap();
        let mut bed = Bed::new(&workshop, &plan, Trace::new(false)).unwrap();
        bed.run(bed.begun + Duration::from_secs(130)).await.unwrap();
        bed.checker.record.clone().unwrap()
    });
    assert_eq!(record.rollout.as_ref().map(|rollout| rollout.phase), Some(Phase::Progressing));
    record
}

fn ending(record: &Record) -> Ending {
    let at = record.rollout.as_ref().unwrap().started_at;
    let verdict = Verdict::fail(Gate::Command, "aborted");
    Ending { outcome: Outcome::Aborted, hold: Some(Hold::Held), verdict, at }
}

/// The properties that one record over another breaks.
fn broken(old: &Record, new: &Record, bytes: usize) -> Vec<&'static str> {
    let stored = Stored { at: Duration::from_secs(130), old, new, number: Some(1), bytes };
    check(&stored, &mut Facts::default()).into_iter().map(|(property, _)| property).collect()
}

type Change = fn(&mut Record, &mut Record);

#[test]
fn what_breaks_a_property_is_said() {
    let record = progressing();
    assert_eq!(broken(&record, &record, 1_000), [""; 0], "nothing changed");
    let cases: [(&str, Change); 9] = [
        ("S1", |_, new| new.rollouts += 1),
        ("S3", |_, new| new.rollout.as_mut().unwrap().step += 1),
        ("S5", |old, _| old.rollout.as_mut().unwrap().ending = Some(ending(old))),
        ("S9", |_, new| new.rollout.as_mut().unwrap().policy.rollback.auto = false),
        ("S11", |_, new| new.epoch += 1),
        ("S13", |_, new| new.rollout = None),
        ("S14", |_, new| new.sequence += 1),
        ("S14", |old, _| old.sequence += 1),
        ("S25", |_, new| new.stable = None),
    ];
    for (property, change) in cases {
        let (mut old, mut new) = (record.clone(), record.clone());
        change(&mut old, &mut new);
        assert!(broken(&old, &new, 1_000).contains(&property), "{property}: {:?}", broken(&old, &new, 1_000));
    }
    assert_eq!(broken(&record, &record, 300 * 1024), ["S21"]);
}
