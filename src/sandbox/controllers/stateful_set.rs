//! A StatefulSet: pods with stable names in order, replaced from the highest ordinal down to the partition. It follows
//! `stateful_set_control.go` of Kubernetes 1.36, without claims for volumes and with at most one pod unavailable.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    super::{api::ApiError, json},
    Outcome, conditions,
    hands::{Hands, claim, is_going},
    history::{HASH, History, name_of, owned, pod_of, template_of},
    pods,
};

/// Brings one StatefulSet to what it asks for.
pub(super) fn sync(hands: &Hands, namespace: &str, name: &str) -> Outcome {
    let Some(set) = hands.stateful_set(namespace, name) else { return Outcome::Done };
    let mine = claim(&set, "StatefulSet", hands.pods(namespace), |pod| hands.update_pod(pod));
    let Ok(history) = History::read(hands, &set, "StatefulSet") else { return Outcome::Failed };
    let current = history.named(json::text(&set, &["status", "currentRevision"])).unwrap_or(&history.update);
    let seconds = json::int(&set, &["spec", "minReadySeconds"]).unwrap_or(0);
    let work = Work {
        hands,
        set: &set,
        pods: owned(&mine),
        current,
        update: &history.update,
        min_ready: hands.scaled(Duration::from_secs(seconds.unsigned_abs())),
    };
    let status = work.status();
    let mut failed = !is_going(&set) && work.manage().is_err();
    if set.get("status") != Some(&status) {
        let mut new = Value::clone(&set);
        json::set(&mut new, &["status"], status);
        failed |= hands.update_stateful_set_status(new).is_err();
    }
    let live = |one: &Value| {
        let name = name_of(one);
        name == name_of(work.current)
            || name == name_of(work.update)
            || work.pods.iter().any(|pod| revision_of(pod) == name)
    };
    failed |= history.tidy(hands, &set, live).is_err();
    if failed {
        return Outcome::Failed;
    }
    let waits = work.pods.iter().filter_map(|pod| pods::until_available(pod, work.min_ready, hands.now()));
    match waits.filter(|wait| !wait.is_zero()).min() {
        Some(wait) => Outcome::Later(wait + Duration::from_millis(1)),
        None => Outcome::Done,
    }
}

/// One look at a StatefulSet.
struct Work<'a> {
    hands: &'a Hands,
    set: &'a Value,
    pods: Vec<Value>,
    /// The revision that pods below the partition are made from.
    current: &'a Value,
    /// The revision of the present template.
    update: &'a Value,
    min_ready: Duration,
}

