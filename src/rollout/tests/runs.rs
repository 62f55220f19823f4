//! Services that are jobs, on the toy cluster.

use serde_json::{Value, json};

use super::people::tell;
use super::world::{Behaviour, Cut, JobEnd, World};
use crate::model::command::Verb;
use crate::model::desired::Desired;
use crate::model::object::{Manifest, ObjectKey, Role};
use crate::model::policy::Strategy;
use crate::model::record::{Health, Record};
use crate::model::rollout::{Hold, Outcome, Phase};
use crate::render;

/// Adds the CronJob of a cron to a job.
pub fn again(desired: &mut Desired, schedule: &str) {
    let job = desired.objects.iter().find(|manifest| manifest.role == Role::Job).unwrap();
    let body = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": job.body["metadata"],
        "spec": {"schedule": schedule, "suspend": false, "jobTemplate": {"spec": {"template": job.body["spec"]["template"]}}},
    });
    let key = ObjectKey { kind: "CronJob".to_owned(), ..job.key.clone() };
    let hash = render::content_hash(&body);
    desired.objects.push(Manifest { key, role: Role::Shared, hash, body });
}

/// A world where v1 of a cron ran to its end.
fn timed() -> World {
    let mut world = World::new();
    world.cron = Some("15 2 * * *".to_owned());
    world.merge("v1", Strategy::Job, Behaviour::Healthy);
    rest(&mut world, 60);
    world
}

/// The `spec` of the CronJob.
fn times(world: &World) -> Option<&Value> {
    let mut all = world.objects.iter();
    all.find(|(key, _)| key.kind == "CronJob").map(|(_, object)| &object.body["spec"])
}

/// The version that the CronJob runs.
fn runs_again(world: &World) -> Option<String> {
    let container = &times(world)?["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    let image = container["image"].as_str()?;
    let of =
        |tag: &&str| image.ends_with(&super::world::digest(tag)) && container["env"][0]["value"] == **tag;
    ["v1", "v2", "v3"].into_iter().find(of).map(str::to_owned)
}

#[test]
fn a_cron_runs_the_last_version_whose_run_succeeded() {
    let mut world = World::new();
    world.cron = Some("15 2 * * *".to_owned());
    world.ends.insert("run".into(), JobEnd::Hangs);
    world.merge("v1", Strategy::Job, Behaviour::Healthy);
    assert!(world.until(20, runs) && times(&world).is_none(), "not before its run completed");
    world.ends.clear();
    while times(&world).is_none() {
        assert!(record(&world).rollout.is_some());
        world.pass();
        world.jobs();
    }
    assert_eq!(times(&world).unwrap()["suspend"], true, "a creation that comes too late runs nothing");
    rest(&mut world, 20);
    assert_eq!(
        (times(&world).unwrap()["suspend"].clone(), runs_again(&world).as_deref()),
        (json!(false), Some("v1"))
    );
    assert!(!world.kinds().contains(&"Applied"), "{:?}", world.kinds());
    world.ends.insert("run".into(), JobEnd::Hangs);
    world.merge("v2", Strategy::Job, Behaviour::Healthy);
    assert!(world.until(20, runs) && runs_again(&world).as_deref() == Some("v1"));
    world.ends.clear();
    rest(&mut world, 60);
    assert_eq!((runs_again(&world).as_deref(), made(&world)), (Some("v2"), 2));
    world.ends.insert("run".into(), JobEnd::Code(3));
    world.merge("v3", Strategy::Job, Behaviour::Healthy);
    rest(&mut world, 60);
    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::Promoted, Outcome::RolledBack]);
    assert_eq!(record(&world).held[&3].hold, Hold::Held);
    world.restart();
    (0..100).for_each(|_| world.tick());
    assert_eq!(runs_again(&world).as_deref(), Some("v2"));
    let mutations = world.mutations;
    (0..100).for_each(|_| world.tick());
    assert_eq!(world.mutations, mutations);
}

#[test]
fn other_times_are_no_other_version() {
    let mut world = timed();
    world.cron = Some("@hourly".to_owned());
    world.merge("v1", Strategy::Job, Behaviour::Healthy);
    (0..10).for_each(|_| world.tick());
    assert_eq!(times(&world).unwrap()["schedule"], "@hourly");
    assert_eq!((made(&world), runs_again(&world).as_deref()), (1, Some("v1")));
    assert_eq!(world.kinds().iter().filter(|kind| **kind == "Applied").count(), 1);
}

