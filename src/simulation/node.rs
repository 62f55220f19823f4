//! The simulated node: what a kubelet and its scheduler do to the pods of a release, step by step in virtual time.
//!
//! Container states, probes, back-off and the form of a status are those of [`crate::sandbox::node`]; there is no socket, and nothing
//! runs by itself: [`Node::settle`] does what is due.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::pod::{Pod, Tick};
use super::street::Street;
use crate::sandbox::Verb;
use crate::sandbox::api::{ApiError, ApiServer, Core, KindSpec, Request};
use crate::sandbox::json as read;
use crate::sandbox::node::Resolver;

/// The name of the node, and of who writes for it.
pub(super) const NAME: &str = "simulated-node";
/// How long a pod waits for its node, and its containers for their start.
const BIND: Duration = Duration::from_millis(120);
/// How long the container of a `crash` image runs.
pub(super) const CRASH_AFTER: Duration = Duration::from_secs(1);

/// A namespace and a name.
pub(super) type Place = (String, String);

/// The node with its pods.
pub(super) struct Node {
    core: Arc<Core>,
    kind: Option<Arc<KindSpec>>,
    resolver: Resolver,
    street: Arc<Street>,
    pods: BTreeMap<Place, Pod>,
    timers: BTreeMap<(Instant, u64), (Place, String, Tick)>,
    counter: u64,
    cursor: u64,
    ready: bool,
    /// Whether pods without a node are bound; else they stay unschedulable.
    schedules: bool,
    seed: u64,
}

impl Node {
    pub(super) fn new(server: &ApiServer, resolver: Resolver, street: Arc<Street>, seed: u64) -> Self {
        let core = Arc::clone(server.core());
        let kind = core.store().kind("", "v1", "pods");
        Self {
            core,
            kind,
            resolver,
            street,
            pods: BTreeMap::new(),
            timers: BTreeMap::new(),
            counter: 0,
            cursor: 0,
            ready: true,
            schedules: true,
            seed,
        }
    }

