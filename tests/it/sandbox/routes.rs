//! Canaries by a team's own route, with a gateway that obeys it with real requests; and blue-green deploys by the Service's selector.

use std::time::Duration;

use idp::model::record::Record;
use idp::model::rollout::{Hold, Outcome};
use idp::sandbox::LoadOptions;
use idp::sandbox::gateway::{Gateway, Sent, definitions};
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::kills::{Kills, under_kills};
use super::world::{NAMESPACE, Setup, World, declaration};
use idp::cluster::raw::resource;

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
const ISTIO: &str = "networking.istio.io/v1";

fn edge() -> Value {
    json!({"apiVersion": GATEWAY_API, "kind": "HTTPRoute", "metadata": {"name": "edge", "namespace": NAMESPACE},
        "spec": {"parentRefs": [{"name": "gate"}], "rules": [{"timeouts": {"request": "3s"},
            "backendRefs": [{"name": "web", "port": 8080}]}]}})
}

fn mesh() -> Value {
    json!({"apiVersion": ISTIO, "kind": "VirtualService", "metadata": {"name": "edge", "namespace": NAMESPACE},
        "spec": {"hosts": ["web"], "http": [{"retries": {"attempts": 2}, "route": [{"destination": {"host": "web"}}]}]}})
}

/// A deployed service, a route to it, and a gateway that sends by it.
struct Routed {
    world: World,
    gateway: Gateway,
    route: Value,
}

impl Routed {
    async fn start(route: Value, declaration: String, delay: Duration) -> Self {
        let mut world = World::new(Setup::default()).await;
        let client = world.sandbox.server().client_as("test");
        let all: Api<DynamicObject> =
            Api::all_with(client.clone(), &resource("apiextensions.k8s.io/v1", "CustomResourceDefinition"));
        for definition in definitions() {
            all.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
        }
        world.start_daemon().await;
        world.repository.put(".idp/deploy.yaml", declaration);
        world.merge("one", "healthy");
        world.ends(1, Outcome::Promoted).await;
        world.ledger.count_ready_from_now();
        let gateway = Gateway::start(&client, Some(delay));
        let routed = Self { world, gateway, route };
        let body = serde_json::from_value(routed.route.clone()).unwrap();
        routed.routes().create(&PostParams::default(), &body).await.unwrap();
        routed.gateway.drive(routed.kind(), NAMESPACE, "edge", 200.0);
        let served = async || (routed.gateway.sent().served.len() == 1).then_some(());
        routed.world.find("requests are served", served).await;
        routed
    }

    fn kind(&self) -> &str {
        self.route["kind"].as_str().unwrap()
    }

    fn routes(&self) -> Api<DynamicObject> {
        self.world.api(self.route["apiVersion"].as_str().unwrap(), self.kind(), NAMESPACE)
    }

    /// Waits until a step is being watched, and returns what was sent until it was over.
    async fn during(&self, step: u32) -> Sent {
        let at = |record: &Record| {
            record.rollout.as_ref().map(|rollout| (rollout.step, rollout.stage.ready_at.is_some()))
        };
        self.world.until("the step is watched", |record| at(record) == Some((step, true))).await;
        self.gateway.sent();
        self.world.until("the step is over", |record| at(record) != Some((step, true))).await;
        self.gateway.sent()
    }

    /// The route is as it was, and nothing is left of what it took to split it.
    async fn is_untouched(&self) {
        let live = self.routes().get("edge").await.unwrap();
        assert_eq!(live.data["spec"], self.route["spec"]);
        assert_eq!(live.metadata.annotations.unwrap_or_default().len(), 0);
        for (version, kind, name) in [
            ("v1", "Service", "web-stable"),
            ("v1", "Service", "web-canary"),
            (ISTIO, "DestinationRule", "web-tracks"),
        ] {
            let left = self.world.api(version, kind, NAMESPACE).get_opt(name).await.unwrap();
            assert!(left.is_none(), "{kind} {name} is left");
        }
    }
}

fn paused(pause: &str) -> String {
    declaration("web").replace("400ms", pause)
}

fn near(share: f64, wanted: f64) {
    assert!((share - wanted).abs() < 15.0, "{share} % and not {wanted} %");
}

