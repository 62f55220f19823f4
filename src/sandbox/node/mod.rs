//! A node whose pods are HTTP servers in this process.
//!
//! What it does: registers a Node, binds pods that have none, gives each an address in 127.0.0.0/8 and a real server on
//! each of its containers' ports, probes them as they declare, restarts what ends, and keeps their status as a kubelet
//! does. How a pod behaves is read from its image.
//!
//! What comes in: a [`kube::Client`], of the sandbox or of a genuine API server, and a resolver of images. What goes
//! out: writes to that server, and answers to whoever asks the pods.

mod address;
pub(crate) mod app;
mod behaviour;
pub(crate) mod container;
pub(crate) mod pod;
pub(crate) mod probe;
mod registration;
pub(crate) mod status;
#[cfg(test)]
mod tests;
mod traffic;

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod as PodObject;
use kube::{
    Client,
    api::{Api, EvictParams},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::behaviour::{Behaviour, Exit, MetricsPage, Pulled, Resolver, by_tag};
pub(crate) use self::registration::{affinity_to, node_of};
use self::{
    pod::{News, Pod},
    traffic::Traffic,
};
use super::{clock::Clock, json};

/// How a node starts.
#[derive(Clone)]
pub struct NodeOptions {
    /// The name of the Node.
    pub name: String,
    /// Whether it takes pods that name no node. Of several nodes one does.
    pub takes_any: bool,
    /// How images behave.
    pub resolver: Resolver,
    /// Multiplies the times that pods and tags declare: probes, grace, slow starts. 1 is as declared.
    pub time_scale: f64,
    /// Multiplies the 10 s, 20 s, 40 s … between restarts of a container that keeps ending.
    pub back_off_scale: f64,
    /// How long the container of a `crash` or `oom` image runs.
    pub crash_after: Duration,
    /// How long it takes between two tries to pull an image.
    pub pull_back_off: Duration,
    /// What the servers' dice are thrown with.
    pub seed: u64,
    /// Where timestamps come from.
    pub clock: Clock,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            name: "sandbox-node".to_owned(),
            takes_any: true,
            resolver: by_tag(),
            time_scale: 1.0,
            back_off_scale: 1.0,
            crash_after: Duration::from_millis(200),
            pull_back_off: Duration::from_secs(1),
            seed: 0,
            clock: Clock::system(),
        }
    }
}

/// A namespace and a name.
type Place = (String, String);

/// What the node and its pods share.
struct Shared {
    client: Client,
    name: String,
    address: Ipv4Addr,
    takes_any: bool,
    resolver: Resolver,
    time_scale: f64,
    back_off_scale: f64,
    crash_after: Duration,
    pull_back_off: Duration,
    seed: u64,
    clock: Clock,
    tasks: TaskTracker,
    token: CancellationToken,
    ready: AtomicBool,
    schedules: AtomicBool,
    pods: Mutex<HashMap<Place, Entry>>,
    traffic: Mutex<HashMap<Place, Traffic>>,
}

/// A pod that runs here.
struct Entry {
    uid: String,
    news: mpsc::Sender<News>,
    token: CancellationToken,
}

impl Shared {
    fn pods(&self, namespace: &str) -> Api<PodObject> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.time_scale)
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Place, Entry>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running node. It ends with [`Node::stop`] or when the last clone is dropped; its objects stay.
#[derive(Clone)]
pub struct Node {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.token.cancel();
    }
}

