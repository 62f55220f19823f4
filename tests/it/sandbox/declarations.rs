//! Declarations that vanish, or cannot be read: what runs stays, the reason shows, and the others go on.

use std::fmt::Write as _;

use idp::model::record::{Health, Record, Sync};
use idp::model::rollout::Outcome;

use super::world::{Setup, World, declaration};
use crate::lease::HOME;

/// Everything that may not change while a declaration is away: the Deployment's UID and generation, and the image.
async fn standing(world: &World) -> (String, i64, String) {
    let stable = world.deployments().get("web").await.unwrap();
    (stable.metadata.uid.unwrap(), stable.metadata.generation.unwrap(), world.image().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declaration_that_vanishes_is_kept_and_reported() {
    let mut world = World::deployed(Setup::default()).await;
    let before = standing(&world).await;
    let declared = world.repository.file(".idp/deploy.yaml");

    world.repository.remove(".idp/deploy.yaml");
    world.merge("two", "healthy");
    let record = world.until("says so", |record| record.message.contains("no longer declares")).await;
    assert_eq!((record.health, record.rollouts), (Health::Healthy, 1));
    assert_ne!(record.sync, Sync::Synced);
    let lost =
        async || world.source_problems("web").await.into_iter().find(|p| p.contains("no longer declares"));
    world.find("the source says so", lost).await;

    // A daemon that was not there when it vanished.
    world.restart().await;
    let said = |record: &Record| {
        record.epoch > 1 && record.message.contains("does not declare it") && record.sync == Sync::Invalid
    };
    world.until("still says so", said).await;
    assert_eq!(standing(&world).await, before, "nothing was touched");
    world.is_sound(0).await;

    world.repository.put(".idp/deploy.yaml", declared);
    world.merge("three", "healthy");
    world.ends(2, Outcome::Promoted).await;
    world.is_sound(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_disappears_takes_nothing_with_it() {
    let mut world = World::deployed(Setup::default()).await;
    let before = standing(&world).await;
    world.repository.delete_branch();
    let record = world.until("says so", |record| record.message.contains("main")).await;
    assert_ne!(record.sync, Sync::Synced);
    let lost =
        async || world.source_problems("web").await.into_iter().find(|problem| problem.contains("main"));
    world.find("the source says so", lost).await;
    assert_eq!(standing(&world).await, before);
    world.merge("two", "healthy");
    world.ends(2, Outcome::Promoted).await;
    world.is_sound(1).await;
}

fn alias_bomb() -> String {
    let mut bomb =
        String::from("service: {name: web, team: shop}\nx-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let row = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "x-{level}: &a{level} [{row}]").unwrap();
    }
    bomb
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_hurts_its_own_service_only() {
    let mut world = World::start(Setup::default()).await;
    let (web, api) = ("services/web/.idp/deploy.yaml", "services/api/.idp/deploy.yaml");
    let good = declaration("web");
    world.repository.put(web, good.clone());
    world.repository.put(api, declaration("api"));
    world.repository.put("services/web/main", "one");
    world.repository.put("services/api/main", "one");
    world.push("healthy");
    world.ends(1, Outcome::Promoted).await;
    world.until_of("api", "deployed", |record| record.stable.is_some()).await;
    let before = standing(&world).await;

    let hostile = [
        ("an alias bomb", alias_bomb().into_bytes()),
        ("a NUL", good.replace("replicas: 3", "replicas: \0").into_bytes()),
        ("a key twice", good.replace("  replicas: 3", "  replicas: 3\n  replicas: 4").into_bytes()),
        (
            "nested too deep",
            format!("service: {{name: web, team: shop}}\nx-deep: {}", "[".repeat(5000)).into_bytes(),
        ),
        ("more than a mebibyte", format!("{good}# {}", "x".repeat(1 << 20)).into_bytes()),
        ("no text", vec![0xff, 0xfe, 0x00, 0x80]),
    ];
    for (number, (what, bytes)) in hostile.into_iter().enumerate() {
        world.repository.put(web, bytes);
        world.repository.put("services/web/main", what);
        world.repository.put("services/api/main", what);
        world.push("healthy");
        let is_invalid = |record: &Record| {
            let said = record.conditions.iter().any(|c| c.kind == "Synced" && c.status == "False");
            record.sync == Sync::Invalid && record.message.contains(web) && said
        };
        let record = world.until(&format!("Invalid by {what}"), is_invalid).await;
        assert_eq!((record.rollouts, record.health), (1, Health::Healthy), "{what}: {}", record.message);
        let wanted = number as u64 + 2;
        world
            .until_of("api", "goes on", |record| record.stable.as_ref().is_some_and(|s| s.rollout == wanted))
            .await;
        world.repository.put(web, good.clone());
        world.repository.put("services/web/main", "one");
        world.push("healthy");
        world.until(&format!("Synced after {what}"), |record| record.sync == Sync::Synced).await;
    }
    // It breaks while nobody looks.
    world.kill();
    world.repository.put(web, "{{{");
    world.push("healthy");
    world.restart().await;
    let is_invalid = |record: &Record| record.sync == Sync::Invalid && record.message.contains(web);
    world.until("Invalid for a new process", is_invalid).await;
    world.repository.put(web, good);
    world.push("healthy");
    world.until("Synced at last", |record| record.sync == Sync::Synced).await;
    assert_eq!(standing(&world).await, before, "the running version was not touched");
    let problems = async || world.source_problems("web").await.is_empty().then_some(());
    world.find("no problem is left", problems).await;
}

/// It has no `Release` to show itself on: it shows on its source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_name_its_service_shows_on_its_source() {
    let mut world = World::start(Setup::default()).await;
    let path = "services/nobody/.idp/deploy.yaml";
    world.repository.put(path, "{{{ no yaml");
    world.repository.put(".idp/deploy.yaml", declaration("web"));
    world.merge("one", "healthy");
    let named =
        async || world.source_problems("web").await.into_iter().find(|problem| problem.contains(path));
    world.find("the source's ConfigMap says so", named).await;
    let events = world.api("v1", "Event", HOME);
    let event = async || {
        let events = events.list(&kube::api::ListParams::default()).await.unwrap();
        events.into_iter().find(|event| {
            event.data["reason"] == "SourceProblem"
                && event.data["involvedObject"]["name"] == "idp-source-web"
                && event.data["message"].as_str().is_some_and(|message| message.contains(path))
        })
    };
    world.find("a Kubernetes event says so", event).await;
    world.ends(1, Outcome::Promoted).await;
}