    /// When something is due although nothing changes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    /// Takes up what changed and does what is due now.
    pub(super) fn settle(&mut self) {
        self.take_up();
        let now = Instant::now();
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let (place, uid, tick) = entry.remove();
            self.tick(&place, &uid, tick);
        }
    }

    /// The pods that run here, in the order of their names.
    pub(super) fn places(&self) -> Vec<Place> {
        self.pods.keys().cloned().collect()
    }

    /// Kills a pod's container; it starts again by its policy.
    pub(super) fn kill(&mut self, place: &Place) {
        self.with(place, |pod, now| pod.ended(137, "Error", "", now));
    }

    /// Puts a pod out for want of memory: it fails with the reason `Evicted`.
    pub(super) fn put_out(&mut self, place: &Place) {
        self.with(place, Pod::put_out);
    }

    /// Evicts a pod through the API, as a drain does.
    pub(super) fn evict(&mut self, place: &Place) {
        let body = json!({"metadata": {"name": place.1, "namespace": place.0}});
        // A pod that is gone needs no eviction.
        let _ = self.request(Verb::Create, place, "eviction", body);
    }

    /// Loses or regains contact: the pods' Ready turns, their programs go on.
    pub(super) fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
        for place in self.places() {
            self.write_status(&place);
        }
    }

    /// Whether pods without a node are bound from now on.
    pub(super) fn set_schedules(&mut self, schedules: bool) {
        self.schedules = schedules;
        if schedules {
            self.cursor = 0;
        }
    }

    fn with(&mut self, place: &Place, change: impl FnOnce(&mut Pod, &str) -> Vec<(Duration, Tick)>) {
        let now = self.core.clock.now_text();
        let Some(pod) = self.pods.get_mut(place) else { return };
        let ticks = change(pod, &now);
        let uid = pod.uid.clone();
        self.schedule(place, &uid, ticks);
        self.write_status(place);
    }

    fn schedule(&mut self, place: &Place, uid: &str, ticks: Vec<(Duration, Tick)>) {
        for (after, tick) in ticks {
            self.counter += 1;
            let entry = (place.clone(), uid.to_owned(), tick);
            self.timers.insert((Instant::now() + after, self.counter), entry);
        }
    }

    /// Follows the pods of the store. From the beginning, if what came in between is no longer known.
    fn take_up(&mut self) {
        let Some(kind) = self.kind.clone() else { return };
        let mut seen: BTreeMap<Place, Option<Arc<Value>>> = BTreeMap::new();
        {
            let store = self.core.store();
            if self.cursor == 0 {
                seen.extend(store.list(&kind, "").map(|pod| (place_of(pod), Some(Arc::clone(pod)))));
            } else {
                let changes = store.since(self.cursor).into_iter().flatten();
                for change in changes.filter(|change| change.place.0.is_empty() && change.place.1 == "pods") {
                    let now = (!change.deleted).then(|| Arc::clone(&change.new));
                    seen.insert(place_of(&change.new), now);
                }
            }
            self.cursor = store.version();
        }
        for (place, object) in seen {
            match object {
                Some(object) => self.take(&place, object),
                None => self.forget(&place),
            }
        }
    }

    fn forget(&mut self, place: &Place) {
        if let Some(pod) = self.pods.remove(place) {
            self.street.close(pod.address);
        }
    }

    fn take(&mut self, place: &Place, object: Arc<Value>) {
        let uid = read::text(&object, &["metadata", "uid"]).to_owned();
        if self.pods.get(place).is_some_and(|pod| pod.uid != uid) {
            self.forget(place);
        }
        let going = read::at(&object, &["metadata", "deletionTimestamp"]).is_some();
        if read::text(&object, &["spec", "nodeName"]).is_empty() {
            let bind = !going && self.schedules;
            if bind {
                self.schedule(place, &uid, vec![(BIND, Tick::Bind)]);
            } else if !going {
                self.refuse(place, &object);
            }
            return;
        }
        if let Some(pod) = self.pods.get_mut(place) {
            pod.object = object;
            if going && !pod.leaving {
                let ticks = pod.leave();
                self.schedule(place, &uid, ticks);
            }
            return;
        }
        if matches!(read::text(&object, &["status", "phase"]), "Succeeded" | "Failed") {
            return;
        }
        self.counter += 1;
        let number = u32::try_from(self.counter).unwrap_or(u32::MAX);
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)).wrapping_add(number));
        let now = self.core.clock.now_text();
        let mut pod = Pod::new(object, address, &self.resolver, &now, self.seed);
        let mut ticks = pod.start(&now);
        if going {
            ticks.extend(pod.leave());
        }
        self.pods.insert(place.clone(), pod);
        self.schedule(place, &uid, ticks);
        self.write_status(place);
    }

    fn tick(&mut self, place: &Place, uid: &str, tick: Tick) {
        match tick {
            Tick::Bind => {
                let body = json!({
                    "apiVersion": "v1", "kind": "Binding", "metadata": {"name": place.1, "namespace": place.0},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": NAME},
                });
                // A pod that is gone, or bound, needs none.
                let _ = self.request(Verb::Create, place, "binding", body);
                self.take_up();
            }
            Tick::Gone => {
                let body = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
                // It can only be gone already.
                let _ = self.request(Verb::Delete, place, "", body);
                self.take_up();
            }
            _ if self.pods.get(place).is_some_and(|pod| pod.uid == uid) => {
                self.with(place, |pod, now| pod.tick(tick, now));
            }
            _ => {}
        }
    }

    fn write_status(&mut self, place: &Place) {
        let now = self.core.clock.now_text();
        let Some(pod) = self.pods.get_mut(place) else { return };
        self.street.set(pod.address, pod.program());
        let status = pod.status(self.ready, &now);
        if status == pod.written {
            return;
        }
        pod.written = status.clone();
        self.store_status(place, &status);
    }

    /// Says why a pod is not bound.
    fn refuse(&self, place: &Place, object: &Value) {
        let message = "0/1 nodes are available: 1 Insufficient cpu.";
        let known = read::list(object, &["status", "conditions"]).iter();
        if !known.into_iter().any(|one| read::text(one, &["message"]) == message) {
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastTransitionTime": self.core.clock.now_text(),
            });
            self.store_status(place, &json!({"phase": "Pending", "conditions": [condition]}));
        }
    }

    /// Replaces the status; conditions that are not ours stay.
    fn store_status(&self, place: &Place, status: &Value) {
        let live = self.kind.as_ref().and_then(|kind| self.core.store().get(kind, &place.0, &place.1));
        let Some(live) = live else { return };
        let mut new = (*live).clone();
        let ours = read::list(status, &["conditions"]);
        let foreign = read::list(&live, &["status", "conditions"])
            .iter()
            .filter(|old| !ours.iter().any(|mine| read::text(mine, &["type"]) == read::text(old, &["type"])));
        let conditions: Vec<Value> = ours.iter().chain(foreign).cloned().collect();
        let mut status = status.clone();
        read::set(&mut status, &["conditions"], conditions);
        read::set(&mut new, &["status"], status);
        // Under the store's own lock nobody can have been faster.
        let _ = self.request(Verb::Update, place, "status", new);
    }

    fn request(&self, verb: Verb, place: &Place, door: &str, body: Value) -> Result<(), ApiError> {
        let kind = self.kind.clone().ok_or_else(ApiError::no_such_path)?;
        let mut request = Request::internal(kind, verb, (&place.0, &place.1), (NAME, body));
        door.clone_into(&mut request.subresource);
        self.core.perform(&request).map(drop)
    }
}

fn place_of(object: &Value) -> Place {
    let part = |name: &str| read::text(object, &["metadata", name]).to_owned();
    (part("namespace"), part("name"))
}
