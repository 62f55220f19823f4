//! Two services of one group, each on a toy cluster of its own, told of each other as the daemon does.

use std::time::Duration;

use super::world::{Behaviour, World};
use crate::model::command::{Command, Verb};
use crate::model::image::ImageState;
use crate::model::policy::{Step, Strategy};
use crate::model::rollout::{Outcome, Place};
use crate::model::standing::{Run, Seen, Standing, Tried};

const WEB: usize = 0;
const USERS: usize = 1;
const NAMES: [&str; 2] = ["web", "users"];

struct Group {
    worlds: Vec<World>,
    /// The daemon was started anew and has not looked at the other yet.
    unseen: bool,
}

impl Group {
    /// Both have a stable version v1.
    fn new() -> Self {
        let world = || {
            let mut world = World::new();
            world.merge("v1", Strategy::Canary, Behaviour::Healthy);
            world.settle(200);
            world
        };
        Self { worlds: vec![world(), world()], unseen: false }
    }

    fn merge(&mut self, who: usize, tag: &str, behaviour: Behaviour) {
        self.worlds[who].merge(tag, Strategy::Canary, behaviour);
        let policy = &mut self.worlds[who].desired_mut().policy;
        policy.order.group = Some("shop".parse().unwrap());
        policy.steps = [10, 50, 100].map(|weight| Step::timed(weight, Duration::from_secs(4))).to_vec();
    }

    fn standing(&self, who: usize) -> Standing {
        let world = &self.worlds[who];
        Standing {
            head: world.head.desired().map(Tried::wanted),
            record: world.record.as_ref().map(Seen::of),
            follows: true,
            ..Standing::default()
        }
    }

    fn tick(&mut self) {
        for who in [WEB, USERS] {
            let mate = self.standing(1 - who);
            let around = &mut self.worlds[who].around;
            around.mates.clear();
            if !self.unseen {
                around.mates.insert(NAMES[1 - who].parse().unwrap(), mate);
            }
            self.worlds[who].tick();
        }
        let places = [WEB, USERS].map(|who| self.place(who));
        let apart = places.iter().flatten().count() == 2 && places.contains(&Some(Place::Before));
        assert!(!apart || !places.contains(&Some(Place::Share(50))), "{places:?}");
    }

    fn until(&mut self, seconds: u32, done: impl Fn(&Self) -> bool) -> bool {
        (0..seconds).any(|_| {
            self.tick();
            done(self)
        })
    }

    fn wait(&mut self, seconds: u32) {
        self.until(seconds, |_| false);
    }

    fn place(&self, who: usize) -> Option<Place> {
        let rollout = self.worlds[who].record.as_ref()?.rollout.as_ref()?;
        Some(Run::of(rollout).reached).filter(|_| rollout.ending.is_none())
    }

    fn stable(&self, who: usize) -> Option<String> {
        self.worlds[who].stable_tag()
    }

    fn message(&self, who: usize) -> &str {
        &self.worlds[who].record.as_ref().unwrap().message
    }

    fn say(&mut self, who: usize, verb: Verb, full: bool) {
        let world = &mut self.worlds[who];
        let command = Command { full, ..Command::new(verb, "ann", "", world.now) };
        let id = format!("c{}", world.commands.len());
        world.commands.insert(id.clone(), command);
        self.tick();
        let answer = &self.worlds[who].record.as_ref().unwrap().commands[&id];
        assert!(answer.accepted, "{}", answer.message);
    }

    fn outcomes(&self, who: usize) -> Vec<Outcome> {
        self.worlds[who].record.as_ref().unwrap().history.values().map(|summary| summary.outcome).collect()
    }
}

/// Both have begun the rollout of a version v2.
fn rolling(web: Behaviour, users: Behaviour) -> Group {
    let mut group = Group::new();
    group.merge(WEB, "v2", web);
    group.merge(USERS, "v2", users);
    group
}