async fn good_and_bad(route: Value) {
    let mut routed = Routed::start(route, paused("1s"), Duration::from_millis(150)).await;
    routed.world.merge("two", "healthy");
    near(routed.during(0).await.share("canary"), 25.0);
    near(routed.during(1).await.share("canary"), 50.0);
    let whole = routed.during(2).await;
    near(whole.share("canary"), 100.0);
    routed.world.ends(2, Outcome::Promoted).await;
    let rest = routed.gateway.sent();
    assert_eq!((whole.unserved, whole.failed.len()), (0, 0), "{whole:?}");
    assert_eq!((rest.unserved, rest.failed.len()), (0, 0), "{rest:?}");
    routed.is_untouched().await;

    routed.world.merge("three", "errors-60");
    let summary = routed.world.ends(3, Outcome::RolledBack).await;
    assert!(summary.verdict.starts_with("error_rate fail"), "{}", summary.verdict);
    assert_eq!(summary.steps, 1);
    routed.is_untouched().await;
    routed.gateway.sent();
    let served = async || (routed.gateway.sent().served.get("stable").copied() > Some(0)).then_some(());
    routed.world.find("stable serves again", served).await;
    routed.world.is_sound(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_by_an_http_route_gets_its_share_of_real_requests() {
    good_and_bad(edge()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_by_a_virtual_service_gets_its_share_of_real_requests() {
    good_and_bad(mesh()).await;
}

/// Testers by a header or a cookie get the candidate and nothing else, everybody else gets none of it.
async fn cohort(route: Value, wanted: &str, header: (&str, &str)) {
    let text = paused("1500ms").replace("- weight: 25\n", &format!("- weight: 0\n      match: {wanted}\n"));
    assert!(text.contains(wanted), "{text}");
    let mut routed = Routed::start(route, text, Duration::from_millis(20)).await;
    let client = routed.world.sandbox.server().client_as("testers");
    let testers = Gateway::start(&client, Some(Duration::from_millis(20)));
    testers.drive_with(routed.kind(), (NAMESPACE, "edge"), 100.0, &[header]);
    routed.world.merge("two", "healthy");
    let at = |record: &Record| {
        record.rollout.as_ref().map(|rollout| (rollout.step, rollout.stage.ready_at.is_some()))
    };
    routed.world.until("the step is watched", |record| at(record) == Some((0, true))).await;
    let reached = async || testers.sent().served.contains_key("canary").then_some(());
    routed.world.find("testers get the candidate", reached).await;
    routed.gateway.sent();
    testers.sent();
    routed.world.until("the step is over", |record| at(record) != Some((0, true))).await;
    let (others, sent) = (routed.gateway.sent(), testers.sent());
    near(sent.share("canary"), 100.0);
    near(others.share("canary"), 0.0);
    routed.world.ends(2, Outcome::Promoted).await;
    routed.is_untouched().await;
    routed.world.merge("three", "errors-60");
    routed.world.ends(3, Outcome::RolledBack).await;
    routed.is_untouched().await;
    let (others, sent) = (routed.gateway.sent(), testers.sent());
    assert_eq!((others.unserved, sent.unserved), (0, 0), "{others:?} {sent:?}");
    routed.world.is_sound(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cohort_by_a_header_of_an_http_route_gets_the_candidate() {
    cohort(edge(), "{header: {X-Tester: 'yes'}}", ("x-tester", "yes")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cohort_by_a_cookie_of_a_virtual_service_gets_the_candidate() {
    cohort(mesh(), "{cookie: {beta: '1'}}", ("cookie", "a=b; beta=1; c=d")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_that_somebody_else_writes_are_put_back() {
    let mut routed = Routed::start(edge(), paused("3s"), Duration::from_millis(20)).await;
    routed.world.merge("two", "healthy");
    routed
        .world
        .until("the first step", |record| record.rollout.as_ref().is_some_and(|r| r.stage.ready_at.is_some()))
        .await;
    let mut live = routed.routes().get("edge").await.unwrap();
    live.data["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(0);
    let rules = json!({"spec": {"rules": live.data["spec"]["rules"]}});
    let kubectl = PatchParams { field_manager: Some("kubectl".to_owned()), ..PatchParams::default() };
    routed.routes().patch("edge", &kubectl, &Patch::Merge(rules)).await.unwrap();
    let back = async || {
        let live = routed.routes().get("edge").await.unwrap();
        (live.data["spec"]["rules"][0]["backendRefs"][0]["weight"] == 75).then_some(())
    };
    routed.world.find("the weight is put back", back).await;
    routed.world.ends(2, Outcome::Promoted).await;
    routed.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_never_accepts_parks_the_version_before_it_has_a_pod() {
    let text = paused("1s").replace("progress_deadline: 40s", "progress_deadline: 2s");
    let mut routed = Routed::start(edge(), text, Duration::from_millis(20)).await;
    routed.gateway.set_delay(None);
    routed.world.merge("two", "healthy");
    let summary = routed.world.ends(2, Outcome::RolledBack).await;
    assert!(
        summary.verdict.contains("HTTPRoute shop-production/edge: gateway gate has not seen"),
        "{}",
        summary.verdict
    );
    assert_eq!(routed.world.record().await.held[&2].hold, Hold::Parked);
    assert_eq!(routed.gateway.sent().served.get("canary"), None);
    routed.gateway.set_delay(Some(Duration::ZERO));
    let gone = async || {
        let services = routed.world.api("v1", "Service", NAMESPACE);
        services.get_opt("web-stable").await.unwrap().is_none().then_some(())
    };
    routed.world.find("nothing is left", gone).await;
    routed.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_effect_of_every_write_of_a_routed_rollout() {
    for (route, after_effect) in [(edge(), true), (mesh(), false)] {
        let mut routed = Routed::start(route, declaration("web"), Duration::from_millis(20)).await;
        let kills = Kills { lives: 40, write: if after_effect { 1 } else { 2 }, after_effect };
        let good = under_kills(&mut routed.world, (2, Outcome::Promoted), kills, ("two", "healthy")).await;
        routed.is_untouched().await;
        under_kills(&mut routed.world, (3, Outcome::RolledBack), kills, ("three", "crash")).await;
        routed.is_untouched().await;
        routed.world.is_sound(2).await;
        assert_eq!(routed.world.image().await, routed.world.image_of(&good));
        let sent = routed.gateway.sent();
        assert_eq!((sent.unserved, sent.failed.len()), (0, 0), "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blue_green_deploy_is_switched_after_its_gate_and_back_at_once() {
    let mut world = World::start(Setup::default()).await;
    let text = declaration("web").replace("strategy: canary", "strategy: blue_green");
    world.repository.put(".idp/deploy.yaml", text);
    world.merge("one", "healthy");
    world.ends(1, Outcome::Promoted).await;
    world.ledger.count_ready_from_now();
    let load = world.sandbox.load(LoadOptions {
        rate: 200.0,
        max_requests: 100_000,
        ..LoadOptions::new(NAMESPACE, "web")
    });
    let canaries = || load.counts().pods.keys().filter(|pod| pod.starts_with("web-canary")).count();
    world.merge("two", "healthy");
    let step = |record: &Record| {
        record.rollout.as_ref().map(|rollout| (rollout.step, rollout.stage.ready_at.is_some()))
    };
    world.until("the gate before the switch", |record| step(record).is_some_and(|(step, _)| step == 1)).await;
    world.until("the switch", |record| step(record) == Some((1, true))).await;
    let switched = async || (canaries() == 3).then_some(());
    world.find("the second set serves", switched).await;
    world.ends(2, Outcome::Promoted).await;

    world.merge("three", "errors-60");
    let summary = world.ends(3, Outcome::RolledBack).await;
    assert!(summary.verdict.starts_with("error_rate fail"), "{}", summary.verdict);
    world.merge("four", "health-fail");
    world.ends(4, Outcome::RolledBack).await;
    let service = world.api("v1", "Service", NAMESPACE).get("web").await.unwrap();
    assert_eq!(service.data["spec"]["selector"], json!({"idp.dev/release": "web.production"}));
    assert_eq!(load.counts().unserved, 0);
    world.is_sound(3).await;
}