impl Work<'_> {
    fn ordinal(&self, pod: &Value) -> Option<i64> {
        let rest = name_of(pod).strip_prefix(name_of(self.set))?.strip_prefix('-')?;
        rest.parse().ok().filter(|ordinal| *ordinal >= 0)
    }

    fn is_available(&self, pod: &Value) -> bool {
        let wait = pods::until_available(pod, self.min_ready, self.hands.now());
        is_running(pod) && wait.is_some_and(|wait| wait.is_zero()) && !is_going(pod)
    }

    /// Does as much as one look does: what is missing or ended, then what is too many, then one pod of another template.
    fn manage(&self) -> Result<(), ApiError> {
        let wanted = json::int(self.set, &["spec", "replicas"]).unwrap_or(1);
        let start = json::int(self.set, &["spec", "ordinals", "start"]).unwrap_or(0);
        let ordered = json::text(self.set, &["spec", "podManagementPolicy"]) != "Parallel";
        let mut replicas: BTreeMap<i64, Option<&Value>> =
            (start..start.saturating_add(wanted)).map(|ordinal| (ordinal, None)).collect();
        let mut condemned: BTreeMap<i64, &Value> = BTreeMap::new();
        for pod in &self.pods {
            let Some(ordinal) = self.ordinal(pod) else { continue };
            match replicas.get_mut(&ordinal) {
                Some(place) => *place = Some(pod),
                None => drop(condemned.insert(ordinal, pod)),
            }
        }
        for (ordinal, pod) in &replicas {
            if self.keep(*ordinal, *pod, ordered)? && ordered {
                return Ok(());
            }
        }
        let unhealthy = replicas.values().flatten().copied().chain(condemned.values().copied());
        let first_unhealthy = unhealthy.into_iter().find(|pod| !self.is_available(pod)).map(name_of);
        for pod in condemned.values().rev() {
            let blocked = !self.is_available(pod) && first_unhealthy != Some(name_of(pod));
            if ordered && (is_going(pod) || blocked) {
                return Ok(());
            }
            if !is_going(pod) {
                self.hands.delete_pod(pod)?;
                if ordered {
                    return Ok(());
                }
            }
        }
        self.replace(&replicas)
    }

    /// Makes a pod that is missing and deletes one that ended; true if the pods above it have to wait.
    fn keep(&self, ordinal: i64, pod: Option<&Value>, ordered: bool) -> Result<bool, ApiError> {
        let Some(pod) = pod else {
            let namespace = json::text(self.set, &["metadata", "namespace"]);
            self.hands.create_pod(namespace, self.new_pod(ordinal))?;
            return Ok(true);
        };
        if pods::has_ended(pod) {
            if !is_going(pod) {
                self.hands.delete_pod(pod)?;
            }
            return Ok(true);
        }
        Ok(ordered && !self.is_available(pod))
    }

    /// Deletes the highest pod of another template, unless one that has the new one is not available.
    fn replace(&self, replicas: &BTreeMap<i64, Option<&Value>>) -> Result<(), ApiError> {
        if json::text(self.set, &["spec", "updateStrategy", "type"]) != "RollingUpdate" {
            return Ok(());
        }
        let partition = self.partition();
        for (_, pod) in replicas.iter().rev().filter(|(ordinal, _)| **ordinal >= partition) {
            let Some(pod) = pod else { return Ok(()) };
            if revision_of(pod) != name_of(self.update) && !is_going(pod) {
                return self.hands.delete_pod(pod).map(drop);
            }
            if !self.is_available(pod) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The ordinal below which the former template stays.
    fn partition(&self) -> i64 {
        let start = json::int(self.set, &["spec", "ordinals", "start"]).unwrap_or(0);
        let rolling = json::at(self.set, &["spec", "updateStrategy", "rollingUpdate"]);
        start + rolling.and_then(|rolling| json::int(rolling, &["partition"])).unwrap_or(0)
    }

    fn new_pod(&self, ordinal: i64) -> Value {
        let rolling = json::text(self.set, &["spec", "updateStrategy", "type"]) == "RollingUpdate";
        let former = rolling && ordinal < self.partition();
        let revision = if former { self.current } else { self.update };
        let mut pod = pod_of(self.set, "StatefulSet", &template_of(revision));
        let name = format!("{}-{ordinal}", name_of(self.set));
        json::set(&mut pod, &["metadata", "labels", HASH], name_of(revision));
        json::set(&mut pod, &["metadata", "labels", "statefulset.kubernetes.io/pod-name"], name.as_str());
        json::set(&mut pod, &["metadata", "labels", "apps.kubernetes.io/pod-index"], ordinal.to_string());
        json::set(&mut pod, &["spec", "hostname"], name.as_str());
        let service = json::text(self.set, &["spec", "serviceName"]);
        if !service.is_empty() {
            json::set(&mut pod, &["spec", "subdomain"], service);
        }
        json::set(&mut pod, &["metadata", "name"], name);
        pod
    }

    fn status(&self) -> Value {
        let count = |holds: &dyn Fn(&Value) -> bool| {
            i64::try_from(self.pods.iter().filter(|pod| holds(pod)).count()).unwrap_or(i64::MAX)
        };
        let of =
            |revision: &Value| count(&|pod: &Value| !is_going(pod) && revision_of(pod) == name_of(revision));
        let wanted = json::int(self.set, &["spec", "replicas"]).unwrap_or(1);
        let (all, ready) = (count(&|_| true), count(&|pod| is_running(pod) && pods::is_ready(pod)));
        let (mut current, updated) = (of(self.current), of(self.update));
        let mut revision = name_of(self.current);
        let rolling = json::text(self.set, &["spec", "updateStrategy", "type"]) == "RollingUpdate";
        if rolling && [updated, ready, all].iter().all(|number| *number == wanted) {
            (current, revision) = (updated, name_of(self.update));
        }
        let mut status = json!({
            "replicas": all, "availableReplicas": count(&|pod| self.is_available(pod)),
            "collisionCount": 0, "currentRevision": revision, "updateRevision": name_of(self.update),
        });
        let map = json::as_map(&mut status);
        conditions::count(map, "readyReplicas", ready);
        conditions::count(map, "currentReplicas", current);
        conditions::count(map, "updatedReplicas", updated);
        conditions::count(
            map,
            "observedGeneration",
            json::int(self.set, &["metadata", "generation"]).unwrap_or(0),
        );
        status
    }
}

fn revision_of(pod: &Value) -> &str {
    json::text(pod, &["metadata", "labels", HASH])
}

fn is_running(pod: &Value) -> bool {
    json::text(pod, &["status", "phase"]) == "Running"
}
