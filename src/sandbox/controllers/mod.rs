//! What a controller manager does to Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs, autoscalers and what is left behind by a deleted owner.
//!
//! What it does: follows the store's changes and brings pods, replica sets and statuses to where the genuine controllers
//! would bring them, by the same arithmetic. Not used beside a genuine server, which has its own.
//!
//! What comes in: the changes of an in-process server. What goes out: writes to it, under the `User-Agent`
//! `kube-controller-manager`, through the fault hook and the log of requests like anyone's.

mod autoscaler;
mod conditions;
mod cron_job;
#[cfg(test)]
mod cron_tests;
mod daemon_set;
mod deployment;
mod garbage;
mod hands;
mod history;
mod job;
#[cfg(test)]
mod nodes_tests;
mod pods;
mod replica_set;
mod revision;
mod rolling;
mod scaling;
#[cfg(test)]
mod sets_tests;
mod stateful_set;
mod status;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::hands::Hands;
use super::{
    api::{ApiServer, Change},
    json,
};

/// What is to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Dependents of owners that are gone or going.
    Garbage,
    ReplicaSet(String, String),
    Deployment(String, String),
    Autoscaler(String, String),
    StatefulSet(String, String),
    DaemonSet(String, String),
    Job(String, String),
    CronJob(String, String),
}

/// What came of one look.
enum Outcome {
    Done,
    /// Nothing to do before this time has passed.
    Later(Duration),
    /// A write was refused; to be tried again, later each time.
    Failed,
}

/// Starts the controllers; they end with `token`.
pub(crate) fn start(server: &ApiServer, time_scale: f64, tasks: &TaskTracker, token: CancellationToken) {
    let manager = Manager::new(server, time_scale);
    tasks.spawn(async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = manager.run() => {}
        }
    });
}

/// The controllers, to be run as a task or step by step.
pub(crate) struct Manager {
    hands: Hands,
    /// Changes up to this version were taken up.
    cursor: u64,
    due: BTreeSet<Key>,
    timers: BTreeMap<Key, Instant>,
    failures: BTreeMap<Key, u32>,
    recommended: autoscaler::Memory,
}

impl Manager {
    pub(crate) fn new(server: &ApiServer, time_scale: f64) -> Self {
        Self {
            hands: Hands::new(server, time_scale),
            cursor: 0,
            due: BTreeSet::new(),
            timers: BTreeMap::new(),
            failures: BTreeMap::new(),
            recommended: autoscaler::Memory::new(),
        }
    }

    /// Does all that is due now.
    pub(crate) fn settle(&mut self) {
        self.fire();
        self.take_up();
        while let Some(key) = self.due.pop_first() {
            self.look(key);
            self.take_up();
        }
    }

