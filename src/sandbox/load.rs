//! A load generator that plays the Service, which nothing in a sandbox routes.
//!
//! What it does: sends real HTTP requests at a steady rate to the Ready pods that a Service's selector matches, uniformly
//! or by weights of a label, and counts what came back.
//!
//! What comes in: a [`kube::Client`], the name of a Service, bounds. What goes out: requests to pods, and counts. Gates
//! and real shares see only what was sent here.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Client, api::Api, runtime::watcher};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{api::LabelSelector, follow::follow, http::get, json};

/// What load there is.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The name of the Service's port; none takes the first.
    pub port: Option<String>,
    /// What is asked for.
    pub path: String,
    /// Requests a second, more than 0 and at most 1000.
    pub rate: f64,
    /// Which pod gets which request follows from it.
    pub seed: u64,
    /// No more requests than these are sent.
    pub max_requests: u64,
    /// No request is sent after this time.
    pub max_time: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl LoadOptions {
    /// 50 requests a second for `/`, at most 10 000 in at most five minutes.
    pub fn new(namespace: &str, service: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: None,
            path: "/".to_owned(),
            rate: 50.0,
            seed: 0,
            max_requests: 10_000,
            max_time: Duration::from_mins(5),
            timeout: Duration::from_secs(2),
        }
    }
}

/// What came back from one pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodCounts {
    /// Answers by HTTP code.
    pub codes: BTreeMap<u16, u64>,
    /// Requests without an answer: refused, broken off, too late.
    pub lost: u64,
}

impl PodCounts {
    /// Every request that was sent to the pod and has ended.
    pub fn total(&self) -> u64 {
        self.codes.values().sum::<u64>() + self.lost
    }
}

/// What came back altogether.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadCounts {
    /// By the pod's name.
    pub pods: BTreeMap<String, PodCounts>,
    /// Requests for which there was no Ready pod.
    pub unserved: u64,
}

impl LoadCounts {
    /// Every request that has ended.
    pub fn total(&self) -> u64 {
        self.pods.values().map(PodCounts::total).sum::<u64>() + self.unserved
    }

    /// Requests that were not answered with a code below 500.
    pub fn failed(&self) -> u64 {
        let failed = |pod: &PodCounts| pod.codes.range(500..).map(|(_, count)| count).sum::<u64>() + pod.lost;
        self.pods.values().map(failed).sum::<u64>() + self.unserved
    }
}

/// Weights of the values of a label, such as `idp.dev/track`: stable 90, canary 10.
#[derive(Debug, Clone, Default)]
struct Weights {
    label: String,
    values: Vec<(String, f64)>,
}

/// What the generator knows of the cluster.
#[derive(Default)]
struct View {
    service: Option<Value>,
    pods: BTreeMap<String, Value>,
    weights: Option<Weights>,
    counts: LoadCounts,
}

/// A running load generator. It ends at its bounds, with [`Load::stop`], or when it is dropped.
pub struct Load {
    view: Arc<Mutex<View>>,
    token: CancellationToken,
    tasks: TaskTracker,
    ended: watch::Receiver<bool>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl Load {
    /// Starts to send as soon as the Service and a Ready pod are seen.
    pub fn start(client: &Client, options: LoadOptions) -> Self {
        let view = Arc::new(Mutex::new(View::default()));
        let (token, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (end, ended) = watch::channel(false);
        let (seen, sight) = watch::channel(());
        let namespace = options.namespace.as_str();

        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={}", options.service));
        spawn_watch(&tasks, &token, (services, config), &view, seen.clone(), |view, service, gone| {
            view.service = if gone { None } else { Some(service) };
        });
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        spawn_watch(&tasks, &token, (pods, watcher::Config::default()), &view, seen, |view, pod, gone| {
            let name = json::text(&pod, &["metadata", "name"]).to_owned();
            if gone {
                view.pods.remove(&name);
            } else {
                view.pods.insert(name, pod);
            }
        });
        let sender = Sender { view: view.clone(), options, tasks: tasks.clone(), token: token.clone() };
        let stopped = token.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = sender.run(sight) => {}
            }
            // Nobody may wait for it.
            let _ = end.send(true);
        });
        Self { view, token, tasks, ended }
    }

    /// Splits what follows by a label's values; each value's pods share its part evenly. A part without a Ready pod is
    /// unserved.
    pub fn set_weights(&self, label: &str, weights: &[(&str, f64)]) {
        let values = weights.iter().map(|(value, weight)| ((*value).to_owned(), *weight)).collect();
        lock(&self.view).weights = Some(Weights { label: label.to_owned(), values });
    }

    /// Back to an even spread over all pods.
    pub fn clear_weights(&self) {
        lock(&self.view).weights = None;
    }

    /// What has ended so far.
    pub fn counts(&self) -> LoadCounts {
        lock(&self.view).counts.clone()
    }

    /// Waits until a bound is reached and every request has ended.
    pub async fn finished(&self) -> LoadCounts {
        // An error means that the sender is gone, which is an end as well.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
        self.counts()
    }

    /// Ends it at once; requests under way are not counted.
    pub async fn stop(self) -> LoadCounts {
        self.token.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.counts()
    }
}

fn lock(view: &Mutex<View>) -> MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps `view` up to date with one kind; `seen` is told of every change.
fn spawn_watch<K>(
    tasks: &TaskTracker,
    token: &CancellationToken,
    (api, config): (Api<K>, watcher::Config),
    view: &Arc<Mutex<View>>,
    seen: watch::Sender<()>,
    store: fn(&mut View, Value, bool),
) where
    K: kube::Resource + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug + Send + 'static,
    K::DynamicType: Default + Clone,
{
    let (view, token) = (view.clone(), token.clone());
    tasks.spawn(async move {
        let following = follow(api, config, |object, gone| {
            store(&mut lock(&view), object, gone);
            seen.send_replace(());
        });
        token.run_until_cancelled(following).await;
    });
}