#[test]
fn none_starts_before_all_can_and_none_ends_before_all_are_proven() {
    let mut group = rolling(Behaviour::Healthy, Behaviour::Healthy);
    let image = group.worlds[USERS].images.insert(
        crate::model::desired::Identity("1-v2".to_owned()),
        ImageState::Absent { reason: "not pushed".to_owned() },
    );
    group.wait(30);
    assert_eq!(group.message(WEB), "waiting for its group: users of group shop has not started");
    assert!(!group.worlds[WEB].has_object("web-canary"));
    let identity = crate::model::desired::Identity("1-v2".to_owned());
    group.worlds[USERS].images.insert(identity, image.unwrap());
    let mut seen = Vec::new();
    for _ in 0..300 {
        group.tick();
        let now = (group.place(WEB), group.place(USERS));
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!((group.stable(WEB).as_deref(), group.stable(USERS).as_deref()), (Some("v2"), Some("v2")));
    // Each is at most one place ahead of the other.
    let way = [Place::Before, Place::Share(10), Place::Share(50), Place::Promotion];
    let index = |place: Option<Place>| {
        place.map_or(way.len(), |place| way.iter().position(|it| *it == place).unwrap())
    };
    for (web, users) in seen {
        assert!(index(web).abs_diff(index(users)) <= 1, "{web:?} {users:?}");
    }
}

#[test]
fn what_is_taken_back_takes_the_others_back_and_its_fix_brings_them_again() {
    let mut group = rolling(Behaviour::Healthy, Behaviour::Crash);
    assert!(group.until(300, |group| group.outcomes(WEB).len() == 2), "{}", group.message(WEB));
    group.wait(60);
    assert_eq!(group.outcomes(WEB)[1], Outcome::RolledBack);
    assert_eq!(group.outcomes(USERS)[1], Outcome::RolledBack);
    assert_eq!((group.stable(WEB).as_deref(), group.stable(USERS).as_deref()), (Some("v1"), Some("v1")));
    let record = group.worlds[WEB].record.as_ref().unwrap();
    assert!(record.held.is_empty(), "nothing is held against the version that only went along");
    let waits = "waiting for its group: users of group shop ended as RolledBack with commit ";
    assert!(group.message(WEB).starts_with(waits), "{}", group.message(WEB));
    assert!(!group.worlds[WEB].has_object("web-canary"));

    group.merge(USERS, "v3", Behaviour::Healthy);
    assert!(
        group.until(300, |group| group.stable(USERS).as_deref() == Some("v3")),
        "{}",
        group.message(USERS)
    );
    group.wait(60);
    assert_eq!(group.stable(WEB).as_deref(), Some("v2"), "{}", group.message(WEB));
}

#[test]
fn one_that_a_person_pauses_or_aborts_is_waited_for_and_followed() {
    let mut group = rolling(Behaviour::Healthy, Behaviour::Healthy);
    assert!(group.until(60, |group| group.place(USERS) == Some(Place::Share(10))));
    group.say(USERS, Verb::Pause, false);
    group.wait(600);
    assert!(group.place(WEB) <= Some(Place::Share(50)), "{:?}", group.place(WEB));
    assert!(
        group.message(WEB).contains("waiting for its group: users of group shop is at"),
        "{}",
        group.message(WEB)
    );
    group.say(USERS, Verb::Abort, false);
    group.wait(120);
    assert_eq!(group.outcomes(WEB)[1..], [Outcome::RolledBack]);
    assert_eq!(group.stable(WEB).as_deref(), Some("v1"));
}

#[test]
fn who_has_nothing_to_roll_out_keeps_nobody() {
    let mut group = Group::new();
    group.merge(WEB, "v2", Behaviour::Healthy);
    assert!(group.until(200, |group| group.stable(WEB).as_deref() == Some("v2")), "{}", group.message(WEB));
}

#[test]
fn a_person_may_let_one_go_alone() {
    let mut group = rolling(Behaviour::Healthy, Behaviour::Healthy);
    group.worlds[USERS].suspended = true;
    group.wait(100);
    assert!(group.message(WEB).ends_with("is about to start commit 0000000000"), "{}", group.message(WEB));
    group.say(WEB, Verb::Promote, true);
    assert!(group.until(200, |group| group.stable(WEB).as_deref() == Some("v2")), "{}", group.message(WEB));
    assert_eq!(group.stable(USERS).as_deref(), Some("v1"));
}

#[test]
fn a_daemon_that_was_started_anew_waits_until_it_has_seen_the_others() {
    let mut group = rolling(Behaviour::Healthy, Behaviour::Healthy);
    assert!(group.until(60, |group| group.place(WEB) == Some(Place::Share(10))));
    group.unseen = true;
    group.worlds[WEB].restart();
    group.wait(120);
    assert_eq!(group.place(WEB), Some(Place::Share(10)));
    assert!(
        group.message(WEB).ends_with("users of group shop has not been looked at yet"),
        "{}",
        group.message(WEB)
    );
    group.unseen = false;
    group.wait(200);
    assert_eq!((group.stable(WEB).as_deref(), group.stable(USERS).as_deref()), (Some("v2"), Some("v2")));
}

#[test]
fn a_group_gets_its_places_together_and_nobody_waits_for_ever() {
    let mut group = rolling(Behaviour::Healthy, Behaviour::Healthy);
    group.worlds[USERS].slot = false;
    group.wait(300);
    assert_eq!((group.stable(WEB).as_deref(), group.stable(USERS).as_deref()), (Some("v2"), Some("v2")));

    let mut group = rolling(Behaviour::Healthy, Behaviour::Healthy);
    group.worlds[USERS].suspended = true;
    group.wait(10);
    group.worlds[WEB].now += Duration::from_hours(25);
    group.wait(10);
    assert_eq!(group.outcomes(WEB)[1..], [Outcome::Failed]);
    let held = group.worlds[WEB].record.as_ref().unwrap().held.values().next().unwrap();
    assert!(held.verdict.reason.starts_with("users of group shop is about to start"), "{}", held.verdict);
}
