//! Foreign edits of our objects are put back, and said.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::world::{NAMESPACE, RELEASE, Setup, World};

/// Waits until that many corrections were told.
async fn corrected(world: &mut World, times: usize) {
    let mut broker = world.broker.take().unwrap();
    let told = async || {
        (broker.types(RELEASE).iter().filter(|kind| *kind == "idp-drift.corrected").count() >= times)
            .then_some(())
    };
    world.find("the correction is told", told).await;
    world.broker = Some(broker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_change_by_hand_is_put_back() {
    let mut world = World::deployed(Setup::default()).await;
    let image = world.image().await;
    let kubectl = PatchParams { field_manager: Some("kubectl".to_owned()), ..PatchParams::default() };
    let replicas = |object: &kube::api::DynamicObject| object.data["spec"]["replicas"].as_u64();

    world
        .deployments()
        .patch("web", &kubectl, &Patch::Merge(json!({"spec": {"replicas": 5}})))
        .await
        .unwrap();
    let back = async || (replicas(&world.deployments().get("web").await.unwrap()) == Some(3)).then_some(());
    world.find("the replicas are put back", back).await;
    corrected(&mut world, 1).await;

    let container = json!([{"name": "app", "image": "somebody/elses:v1"}]);
    let template = json!({"spec": {"template": {"spec": {"containers": container}}}});
    world.deployments().patch("web", &kubectl, &Patch::Strategic(template)).await.unwrap();
    let back = async || (world.image().await == image).then_some(());
    world.find("the template is put back", back).await;
    corrected(&mut world, 2).await;

    let services = world.api("v1", "Service", NAMESPACE);
    let before = services.get("web").await.unwrap();
    services.delete("web", &DeleteParams::background()).await.unwrap();
    let back = async || services.get_opt("web").await.unwrap();
    let after = world.find("the Service is made again", back).await;
    assert_eq!(after.data["spec"]["selector"], before.data["spec"]["selector"]);
    corrected(&mut world, 3).await;

    services
        .patch("web", &kubectl, &Patch::Merge(json!({"spec": {"selector": {"app": "nobody"}}})))
        .await
        .unwrap();
    let selector = async || {
        let service = services.get("web").await.unwrap();
        (service.data["spec"]["selector"]["idp.dev/release"] == RELEASE).then_some(service)
    };
    world.find("the selector is put back", selector).await;
    corrected(&mut world, 4).await;
    let record = world.until("nothing is drifted", |record| record.drifted.is_empty()).await;
    assert_eq!(record.rollouts, 1, "and no rollout was needed");
    world.all_events().await;
}