struct Sender {
    view: Arc<Mutex<View>>,
    options: LoadOptions,
    tasks: TaskTracker,
    token: CancellationToken,
}

/// Requests that may be under way at once.
const AT_ONCE: usize = 256;

impl Sender {
    async fn run(self, mut sight: watch::Receiver<()>) {
        while self.ready_pods().is_empty() {
            if sight.changed().await.is_err() {
                return;
            }
        }
        let mut random = StdRng::seed_from_u64(self.options.seed);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut ticks =
            tokio::time::interval(Duration::from_secs_f64(1.0 / self.options.rate.clamp(0.001, 1000.0)));
        let sending = async {
            for _ in 0..self.options.max_requests {
                ticks.tick().await;
                let Ok(place) = places.clone().acquire_owned().await else { return };
                self.send_one(&mut random, place);
            }
        };
        // At the end of its time it is enough that what was sent comes back.
        let _ = tokio::time::timeout(self.options.max_time, sending).await;
        let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        let _ = places.acquire_many(all).await;
    }

    fn send_one(&self, random: &mut StdRng, place: tokio::sync::OwnedSemaphorePermit) {
        let Some((name, address)) = self.choose(random) else {
            lock(&self.view).counts.unserved += 1;
            return;
        };
        let (view, options, token) = (self.view.clone(), self.options.clone(), self.token.clone());
        self.tasks.spawn(async move {
            let request = get(address, &options.path, "sandbox-load", options.timeout);
            let answer = tokio::select! {
                () = token.cancelled() => return,
                answer = request => answer,
            };
            let mut view = lock(&view);
            let counts = view.counts.pods.entry(name).or_default();
            match answer {
                Ok(answer) => *counts.codes.entry(answer.status().as_u16()).or_default() += 1,
                Err(_) => counts.lost += 1,
            }
            drop(place);
        });
    }

    /// The Ready pods that the Service selects, with their addresses, in the order of their names.
    fn ready_pods(&self) -> Vec<(String, SocketAddr, Value)> {
        let view = lock(&self.view);
        let Some(service) = &view.service else { return Vec::new() };
        let labels = serde_json::json!({
            "matchLabels": json::at(service, &["spec", "selector"]).cloned().unwrap_or_default(),
        });
        let selector = LabelSelector::from_object(&labels);
        let wanted = self.options.port.as_deref();
        let port = json::list(service, &["spec", "ports"])
            .iter()
            .find(|port| wanted.is_none_or(|name| json::text(port, &["name"]) == name));
        let Some(target) = port.and_then(|port| port.get("targetPort").or(port.get("port"))) else {
            return Vec::new();
        };
        view.pods
            .iter()
            .filter(|(_, pod)| selector.matches(pod) && is_ready(pod))
            .filter_map(|(name, pod)| Some((name.clone(), address_of(pod, target)?, pod.clone())))
            .collect()
    }

    fn choose(&self, random: &mut StdRng) -> Option<(String, SocketAddr)> {
        let mut pods = self.ready_pods();
        let weights = lock(&self.view).weights.clone();
        if let Some(weights) = weights {
            let value = weights.draw(random)?;
            pods.retain(|(_, _, pod)| {
                json::text(pod, &["metadata", "labels", weights.label.as_str()]) == value
            });
        }
        if pods.is_empty() {
            return None;
        }
        let at = random.random_range(0..pods.len());
        pods.into_iter().nth(at).map(|(name, address, _)| (name, address))
    }
}

impl Weights {
    fn draw(&self, random: &mut StdRng) -> Option<&str> {
        let total: f64 = self.values.iter().map(|(_, weight)| weight).sum();
        let mut point = random.random_range(0.0..total.max(f64::MIN_POSITIVE));
        for (value, weight) in &self.values {
            if point < *weight {
                return Some(value);
            }
            point -= weight;
        }
        self.values.last().map(|(value, _)| value.as_str())
    }
}

pub(super) fn is_ready(pod: &Value) -> bool {
    json::at(pod, &["metadata", "deletionTimestamp"]).is_none()
        && json::list(pod, &["status", "conditions"])
            .iter()
            .any(|one| json::text(one, &["type"]) == "Ready" && json::text(one, &["status"]) == "True")
}

pub(super) fn address_of(pod: &Value, target: &Value) -> Option<SocketAddr> {
    let port = match target {
        Value::String(name) => json::list(pod, &["spec", "containers"])
            .iter()
            .flat_map(|container| json::list(container, &["ports"]))
            .find(|port| json::text(port, &["name"]) == name)
            .and_then(|port| json::int(port, &["containerPort"])),
        other => other.as_i64(),
    }?;
    let address = json::text(pod, &["status", "podIP"]).parse().ok()?;
    Some(SocketAddr::new(address, u16::try_from(port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_drawn_in_their_shares() {
        let weights =
            Weights { label: String::new(), values: vec![("stable".into(), 90.0), ("canary".into(), 10.0)] };
        let mut random = StdRng::seed_from_u64(1);
        let canary = (0..1000).filter(|_| weights.draw(&mut random) == Some("canary")).count();
        assert!((70..130).contains(&canary), "{canary}");
        let none =
            Weights { label: String::new(), values: vec![("stable".into(), 1.0), ("canary".into(), 0.0)] };
        assert!((0..100).all(|_| none.draw(&mut random) == Some("stable")));
    }
}
