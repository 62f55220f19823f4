//! The daemon is killed again and again at its writes, before and after their effect, and started anew each time: the same end, the
//! same events, nothing twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use idp::model::rollout::Outcome;
use idp::sandbox::Fault;
use tokio_util::sync::CancellationToken;

use super::process::AGENT;
use super::world::{FIRST, GOOD, ROLLED_BACK, Setup, World};

/// How a series of kills goes: each life of the daemon ends at its `write`-th write (counted from 1; leases and Kubernetes events
/// left out), for `lives` lives.
#[derive(Clone, Copy)]
pub struct Kills {
    pub lives: u64,
    pub write: u64,
    pub after_effect: bool,
}

/// Makes a change and lets its rollout run under kills, until it ended; returns the commit.
pub async fn under_kills(
    world: &mut World,
    (number, wanted): (u64, Outcome),
    kills: Kills,
    (content, behaviour): (&str, &str),
) -> String {
    let mut token = arm(world, kills);
    let commit = world.merge(content, behaviour);
    for _ in 0..kills.lives {
        // At first there is not even a record.
        let ended = async || world.release("web").await?.1.history.contains_key(&number).then_some(());
        let over = tokio::select! {
            () = token.cancelled() => false,
            () = world.find("the rollout ends", ended) => true,
        };
        world.kill();
        world.sandbox.server().clear_faults();
        world.expire_lease().await;
        world.start_daemon().await;
        if over {
            break;
        }
        token = arm(world, kills);
    }
    world.sandbox.server().clear_faults();
    world.ends(number, wanted).await;
    commit
}

/// Sets the trap for the present life. The server stops answering it from then on: the dead do not write.
fn arm(world: &World, kills: Kills) -> CancellationToken {
    let token = CancellationToken::new();
    let (trap, count) = (token.clone(), Arc::new(AtomicU64::new(0)));
    world.sandbox.server().inject(move |request| {
        if request.user_agent != AGENT {
            return None;
        }
        if trap.is_cancelled() {
            return Some(Fault::Hang);
        }
        if !request.verb.is_mutating()
            || matches!(request.kind.as_str(), "Lease" | "Event" | "Namespace" | "CustomResourceDefinition")
        {
            return None;
        }
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        (number == kills.write).then(|| Fault::Kill { token: trap.clone(), after_effect: kills.after_effect })
    });
    token
}

async fn good_and_bad(kills: Kills) {
    let mut world = World::deployed(Setup::default()).await;
    let good = under_kills(&mut world, (2, Outcome::Promoted), kills, ("two", "healthy")).await;
    under_kills(&mut world, (3, Outcome::RolledBack), kills, ("three", "crash")).await;
    world.is_sound(2).await;
    assert_eq!(world.image().await, world.image_of(&good));
    assert_eq!(world.all_events().await, [FIRST.as_slice(), &GOOD, &ROLLED_BACK].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_effect_of_every_write() {
    good_and_bad(Kills { lives: 40, write: 1, after_effect: true }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_effect_of_every_second_write() {
    good_and_bad(Kills { lives: 20, write: 2, after_effect: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_effect_of_every_third_write() {
    good_and_bad(Kills { lives: 15, write: 3, after_effect: false }).await;
}

/// The very first deploy: the record itself does not exist yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_a_first_deploy() {
    let mut world = World::start(Setup::default()).await;
    world.repository.put(".idp/deploy.yaml", super::world::declaration("web"));
    let kills = Kills { lives: 20, write: 1, after_effect: true };
    let first = under_kills(&mut world, (1, Outcome::Promoted), kills, ("one", "healthy")).await;
    assert_eq!(world.image().await, world.image_of(&first));
    assert_eq!(world.ledger.ever_named("Deployment", "web"), 1);
    assert_eq!(world.ledger.ever_named("Service", "web"), 1);
    assert_eq!(world.ledger.ever_named("Release", "web"), 1);
    assert_eq!(world.all_events().await, FIRST);
}
