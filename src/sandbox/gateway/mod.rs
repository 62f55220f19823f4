//! A gateway that obeys routes with real requests.
//!
//! What it does: follows `HTTPRoute`, `VirtualService` and `DestinationRule` objects; some time after a change it takes the route, says
//! so in its status as a gateway does (`Accepted`, `ResolvedRefs`, with the generation), and from then on sends by it: a backend by its
//! weight, then a Ready pod of that backend. Of a match it obeys what it says of headers. Until then it goes by what it took before.
//!
//! What comes in: a [`kube::Client`], to a sandbox or a genuine server; how long it takes, or that it never does. What goes out:
//! requests to pods, counts, and the status of routes.

mod crds;
mod obey;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crds::definitions;

use super::{clock::Clock, follow::follow, http::get, json};

/// How often it looks for changes whose time has come.
const LOOK: Duration = Duration::from_millis(10);
/// The name by which its status speaks.
const CONTROLLER: &str = "idp.dev/sandbox-gateway";

/// Namespace and name.
type Place = (String, String);
/// What a request carries, by names in lower case.
type Headers = BTreeMap<String, String>;

/// What came back of what was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Answers below 500, by the track of the pod that gave them.
    pub served: BTreeMap<String, u64>,
    /// Answers of 500 and above, and requests without an answer, by the track of the pod.
    pub failed: BTreeMap<String, u64>,
    /// Requests for which the route named no Ready pod.
    pub unserved: u64,
}

impl Sent {
    /// Every request that went to a track, per cent of all that went to any.
    pub fn share(&self, track: &str) -> f64 {
        let of = |counts: &BTreeMap<String, u64>| counts.get(track).copied().unwrap_or(0);
        let all: u64 = self.served.values().chain(self.failed.values()).sum();
        let own = of(&self.served) + of(&self.failed);
        let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        if all == 0 { 0.0 } else { number(own) * 100.0 / number(all) }
    }
}

/// What it knows.
#[derive(Default)]
struct State {
    routes: BTreeMap<(String, Place), Value>,
    services: BTreeMap<Place, Value>,
    pods: BTreeMap<Place, Value>,
    /// What it goes by, by kind and place.
    obeyed: BTreeMap<(String, Place), Value>,
    /// Changes that it has not taken: the generation, and since when.
    waiting: BTreeMap<(String, Place), (i64, Instant)>,
    delay: Option<Duration>,
    clock: Clock,
    sent: Sent,
}

/// A running gateway. It ends when it is dropped.
pub struct Gateway {
    state: Arc<Mutex<State>>,
    tasks: TaskTracker,
    token: CancellationToken,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gateway {
    /// Starts to follow all routes of a cluster that has their kinds. It takes a change after `delay`; never, if that is none.
    pub fn start(client: &Client, delay: Option<Duration>) -> Self {
        let state = Arc::new(Mutex::new(State { delay, ..State::default() }));
        let gateway = Self { state, tasks: TaskTracker::new(), token: CancellationToken::new() };
        for (api_version, kind) in [
            ("gateway.networking.k8s.io/v1", "HTTPRoute"),
            ("networking.istio.io/v1", "VirtualService"),
            ("networking.istio.io/v1", "DestinationRule"),
            ("v1", "Service"),
            ("v1", "Pod"),
        ] {
            gateway.follow(client, &resource(api_version, kind));
        }
        let (state, client) = (gateway.state.clone(), client.clone());
        gateway.spawn(async move {
            let mut ticks = tokio::time::interval(LOOK);
            loop {
                ticks.tick().await;
                take_due(&client, &state).await;
            }
        });
        gateway
    }

    /// Sets how long it takes from now on; none: it takes nothing more.
    pub fn set_delay(&self, delay: Option<Duration>) {
        lock(&self.state).delay = delay;
    }

    /// Sends requests by a route, `rate` a second, until it is dropped.
    pub fn drive(&self, kind: &str, namespace: &str, name: &str, rate: f64) {
        self.drive_with(kind, (namespace, name), rate, &[]);
    }

    /// As [`Self::drive`], with these headers.
    pub fn drive_with(
        &self,
        kind: &str,
        (namespace, name): (&str, &str),
        rate: f64,
        headers: &[(&str, &str)],
    ) {
        let headers: Headers =
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect();
        let state = self.state.clone();
        let route = (kind.to_owned(), (namespace.to_owned(), name.to_owned()));
        let (tasks, token) = (self.tasks.clone(), self.token.clone());
        self.spawn(async move {
            let mut random = StdRng::seed_from_u64(1);
            let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate.clamp(0.1, 1000.0)));
            loop {
                ticks.tick().await;
                let (known, pod) = {
                    let mut state = lock(&state);
                    let known = state.obeyed.contains_key(&route);
                    let pod = state.choose(&route, &headers, &mut random);
                    if known && pod.is_none() {
                        state.sent.unserved += 1;
                    }
                    (known, pod)
                };
                let Some((address, track)) = pod.filter(|_| known) else { continue };
                let (state, token) = (state.clone(), token.clone());
                tasks.spawn(async move {
                    let request = get(address, "/", "sandbox-gateway", Duration::from_secs(2));
                    let answer = tokio::select! {
                        () = token.cancelled() => return,
                        answer = request => answer,
                    };
                    let mut state = lock(&state);
                    let good = answer.is_ok_and(|answer| answer.status().as_u16() < 500);
                    let counts = if good { &mut state.sent.served } else { &mut state.sent.failed };
                    *counts.entry(track).or_default() += 1;
                });
            }
        });
    }

    /// What came back since it was last asked.
    pub fn sent(&self) -> Sent {
        std::mem::take(&mut lock(&self.state).sent)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        self.tasks.spawn(async move { token.run_until_cancelled(task).await });
    }

    fn follow(&self, client: &Client, resource: &ApiResource) {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
        let (state, kind) = (self.state.clone(), resource.kind.clone());
        self.spawn(follow(api, watcher::Config::default(), move |object, gone| {
            lock(&state).note(&kind, object, gone);
        }));
    }
}

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

