//! Whose a service is: the first source's, and an object that somebody else made is not taken.

use idp::model::record::Health;
use idp::model::rollout::{Hold, Outcome};
use kube::api::PostParams;
use serde_json::json;

use super::world::{NAMESPACE, Setup, World, declaration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_source_is_refused_and_the_owner_goes_on() {
    let mut world = World::deployed(Setup { second_source: true, ..Setup::default() }).await;
    let second = world.second.as_mut().unwrap();
    second.put(".idp/deploy.yaml", declaration("web").replace("replicas: 3", "replicas: 1"));
    second.put("src/main", "theirs");
    let theirs = second.write("mine now");
    world.sandbox.registry().push_as("shop/web", &theirs, "healthy");
    world.second.as_ref().unwrap().merge();

    let refused =
        |problem: &String| problem.contains("web.production") && problem.contains("belongs to source web");
    let said = async || world.source_problems("other").await.into_iter().find(refused);
    world.find("the second source says that it is refused", said).await;

    let mine = world.merge("two", "healthy");
    world.ends(2, Outcome::Promoted).await;
    assert_eq!(world.image().await, world.image_of(&mine));
    world.is_sound(1).await;

    // A new process hears the two in any order.
    world.restart().await;
    world.until("taken over", |record| record.epoch > 1 || record.health == Health::Healthy).await;
    let mine = world.merge("three", "healthy");
    world.ends(3, Outcome::Promoted).await;
    assert_eq!(world.image().await, world.image_of(&mine));
    let record = world.record().await;
    assert_eq!((record.source.as_str(), record.replicas), ("web", 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_not_ours_is_refused_and_left_alone() {
    let mut world = World::start(Setup::default()).await;
    world.make_namespace().await;
    let labels = json!({"app": "theirs"});
    let foreign = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "theirs:v1"}]}},
        },
    });
    let foreign = serde_json::from_value(foreign).unwrap();
    let made = world.deployments().create(&PostParams::default(), &foreign).await.unwrap();
    world.repository.put(".idp/deploy.yaml", declaration("web"));
    world.merge("one", "healthy");
    let summary = world.ends(1, Outcome::Failed).await;
    assert!(
        summary.verdict.contains("Deployment shop-production/web") && summary.verdict.contains("adopt"),
        "{}",
        summary.verdict
    );
    let record = world.record().await;
    assert_eq!(record.held[&1].hold, Hold::Parked);
    let after = world.deployments().get("web").await.unwrap();
    assert_eq!(
        (after.metadata.uid, after.metadata.generation),
        (made.metadata.uid, made.metadata.generation)
    );
    assert_eq!(after.data["spec"], made.data["spec"]);
    assert_eq!(world.ledger.ever_named("Service", "web"), 0, "nothing of it was written");

    // Its owner takes it away: a person says so, and it goes on.
    world.deployments().delete("web", &kube::api::DeleteParams::background()).await.unwrap();
    world.command("web", "again", "retry").await;
    world.ends(2, Outcome::Promoted).await;
}
