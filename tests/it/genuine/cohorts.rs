//! Cohorts on a genuine API server: who sends a header or a cookie gets the candidate, and the team's route has at each moment exactly what
//! it is to have, and in the end what it had.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use idp::cluster::raw::resource;
use idp::model::record::Record;
use idp::model::rollout::Outcome;
use idp::sandbox::gateway::Gateway;
use kube::api::{Api, DynamicObject, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::SOON;
use super::account::Account;
use super::daemon::{Daemon, Setup};
use super::ground::Ground;
use super::routes::define;
use super::service::{NAMESPACE, Service};
use crate::stack::{kafka, require, until};

const GATEWAY_API: (&str, &str) = ("gateway.networking.k8s.io/v1", "HTTPRoute");
const ISTIO: (&str, &str) = ("networking.istio.io/v1", "VirtualService");

fn declaration(name: &str, cohort: &str) -> String {
    format!(
        r#"service: {{name: {name}, team: shop}}
workload: {{replicas: 2}}
deploy:
  strategy: canary
  canary:
    - {{weight: 0, pause: 3s, match: {cohort}}}
    - {{weight: 50, pause: 2s}}
    - {{weight: 100, pause: 1s}}
  healthcheck: {{path: /healthz, interval: 500ms, timeout: 450ms, threshold: 30}}
  rollback: {{on_restarts: ">0", on_error_rate: ">5%", window: 1s}}
"#
    )
}

/// A route, who sends by it, and what its `spec` ever was.
struct Edge {
    kind: (&'static str, &'static str),
    /// Makes the rules: with these weights of stable and candidate, and a rule for the cohort before them.
    spec: fn(Option<(u8, u8)>, bool) -> Value,
    cohort: &'static str,
    header: (&'static str, &'static str),
}

fn http_route(weights: Option<(u8, u8)>, cohort: bool) -> Value {
    let whole = json!([{"name": "books", "port": 8080}]);
    let split = |stable: u8, canary: u8| json!([{"name": "books-stable", "port": 8080, "weight": stable}, {"name": "books-canary", "port": 8080, "weight": canary}]);
    let path = json!({"type": "PathPrefix", "value": "/"});
    let backends = weights.map_or(whole, |(stable, canary)| split(stable, canary));
    let own = json!({"matches": [{"path": path}], "timeouts": {"request": "3s"}, "backendRefs": backends});
    let narrowed =
        json!([{"path": path, "headers": [{"type": "Exact", "name": "x-tester", "value": "yes"}]}]);
    let theirs = json!({"matches": narrowed, "timeouts": {"request": "3s"}, "backendRefs": split(0, 100)});
    let rules = if cohort { json!([theirs, own]) } else { json!([own]) };
    json!({"parentRefs": [{"name": "gate"}], "rules": rules})
}

fn virtual_service(weights: Option<(u8, u8)>, cohort: bool) -> Value {
    let whole = json!([{"destination": {"host": "films"}}]);
    let to = |track: &str, weight: u8| json!({"destination": {"host": "films", "subset": track}, "weight": weight});
    let split = |stable: u8, canary: u8| json!([to("stable", stable), to("canary", canary)]);
    let route = weights.map_or(whole, |(stable, canary)| split(stable, canary));
    let own = json!({"retries": {"attempts": 2}, "route": route});
    let cookie = json!([{"headers": {"cookie": {"regex": "^(.*; *)?beta=1(;.*)?$"}}}]);
    let theirs = json!({"match": cookie, "retries": {"attempts": 2}, "route": split(0, 100)});
    let http = if cohort { json!([theirs, own]) } else { json!([own]) };
    json!({"hosts": ["films"], "http": http})
}

#[tokio::test]
async fn cohorts_get_the_candidate_and_the_routes_what_they_had() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let (ground, kafka) = tokio::try_join!(Ground::lay(), kafka())?;
    define(&ground.client).await?;
    let account = Account::make(&ground).await?;
    let books = Service::create(&ground, "books").await?;
    let films = Service::create(&ground, "films").await?;
    let setup = Setup {
        kubeconfig: &account.kubeconfig,
        sources: format!("{}{}", books.source(), films.source()),
        kafka: (&kafka.bootstrap, "cohorts"),
        environment: "",
    };
    let daemon = Daemon::prepare(&ground, &setup)?;
    let by_header = Edge {
        kind: GATEWAY_API,
        spec: http_route,
        cohort: "{header: {X-Tester: 'yes'}}",
        header: ("x-tester", "yes"),
    };
    let by_cookie = Edge {
        kind: ISTIO,
        spec: virtual_service,
        cohort: "{cookie: {beta: '1'}}",
        header: ("cookie", "a=b; beta=1; c=d"),
    };
    let story = async {
        for (service, edge) in [(&books, &by_header), (&films, &by_cookie)] {
            service.merge_as("one", "v1", &declaration(service.name, edge.cohort)).await?;
        }
        daemon.start().await?;
        tokio::try_join!(by_header.play(&ground, &books), by_cookie.play(&ground, &films))?;
        account.used()?;
        daemon.stop().await
    };
    let story = story.await;
    daemon.explain(story)
}

