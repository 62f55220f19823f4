//! A repository with many services, all of them touched by one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;
use idp::cluster::crd;
use idp::model::record::Record;
use idp::model::rollout::Phase;
use kube::api::{Api, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};

use super::world::{NAMESPACE, Setup, World};

const SERVICES: usize = 300;
const LIMIT: usize = 10;

/// The declaration of a service that is watched for a moment only.
fn declaration(service: usize) -> String {
    format!(
        "service: {{name: s{service}, team: shop, paths: [../../lib]}}\nworkload: {{replicas: 1}}\n\
         deploy: {{healthcheck: {{path: /health, interval: 150ms, timeout: 140ms, threshold: 20}}, rollback: {{window: 1s}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_touches_many_services_rolls_ten_at_a_time_and_all_of_them() {
    let mut world =
        World::new(Setup { environment: "    max_concurrent_rollouts: 10\n", ..Setup::default() }).await;
    for service in 0..SERVICES {
        world.repository.put(&format!("services/s{service}/.idp/deploy.yaml"), declaration(service));
    }
    world.repository.put("lib/shared", "one");
    let commit = world.repository.write("all of them");
    for service in 0..SERVICES {
        world.sandbox.registry().push_as(&format!("shop/s{service}"), &commit, "healthy");
    }
    world.repository.merge();
    world.start_daemon().await;
    world.seen(&commit).await;
    assert_eq!(world.source_problems("web").await, Vec::<String>::new());

    let client = world.sandbox.server().client_as("test");
    let api: Api<DynamicObject> = Api::namespaced_with(client, NAMESPACE, &crd::resource());
    let changes = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
    let mut changes = std::pin::pin!(changes);
    let (mut rolling, mut waited) = (BTreeSet::new(), BTreeSet::new());
    let (mut most, mut shown) = (0, 0);
    let mut stable: BTreeMap<String, Record> = BTreeMap::new();
    let watch = async {
        while stable.len() < SERVICES {
            let Some(Ok(object)) = changes.next().await else { continue };
            let name = object.metadata.name.unwrap();
            let Ok(record) = serde_json::from_value::<Record>(object.data["status"].clone()) else {
                continue;
            };
            let phase = record.rollout.as_ref().map(|rollout| rollout.phase);
            if phase.is_some_and(|phase| phase != Phase::Preparing) {
                rolling.insert(name.clone());
            } else {
                rolling.remove(&name);
            }
            most = most.max(rolling.len());
            assert!(most <= LIMIT, "{rolling:?} at one time");
            let waits = record.message.contains("waiting for a slot: max_concurrent_rollouts");
            if waits && waited.insert(name.clone()) && waited.len() % 8 == 0 {
                let metrics = world.daemon.as_ref().unwrap().metrics.render();
                let preparing = metrics.lines().filter(|line| line.contains("phase=\"Preparing\"")).count();
                shown = shown.max(preparing);
            }
            if record.stable.is_some() && phase.is_none() {
                stable.insert(name, record);
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_mins(10), watch).await;
    assert!(ended.is_ok(), "{} of {SERVICES} ended", stable.len());
    assert_eq!(most, LIMIT, "as many as may do");
    assert!(waited.len() > SERVICES / 2 && shown > LIMIT, "{} waited, {shown} in the metrics", waited.len());
    for (name, record) in &stable {
        let stable = record.stable.as_ref().unwrap();
        assert_eq!((record.rollouts, stable.version.revision.commit.as_str()), (1, &*commit), "{name}");
        assert_eq!(stable.version.image.tag.as_deref(), Some(&*commit), "{name}");
        assert_eq!(stable.changes.commits.len(), 1, "{name}: the commit that brought it");
    }
}
