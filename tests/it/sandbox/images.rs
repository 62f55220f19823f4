//! Images that come late, or never, and registries that do not answer.

use idp::model::rollout::{Hold, Outcome};
use idp::model::verdict::Gate;
use idp::sandbox::RegistryFault;

use super::world::{Setup, World, declaration};

/// The first version of the service, and then one whose image nobody has pushed; returns its commit.
async fn waiting(world: &mut World, wait: &str) -> String {
    let text = format!("{}image:\n  wait: {wait}\n", declaration("web"));
    world.repository.put(".idp/deploy.yaml", text);
    world.merge("one", "healthy");
    world.ends(1, Outcome::Promoted).await;
    world.ledger.count_ready_from_now();
    world.repository.put("src/main", "two");
    let commit = world.repository.write("two");
    world.repository.merge();
    world.until("waits and says so", |record| record.message.contains("waiting for its image")).await;
    commit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_never_comes_parks_its_version_until_a_person_says_retry() {
    let mut world = World::start(Setup::default()).await;
    let commit = waiting(&mut world, "1500ms").await;
    let summary = world.ends(2, Outcome::Failed).await;
    assert!(summary.verdict.contains("no image after"), "{}", summary.verdict);
    let record = world.record().await;
    let parked = &record.held[&2];
    assert_eq!((parked.hold, parked.verdict.gate, parked.times), (Hold::Parked, Gate::Image, 1));
    assert!(parked.not_before.is_some(), "it is tried again by itself, later");
    assert_eq!(world.ledger.ever_named("Deployment", "web-canary"), 0, "no pod before the image is known");

    // It comes: not before the back-off by itself, at once when a person says so.
    world.sandbox.registry().push_as("shop/web", &commit, "healthy");
    world.command("web", "again", "retry").await;
    world.ends(3, Outcome::Promoted).await;
    assert_eq!(world.image().await, world.image_of(&commit));
    world.is_sound(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_comes_late_is_rolled_out() {
    let mut world = World::start(Setup::default()).await;
    let commit = waiting(&mut world, "1h").await;
    world.sandbox.registry().push_as("shop/web", &commit, "healthy");
    world.ends(2, Outcome::Promoted).await;
    assert_eq!(world.image().await, world.image_of(&commit));
    world.is_sound(1).await;
}

/// No answer is not "no image": it is waited for beyond `image.wait`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_fails_is_waited_for() {
    let mut world = World::start(Setup::default()).await;
    let text = format!("{}image:\n  wait: 1s\n", declaration("web"));
    world.repository.put(".idp/deploy.yaml", text);
    world.merge("one", "healthy");
    world.ends(1, Outcome::Promoted).await;
    world.sandbox.registry().set_fault(Some(RegistryFault::Status(503)));
    let commit = world.merge("two", "healthy");
    let asked = world.sandbox.registry().requests().len();
    let again = async || (world.sandbox.registry().requests().len() > asked + 2).then_some(());
    world.find("it is asked again and again", again).await;
    let record = world.record().await;
    assert!(record.rollout.is_some(), "it still waits: {}", record.message);
    world.sandbox.registry().set_fault(None);
    world.ends(2, Outcome::Promoted).await;
    assert_eq!(world.image().await, world.image_of(&commit));
}