    /// When something is due although nothing changes.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.timers.values().min().copied()
    }

    async fn run(mut self) {
        let mut changes = self.hands.subscribe();
        loop {
            changes.mark_unchanged();
            self.take_up();
            while let Some(key) = self.due.pop_first() {
                self.look(key);
                self.take_up();
                // Others get their turn between two looks.
                tokio::task::yield_now().await;
            }
            let next = self.next();
            tokio::select! {
                alive = changes.changed() => if alive.is_err() { return },
                () = wait_until(next) => self.fire(),
            }
        }
    }

    fn fire(&mut self) {
        let now = Instant::now();
        let ready: Vec<Key> =
            self.timers.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in ready {
            self.timers.remove(&key);
            self.due.insert(key);
        }
    }

    fn look(&mut self, key: Key) {
        let outcome = match &key {
            Key::Garbage => garbage::collect(&self.hands),
            Key::ReplicaSet(namespace, name) => replica_set::sync(&self.hands, namespace, name),
            Key::Deployment(namespace, name) => deployment::sync(&self.hands, namespace, name),
            Key::Autoscaler(namespace, name) => {
                autoscaler::sync(&self.hands, &mut self.recommended, namespace, name)
            }
            Key::StatefulSet(namespace, name) => stateful_set::sync(&self.hands, namespace, name),
            Key::DaemonSet(namespace, name) => daemon_set::sync(&self.hands, namespace, name),
            Key::CronJob(namespace, name) => cron_job::sync(&self.hands, namespace, name),
            Key::Job(namespace, name) => job::sync(&self.hands, namespace, name),
        };
        match outcome {
            Outcome::Done => {
                self.failures.remove(&key);
            }
            Outcome::Later(time) => {
                self.failures.remove(&key);
                self.timers.insert(key, Instant::now() + time);
            }
            Outcome::Failed => {
                let count = self.failures.entry(key.clone()).or_default();
                let wait = Duration::from_millis(5).saturating_mul(1 << (*count).min(12));
                *count += 1;
                self.timers.insert(key, Instant::now() + self.hands.scaled(wait));
            }
        }
    }

    /// Turns changes into keys. If they were forgotten before they were seen, everything is looked at.
    fn take_up(&mut self) {
        let (changes, version) = self.hands.changes_since(self.cursor);
        match changes {
            Some(changes) => changes.iter().for_each(|change| self.mark(change)),
            None => self.mark_all(),
        }
        self.cursor = version;
    }

    fn mark(&mut self, change: &Change) {
        let (group, plural) = (&change.place.0, &change.place.1);
        match (group.as_str(), plural.as_str()) {
            ("apps", "deployments") => {
                self.due.insert(deployment_key(&change.new));
                self.due.extend(self.hands.scaling(&change.new));
            }
            ("autoscaling", "horizontalpodautoscalers") => {
                self.due.insert(autoscaler_key(&change.new));
            }
            ("apps", "statefulsets") => self.due.extend([stateful_set_key(&change.new)]),
            ("apps", "daemonsets") => self.due.extend([daemon_set_key(&change.new)]),
            ("", "nodes") => self.mark_nodes(change),
            ("apps", "replicasets") => {
                self.due.insert(replica_set_key(&change.new));
                self.mark_owner(&change.new);
            }
            ("batch", "cronjobs") => self.due.extend([cron_job_key(&change.new)]),
            ("batch", "jobs") => {
                self.due.insert(job_key(&change.new));
                self.mark_owner(&change.new);
            }
            ("", "pods") => {
                for pod in change.old.iter().chain([&change.new]) {
                    self.mark_owner(pod);
                }
                self.due.extend(self.hands.selecting(&change.new));
            }
            _ => {}
        }
        let going = json::at(&change.new, &["metadata", "deletionTimestamp"]).is_some();
        let owned = !json::list(&change.new, &["metadata", "ownerReferences"]).is_empty();
        if change.deleted || going || (owned && change.old.is_none()) {
            self.due.insert(Key::Garbage);
        }
    }

    /// A node that comes, goes or gets other labels is news to every DaemonSet; what its kubelet says of it is not.
    fn mark_nodes(&mut self, change: &Change) {
        let labels = |node: &Value| json::at(node, &["metadata", "labels"]).cloned();
        if change.deleted || change.old.as_ref().is_none_or(|old| labels(old) != labels(&change.new)) {
            self.due.extend(self.hands.all_daemon_sets().iter().map(|one| daemon_set_key(one)));
        }
    }

    /// The controller of an object, and for a pod the Deployment above it.
    fn mark_owner(&mut self, object: &Value) {
        let namespace = json::text(object, &["metadata", "namespace"]);
        let Some(owner) = hands::controller_of(object) else { return };
        let name = json::text(owner, &["name"]).to_owned();
        match json::text(owner, &["kind"]) {
            "Deployment" => {
                self.due.insert(Key::Deployment(namespace.to_owned(), name));
            }
            "StatefulSet" => {
                self.due.insert(Key::StatefulSet(namespace.to_owned(), name));
            }
            "CronJob" => {
                self.due.insert(Key::CronJob(namespace.to_owned(), name));
            }
            "DaemonSet" => {
                self.due.insert(Key::DaemonSet(namespace.to_owned(), name));
            }
            "Job" => {
                self.due.insert(Key::Job(namespace.to_owned(), name));
            }
            "ReplicaSet" => {
                if let Some(set) = self.hands.replica_set(namespace, &name)
                    && let Some(above) = hands::controller_of(&set)
                {
                    let above = json::text(above, &["name"]).to_owned();
                    self.due.insert(Key::Deployment(namespace.to_owned(), above));
                }
                self.due.insert(Key::ReplicaSet(namespace.to_owned(), name));
            }
            _ => {}
        }
    }

    fn mark_all(&mut self) {
        self.due.insert(Key::Garbage);
        self.due.extend(self.hands.all_deployments().iter().map(|one| deployment_key(one)));
        self.due.extend(self.hands.all_replica_sets().iter().map(|one| replica_set_key(one)));
        self.due.extend(self.hands.autoscalers("").iter().map(|one| autoscaler_key(one)));
        self.due.extend(self.hands.all_stateful_sets().iter().map(|one| stateful_set_key(one)));
        self.due.extend(self.hands.all_daemon_sets().iter().map(|one| daemon_set_key(one)));
        self.due.extend(self.hands.all_cron_jobs().iter().map(|one| cron_job_key(one)));
        self.due.extend(self.hands.all_jobs().iter().map(|one| job_key(one)));
    }
}

fn key_parts(object: &Value) -> (String, String) {
    let part = |name: &str| json::text(object, &["metadata", name]).to_owned();
    (part("namespace"), part("name"))
}

fn deployment_key(object: &Value) -> Key {
    let (namespace, name) = key_parts(object);
    Key::Deployment(namespace, name)
}

fn stateful_set_key(object: &Value) -> Key {
    let (namespace, name) = key_parts(object);
    Key::StatefulSet(namespace, name)
}

fn daemon_set_key(object: &Value) -> Key {
    let (namespace, name) = key_parts(object);
    Key::DaemonSet(namespace, name)
}

fn cron_job_key(object: &Value) -> Key {
    let (namespace, name) = key_parts(object);
    Key::CronJob(namespace, name)
}

fn job_key(object: &Value) -> Key {
    let (namespace, name) = key_parts(object);
    Key::Job(namespace, name)
}

fn replica_set_key(object: &Value) -> Key {
    let (namespace, name) = key_parts(object);
    Key::ReplicaSet(namespace, name)
}

fn autoscaler_key(object: &Value) -> Key {
    let (namespace, name) = key_parts(object);
    Key::Autoscaler(namespace, name)
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