fn place(object: &Value) -> Place {
    let text = |field: &str| json::text(object, &["metadata", field]).to_owned();
    (text("namespace"), text("name"))
}

impl State {
    fn note(&mut self, kind: &str, object: Value, gone: bool) {
        let place = place(&object);
        let known = match kind {
            "Service" => &mut self.services,
            "Pod" => &mut self.pods,
            _ => return self.note_route(kind, place, object, gone),
        };
        if gone {
            known.remove(&place);
        } else {
            known.insert(place, object);
        }
    }

    fn note_route(&mut self, kind: &str, place: Place, object: Value, gone: bool) {
        let key = (kind.to_owned(), place);
        if gone {
            self.routes.remove(&key);
            self.obeyed.remove(&key);
            self.waiting.remove(&key);
            return;
        }
        let generation = json::int(&object, &["metadata", "generation"]).unwrap_or(1);
        let before = self.routes.insert(key.clone(), object);
        let known = before.and_then(|before| json::int(&before, &["metadata", "generation"]));
        if known != Some(generation) {
            self.waiting.insert(key, (generation, Instant::now()));
        }
    }
}

/// Takes the changes whose time has come.
async fn take_due(client: &Client, state: &Arc<Mutex<State>>) {
    let due: Vec<(String, Place)> = {
        let state = lock(state);
        let Some(delay) = state.delay else { return };
        let ripe = state.waiting.iter().filter(|(_, (_, since))| since.elapsed() >= delay);
        ripe.map(|(key, _)| key.clone()).collect()
    };
    for key in due {
        let status = {
            let mut state = lock(state);
            state.waiting.remove(&key);
            let Some(route) = state.routes.get(&key).cloned() else { continue };
            state.obeyed.insert(key.clone(), json::at(&route, &["spec"]).cloned().unwrap_or_default());
            state.status(&route)
        };
        // Istio writes none unless it is told to.
        if key.0 == "HTTPRoute" {
            say(client, &key.1, &status).await;
        }
    }
}

async fn say(client: &Client, (namespace, name): &Place, status: &Value) {
    let resource = resource("gateway.networking.k8s.io/v1", "HTTPRoute");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let patch = Patch::Merge(json!({"status": status}));
    // A route that is gone needs no status.
    let _ = api.patch_status(name, &PatchParams::default(), &patch).await;
}

impl State {
    /// What a gateway says of a route as it stands: by parent, both conditions for its generation.
    fn status(&self, route: &Value) -> Value {
        let (namespace, _) = place(route);
        let generation = json::int(route, &["metadata", "generation"]).unwrap_or(1);
        let missing = json::list(route, &["spec", "rules"])
            .iter()
            .flat_map(|rule| json::list(rule, &["backendRefs"]))
            .map(|backend| json::text(backend, &["name"]))
            .find(|name| !self.services.contains_key(&(namespace.clone(), (*name).to_owned())));
        let now = self.clock.now_text();
        let condition = |kind: &str, fault: Option<&str>| {
            json!({
                "type": kind, "status": if fault.is_none() { "True" } else { "False" }, "observedGeneration": generation,
                "reason": if fault.is_none() { kind } else { "BackendNotFound" },
                "message": fault.map_or(String::new(), |name| format!("there is no Service {name}")),
                "lastTransitionTime": now,
            })
        };
        let conditions = [condition("Accepted", None), condition("ResolvedRefs", missing)];
        let parents = json::list(route, &["spec", "parentRefs"]).iter();
        let parents = parents.map(
            |parent| json!({"parentRef": parent, "controllerName": CONTROLLER, "conditions": conditions}),
        );
        json!({"parents": parents.collect::<Vec<_>>()})
    }
}