#[test]
fn a_job_that_becomes_a_cron_is_another_version_and_back() {
    let mut world = ran();
    world.cron = Some("15 2 * * *".to_owned());
    world.merge("v2", Strategy::Job, Behaviour::Healthy);
    rest(&mut world, 60);
    assert_eq!(runs_again(&world).as_deref(), Some("v2"));
    world.cron = None;
    world.merge("v3", Strategy::Job, Behaviour::Healthy);
    rest(&mut world, 60);
    assert_eq!((runs_again(&world), world.stable_tag().as_deref()), (None, Some("v3")));
}

#[test]
fn a_cron_cut_at_every_write_ends_as_the_one_that_was_not() {
    for end in [JobEnd::Code(0), JobEnd::Code(3)] {
        let settled = timed();
        let play = |cut: Option<(u64, Cut)>| {
            let mut world = settled.clone();
            world.cut = cut;
            world.label = format!("{end:?} {cut:?}");
            world.ends.insert("run".into(), end);
            world.merge("v2", Strategy::Job, Behaviour::Healthy);
            rest(&mut world, 200);
            (0..20).for_each(|_| world.tick());
            world
        };
        let whole = play(None);
        for at in settled.mutations + 1..=whole.mutations {
            for cut in [Cut::Before, Cut::ReplyLost, Cut::After] {
                let found = play(Some((at, cut)));
                assert_eq!(found.fingerprint(), whole.fingerprint(), "{}", found.label);
                assert_eq!(runs_again(&found), runs_again(&whole), "{}", found.label);
            }
        }
    }
}

/// A world where v1 ran to its end.
fn ran() -> World {
    let mut world = World::new();
    world.merge("v1", Strategy::Job, Behaviour::Healthy);
    rest(&mut world, 60);
    world
}

/// Then v2 is merged, whose run ends so.
fn then(end: JobEnd) -> World {
    let mut world = ran();
    world.ends.insert("run".into(), end);
    world.merge("v2", Strategy::Job, Behaviour::Healthy);
    world
}

/// Ticks until no rollout runs and the head was seen, well or not.
fn rest(world: &mut World, seconds: u32) {
    let rests = |world: &World| {
        let seen = world.record.as_ref().and_then(|record| record.head.clone().map(|head| head.identity));
        let head = world.head.desired().map(|desired| desired.identity.clone());
        seen == head && world.record.as_ref().is_some_and(|record| record.rollout.is_none())
    };
    assert!(world.until(seconds, rests), "{}: {:?}", world.label, world.record);
    (0..5).for_each(|_| world.tick());
}

fn record(world: &World) -> &Record {
    world.record.as_ref().unwrap()
}

fn made(world: &World) -> u32 {
    world.creates.iter().filter(|(key, _)| key.contains(":Job:")).map(|(_, count)| *count).sum()
}

fn outcomes(world: &World) -> Vec<Outcome> {
    record(world).history.values().map(|summary| summary.outcome).collect()
}

fn runs(world: &World) -> bool {
    let rollout = record(world).rollout.as_ref();
    rollout.is_some_and(|rollout| rollout.stage.jobs.values().any(|run| run.started))
}

#[test]
fn a_version_runs_once_and_is_stable_when_it_completed() {
    let mut world = ran();
    assert_eq!((outcomes(&world), world.stable_tag().as_deref()), (vec![Outcome::Promoted], Some("v1")));
    assert_eq!((made(&world), world.job_names().len()), (1, 1), "it is left to be looked at");
    assert_eq!(record(&world).health, Health::Healthy);
    assert_eq!(record(&world).message, format!("commit {} ran to its end", record(&world).revision));
    assert!(!world.has_object("web"), "nothing serves");
    let mutations = world.mutations;
    (0..100).for_each(|_| world.tick());
    assert_eq!(world.mutations, mutations);
    world.delete_jobs();
    (0..100).for_each(|_| world.tick());
    assert_eq!(made(&world), 1, "what ran does not run again");
    world.merge("v2", Strategy::Job, Behaviour::Healthy);
    rest(&mut world, 60);
    assert_eq!((made(&world), world.stable_tag().as_deref()), (2, Some("v2")));
}