impl Node {
    /// Registers the Node and takes up the pods of the cluster that `client` talks to.
    pub async fn start(client: Client, options: NodeOptions) -> Result<Self, kube::Error> {
        let NodeOptions {
            name,
            takes_any,
            resolver,
            time_scale,
            back_off_scale,
            crash_after,
            pull_back_off,
            seed,
            clock,
        } = options;
        let shared = Arc::new(Shared {
            client,
            name,
            address: Ipv4Addr::LOCALHOST,
            takes_any,
            resolver,
            time_scale,
            back_off_scale,
            crash_after,
            pull_back_off,
            seed,
            clock,
            tasks: TaskTracker::new(),
            token: CancellationToken::new(),
            ready: AtomicBool::new(true),
            schedules: AtomicBool::new(true),
            pods: Mutex::default(),
            traffic: Mutex::default(),
        });
        registration::register(&shared).await?;
        let worker = shared.clone();
        shared.tasks.spawn(async move {
            let token = worker.token.clone();
            tokio::select! {
                () = token.cancelled() => {}
                () = follow(worker) => {}
            }
        });
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    /// The name of its Node object.
    pub fn name(&self) -> &str {
        &self.handle.shared.name
    }

    /// Kills the containers of a pod; they start again by the pod's policy. False if the pod does not run here.
    pub async fn kill_pod(&self, namespace: &str, name: &str) -> bool {
        self.tell(namespace, name, News::Kill).await
    }

    /// Puts a pod out for want of memory: it fails with the reason `Evicted`. False if the pod does not run here.
    pub async fn put_out(&self, namespace: &str, name: &str) -> bool {
        self.tell(namespace, name, News::Pressure).await
    }

    /// Evicts a pod through the API, as a drain does.
    pub async fn evict(&self, namespace: &str, name: &str) -> Result<(), kube::Error> {
        let pods = self.handle.shared.pods(namespace);
        pods.evict(name, &EvictParams::default()).await.map(drop)
    }

    /// Marks the Node as lost or regained, and its pods as not ready or as they are. The servers go on.
    pub async fn set_not_ready(&self, lost: bool) -> Result<(), kube::Error> {
        let shared = &self.handle.shared;
        shared.ready.store(!lost, Ordering::Relaxed);
        registration::report(shared).await?;
        let all: Vec<mpsc::Sender<News>> =
            shared.entries().values().map(|entry| entry.news.clone()).collect();
        for news in all {
            // A pod that ended meanwhile needs no news.
            let _ = news.send(News::NodeReady(!lost)).await;
        }
        Ok(())
    }

    /// Whether pods without a node are bound to this one; else they stay unschedulable.
    pub fn set_schedules(&self, schedules: bool) {
        self.handle.shared.schedules.store(schedules, Ordering::Relaxed);
    }

    async fn tell(&self, namespace: &str, name: &str, news: News) -> bool {
        let place = (namespace.to_owned(), name.to_owned());
        let sender = self.handle.shared.entries().get(&place).map(|entry| entry.news.clone());
        match sender {
            Some(sender) => sender.send(news).await.is_ok(),
            None => false,
        }
    }

    /// Ends every server and task.
    pub async fn stop(&self) {
        let shared = &self.handle.shared;
        shared.token.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
    }
}

/// Takes up what happens to pods.
async fn follow(shared: Arc<Shared>) {
    let all: Api<PodObject> = Api::all(shared.client.clone());
    let mut events = watcher(all, watcher::Config::default()).default_backoff().boxed();
    let mut listed: Vec<Place> = Vec::new();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => listed.clear(),
            Ok(Some(Event::InitApply(pod))) => {
                if let Some(place) = take_up(&shared, &pod).await {
                    listed.push(place);
                }
            }
            Ok(Some(Event::InitDone)) => {
                shared.entries().retain(|place, entry| {
                    let kept = listed.contains(place);
                    if !kept {
                        entry.token.cancel();
                    }
                    kept
                });
            }
            Ok(Some(Event::Apply(pod))) => drop(take_up(&shared, &pod).await),
            Ok(Some(Event::Delete(pod))) => forget(&shared, &pod),
            Ok(None) => return,
            // The watcher begins again by itself, later each time.
            Err(_) => {}
        }
    }
}

fn place_of(pod: &PodObject) -> (Place, String) {
    let meta = &pod.metadata;
    let part = |field: &Option<String>| field.clone().unwrap_or_default();
    ((part(&meta.namespace), part(&meta.name)), part(&meta.uid))
}

/// Binds a pod without a node; starts or tells one of this node. Returns the place of a pod that is here.
async fn take_up(shared: &Arc<Shared>, pod: &PodObject) -> Option<Place> {
    let (place, uid) = place_of(pod);
    let object = serde_json::to_value(pod).ok()?;
    match json::text(&object, &["spec", "nodeName"]) {
        "" => {
            registration::schedule(shared, &object).await;
            return None;
        }
        node if node != shared.name => return None,
        _ => {}
    }
    let running = {
        let entries = shared.entries();
        entries.get(&place).filter(|entry| entry.uid == uid).map(|entry| entry.news.clone())
    };
    if let Some(news) = running {
        // A pod that just ended needs no news.
        let _ = news.send(News::Object(Box::new(object))).await;
        return Some(place);
    }
    let ended = matches!(json::text(&object, &["status", "phase"]), "Succeeded" | "Failed");
    if !ended {
        spawn(shared, place.clone(), uid, object);
    }
    Some(place)
}

fn spawn(shared: &Arc<Shared>, place: Place, uid: String, object: Value) {
    let (news, received) = mpsc::channel(64);
    let token = shared.token.child_token();
    // The last steps of a pod end its servers before itself.
    let pod = Pod::new(shared.clone(), object, news.clone(), token.child_token());
    let entry = Entry { uid, news, token: token.clone() };
    if let Some(before) = shared.entries().insert(place, entry) {
        before.token.cancel();
    }
    shared.tasks.spawn(async move {
        let ended = token.clone();
        tokio::select! {
            () = pod.run(received) => {}
            () = ended.cancelled() => {}
        }
    });
}

fn forget(shared: &Shared, pod: &PodObject) {
    let (place, uid) = place_of(pod);
    let mut entries = shared.entries();
    if entries.get(&place).is_some_and(|entry| entry.uid == uid)
        && let Some(entry) = entries.remove(&place)
    {
        entry.token.cancel();
    }
}