impl Edge {
    async fn play(&self, ground: &Ground, service: &Service) -> anyhow::Result<()> {
        let stands = |record: &Record| record.stable.is_some() && record.rollout.is_none();
        service.release.until("the first version", stands).await?;
        let (version, kind) = self.kind;
        let routes: Api<DynamicObject> =
            Api::namespaced_with(ground.client.clone(), NAMESPACE, &resource(version, kind));
        let plain = (self.spec)(None, false);
        let body =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": service.name}, "spec": plain});
        routes.create(&PostParams::default(), &serde_json::from_value(body)?).await?;
        let (mut watch, specs) = (JoinSet::new(), Arc::<Mutex<Vec<Value>>>::default());
        watch.spawn(follow(routes.clone(), service.name, Arc::clone(&specs)));
        let others = Gateway::start(&ground.client, Some(Duration::from_millis(100)));
        let testers = Gateway::start(&ground.client, Some(Duration::from_millis(100)));
        others.drive(kind, NAMESPACE, service.name, 100.0);
        testers.drive_with(kind, (NAMESPACE, service.name), 50.0, &[self.header]);
        until("requests to be served", SOON, async || {
            Ok((others.sent().served.len() == 1 && testers.sent().served.len() == 1).then_some(()))
        })
        .await?;
        let text = declaration(service.name, self.cohort);

        let good = service.merge_as("two", "v2", &text).await?;
        service.release.until("the step of the cohort", at(0)).await?;
        until("testers to get the candidate", SOON, async || {
            Ok(testers.sent().served.contains_key("canary").then_some(()))
        })
        .await?;
        others.sent();
        testers.sent();
        service.release.until("the end of that step", |record| !at(0)(record)).await?;
        let (rest, sent) = (others.sent(), testers.sent());
        assert!(rest.share("canary") < 1.0 && sent.share("canary") > 99.0, "{rest:?} {sent:?}");
        service.release.until_ended(&good, Outcome::Promoted).await?;
        let split = |weights, cohort| (self.spec)(Some(weights), cohort);
        let promoted =
            [split((100, 0), false), split((100, 0), true), split((50, 50), false), split((0, 100), false)];
        let back = [split((100, 0), false), plain.clone()];
        is(&specs, &[std::slice::from_ref(&plain), &promoted, &back].concat());

        let bad = service.merge_as("three", "v3.errors-60", &text).await?;
        let record = service.release.until_ended(&bad, Outcome::RolledBack).await?;
        let verdict = &record.history[&3].verdict;
        assert!(verdict.starts_with("error_rate fail"), "testers alone saw it: {verdict}");
        let reverted =
            [plain.clone(), split((100, 0), false), split((100, 0), true), split((100, 0), false), plain];
        is(&specs, &reverted);
        let annotations = routes.get(service.name).await?.metadata.annotations.unwrap_or_default();
        assert_eq!(annotations.len(), 0, "{annotations:?}");
        let (rest, sent) = (others.sent(), testers.sent());
        assert_eq!((rest.unserved, sent.unserved, rest.failed.len()), (0, 0, 0), "{rest:?} {sent:?}");
        Ok(())
    }
}

/// Tells whether a step is being watched.
fn at(step: u32) -> impl Fn(&Record) -> bool {
    move |record| {
        let rollout = record.rollout.as_ref();
        rollout.is_some_and(|rollout| rollout.step == step && rollout.stage.ready_at.is_some())
    }
}

/// Notes each `spec` that the route has.
async fn follow(routes: Api<DynamicObject>, name: &str, specs: Arc<Mutex<Vec<Value>>>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let changes = watcher(routes, config).default_backoff().applied_objects();
    let mut changes = std::pin::pin!(changes.filter_map(async |change| change.ok()));
    while let Some(route) = changes.next().await {
        let mut specs = specs.lock().unwrap_or_else(PoisonError::into_inner);
        let spec = route.data["spec"].clone();
        if specs.last() != Some(&spec) {
            specs.push(spec);
        }
    }
}

/// Holds what the route was against what it is to have been, and begins anew with how it is.
#[track_caller]
fn is(specs: &Mutex<Vec<Value>>, wanted: &[Value]) {
    let mut specs = specs.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(specs.as_slice(), wanted, "{specs:#?}");
    let before = specs.len() - 1;
    specs.drain(..before);
}