#[test]
fn a_run_that_fails_leaves_the_last_one_that_succeeded_and_waits_for_a_person() {
    let mut world = then(JobEnd::Code(3));
    rest(&mut world, 60);
    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::RolledBack]);
    let held = &record(&world).held[&2];
    let sentence = held.verdict.to_string();
    assert!(sentence.starts_with("job fail: its Job failed: pod pod-"), "{sentence}");
    assert!(sentence.ends_with("ended with code 3 (Error): the last words"), "{sentence}");
    assert_eq!((held.hold, record(&world).health), (Hold::Held, Health::Degraded));
    assert_eq!(world.stable_tag().as_deref(), Some("v1"));
    (0..2_000).for_each(|_| world.tick());
    assert_eq!(made(&world), 2, "held until a person retries");
    world.ends.clear();
    world.merge("v3", Strategy::Job, Behaviour::Healthy);
    rest(&mut world, 60);
    assert_eq!((world.stable_tag().as_deref(), record(&world).health), (Some("v3"), Health::Healthy));
    assert!(!record(&world).incident && world.kinds().contains(&"HealthyAgain"));
}

#[test]
fn a_first_run_that_fails_proves_no_version() {
    let mut world = World::new();
    world.ends.insert("run".into(), JobEnd::Code(1));
    world.merge("v1", Strategy::Job, Behaviour::Healthy);
    rest(&mut world, 60);
    assert_eq!(outcomes(&world), [Outcome::Failed]);
    assert!(record(&world).stable.is_none() && record(&world).phase == "Failed");
}

#[test]
fn a_run_that_never_started_proves_nothing() {
    let mut world = then(JobEnd::NeverStarts);
    assert!(world.until(600, |world| record(world).history.contains_key(&2)));
    assert_eq!(record(&world).held[&2].hold, Hold::Parked);
    let mut world = then(JobEnd::Hangs);
    assert!(world.until(100, |world| record(world).history.contains_key(&2)));
    let held = &record(&world).held[&2];
    assert_eq!(
        (held.hold, held.verdict.to_string()),
        (Hold::Held, "job fail: its Job did not end within 1m".into())
    );
}

#[test]
fn a_run_that_somebody_deletes_is_not_begun_again() {
    let mut world = then(JobEnd::Hangs);
    assert!(world.until(30, runs));
    world.delete_jobs();
    rest(&mut world, 60);
    assert_eq!((made(&world), record(&world).held[&2].hold), (2, Hold::Held));
}

#[test]
fn a_newer_version_waits_for_the_run_and_an_abort_ends_it() {
    let mut world = then(JobEnd::Hangs);
    assert!(world.until(30, runs));
    world.merge("v3", Strategy::Job, Behaviour::Healthy);
    (0..20).for_each(|_| world.tick());
    let rollout = record(&world).rollout.clone().unwrap();
    assert_eq!((rollout.number, rollout.phase), (2, Phase::Promoting));
    world.ends.clear();
    rest(&mut world, 60);
    assert_eq!(world.stable_tag().as_deref(), Some("v3"));
    let mut world = then(JobEnd::Hangs);
    assert!(world.until(30, runs));
    tell(&mut world, Verb::Abort);
    rest(&mut world, 60);
    assert_eq!(outcomes(&world), [Outcome::Promoted, Outcome::Aborted]);
    assert_eq!(world.job_names(), Vec::<String>::new(), "what still ran was ended");
}

#[test]
fn a_service_does_not_turn_into_a_job_under_its_own_objects() {
    let mut world = ran();
    world.merge("v2", Strategy::Rolling, Behaviour::Healthy);
    rest(&mut world, 60);
    let reason = record(&world).held[&2].verdict.to_string();
    assert!(reason.contains("service.type was job and is service now"), "{reason}");
    assert!(!world.has_object("web"));
}

#[test]
fn wherever_the_daemon_dies_the_job_runs_once() {
    for end in [JobEnd::Code(0), JobEnd::Code(3)] {
        let mut whole = then(end);
        let first = whole.mutations;
        rest(&mut whole, 100);
        for at in first + 1..=whole.mutations {
            for cut in [Cut::Before, Cut::ReplyLost, Cut::After] {
                let mut world = then(end);
                world.label = format!("{end:?} {at} {cut:?}");
                world.cut = Some((at, cut));
                rest(&mut world, 100);
                assert_eq!((made(&world), outcomes(&world)), (2, outcomes(&whole)), "{}", world.label);
                assert_eq!(world.job_names(), whole.job_names(), "{}", world.label);
            }
        }
    }
}

#[test]
fn a_record_that_is_lost_runs_nothing_twice() {
    for lost_at in 0..14 {
        let mut world = then(JobEnd::Code(0));
        (0..lost_at).for_each(|_| world.tick());
        world.record = None;
        world.restart();
        world.transitions.clear();
        rest(&mut world, 200);
        assert_eq!((made(&world), world.stable_tag().as_deref()), (2, Some("v2")), "lost after {lost_at} s");
    }
}
