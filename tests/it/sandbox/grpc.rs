//! A service that speaks gRPC: kubelet and the gate ask `grpc.health.v1`.

use idp::model::rollout::{Hold, Outcome};
use idp::model::verdict::Gate;

use super::world::{Setup, World, declaration};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_is_asked_over_grpc() {
    let mut world = World::start(Setup::default()).await;
    let text = declaration("web")
        .replace("    path: /health\n", "    type: grpc\n")
        .replace("threshold: 20", "threshold: 3");
    world.repository.put(".idp/deploy.yaml", text.as_str());
    world.merge("one", "grpc");
    world.ends(1, Outcome::Promoted).await;
    world.merge("two", "grpc.v2");
    world.ends(2, Outcome::Promoted).await;

    // Kubelet asks something else, so that the pod is ready and the gate's own check tells.
    let text = text.replace("  replicas: 3\n", "  replicas: 3\n  probe: {port: 8080}\n");
    world.repository.put(".idp/deploy.yaml", text.as_str());
    world.merge("three", "grpc.health-fail");
    let summary = world.ends(3, Outcome::RolledBack).await;
    let record = world.record().await;
    assert_eq!((record.held[&3].hold, record.held[&3].verdict.gate), (Hold::Held, Gate::HealthCheck));
    assert!(summary.verdict.contains("NOT_SERVING"), "{}", summary.verdict);
    world.merge("four", "healthy");
    let summary = world.ends(4, Outcome::RolledBack).await;
    assert!(summary.verdict.contains("no gRPC answer"), "{}", summary.verdict);
}
