//! A DaemonSet: a pod on every node that fits, replaced node by node or only when somebody deletes it. It follows `pkg/controller/daemon` of
//! Kubernetes 1.36, without surge, without taints (its pods tolerate all that this server sets) and without a back-off for failed pods.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    super::{
        api::ApiError,
        json,
        node::{affinity_to, node_of},
    },
    Outcome, conditions,
    hands::{Hands, claim, is_going},
    history::{HASH, History, name_of, owned, pod_of, template_of},
    pods,
};

/// Brings one DaemonSet to what it asks for.
pub(super) fn sync(hands: &Hands, namespace: &str, name: &str) -> Outcome {
    let Some(set) = hands.daemon_set(namespace, name) else { return Outcome::Done };
    if is_going(&set) {
        return Outcome::Done;
    }
    let mine = claim(&set, "DaemonSet", hands.pods(namespace), |pod| hands.update_pod(pod));
    let Ok(history) = History::read(hands, &set, "DaemonSet") else { return Outcome::Failed };
    let seconds = json::int(&set, &["spec", "minReadySeconds"]).unwrap_or(0);
    let work = Work {
        hands,
        set: &set,
        pods: owned(&mine),
        nodes: hands
            .nodes()
            .iter()
            .filter(|node| fits(&set, node))
            .map(|node| name_of(node).to_owned())
            .collect(),
        update: &history.update,
        min_ready: hands.scaled(Duration::from_secs(seconds.unsigned_abs())),
    };
    let status = work.status();
    let mut failed = work.manage().is_err() || work.replace().is_err();
    if set.get("status") != Some(&status) {
        let mut new = Value::clone(&set);
        json::set(&mut new, &["status"], status);
        failed |= hands.update_daemon_set_status(new).is_err();
    }
    let live = |one: &Value| {
        name_of(one) == name_of(work.update) || work.pods.iter().any(|pod| hash_of(pod) == hash_of(one))
    };
    failed |= history.tidy(hands, &set, live).is_err();
    let waits = work.pods.iter().filter_map(|pod| pods::until_available(pod, work.min_ready, hands.now()));
    match waits.filter(|wait| !wait.is_zero()).min() {
        _ if failed => Outcome::Failed,
        Some(wait) => Outcome::Later(wait + Duration::from_millis(1)),
        None => Outcome::Done,
    }
}

/// Tells whether a pod of a DaemonSet may run on a node, by its `nodeSelector`.
fn fits(set: &Value, node: &Value) -> bool {
    let mut wanted = json::pairs(set, &["spec", "template", "spec", "nodeSelector"]);
    wanted.all(|(key, value)| json::text_opt(node, &["metadata", "labels", key]) == Some(value))
}

fn hash_of(object: &Value) -> &str {
    json::text(object, &["metadata", "labels", HASH])
}

/// One look at a DaemonSet.
struct Work<'a> {
    hands: &'a Hands,
    set: &'a Value,
    pods: Vec<Value>,
    /// The nodes that fit.
    nodes: Vec<String>,
    /// The revision of the present template.
    update: &'a Arc<Value>,
    min_ready: Duration,
}

impl Work<'_> {
    fn on(&self, node: &str) -> impl Iterator<Item = &Value> {
        self.pods.iter().filter(move |pod| node_of(pod) == node)
    }

    fn is_available(&self, pod: &Value) -> bool {
        let wait = pods::until_available(pod, self.min_ready, self.hands.now());
        wait.is_some_and(|wait| wait.is_zero()) && !is_going(pod)
    }

    fn is_updated(&self, pod: &Value) -> bool {
        hash_of(pod) == hash_of(self.update)
    }

    /// Makes what is missing, and deletes what ended, what is one too many on a node, and what is where it should not be.
    fn manage(&self) -> Result<(), ApiError> {
        let astray = |pod: &&Value| !self.nodes.iter().any(|node| node_of(pod) == node);
        for pod in self.pods.iter().filter(astray).filter(|pod| !is_going(pod)) {
            self.hands.delete_pod(pod)?;
        }
        for node in &self.nodes {
            let (ended, lasting): (Vec<&Value>, Vec<&Value>) =
                self.on(node).partition(|pod| pods::has_ended(pod));
            let mut active: Vec<&Value> = lasting.iter().copied().filter(|pod| !is_going(pod)).collect();
            active.sort_by_key(|pod| json::text(pod, &["metadata", "creationTimestamp"]));
            let doubles = active.into_iter().skip(1);
            for pod in ended.into_iter().filter(|pod| !is_going(pod)).chain(doubles) {
                self.hands.delete_pod(pod)?;
            }
            if lasting.is_empty() {
                let namespace = json::text(self.set, &["metadata", "namespace"]);
                self.hands.create_pod(namespace, self.new_pod(node))?;
            }
        }
        Ok(())
    }

    /// With `RollingUpdate`: deletes old pods that are not available, and as many of the others as may be away.
    fn replace(&self) -> Result<(), ApiError> {
        if json::text(self.set, &["spec", "updateStrategy", "type"]) != "RollingUpdate" {
            return Ok(());
        }
        let (mut away, mut broken, mut others) = (0, Vec::new(), Vec::new());
        for node in &self.nodes {
            let mut active = self.on(node).filter(|pod| pods::is_active(pod));
            match active.next() {
                None => away += 1,
                Some(pod) if self.is_updated(pod) => away += usize::from(!self.is_available(pod)),
                Some(pod) if !self.is_available(pod) => broken.push(pod),
                Some(pod) => others.push(pod),
            }
        }
        let room = self.most_away().saturating_sub(away);
        for pod in broken.into_iter().chain(others.into_iter().take(room)) {
            self.hands.delete_pod(pod)?;
        }
        Ok(())
    }

    fn most_away(&self) -> usize {
        let most = json::at(self.set, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]);
        let share = |text: &str| text.strip_suffix('%')?.parse::<usize>().ok();
        match most {
            Some(Value::Number(number)) => number.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(1),
            Some(Value::String(text)) => {
                share(text).map_or(1, |share| (self.nodes.len() * share).div_ceil(100))
            }
            _ => 1,
        }
    }

    fn new_pod(&self, node: &str) -> Value {
        let mut pod = pod_of(self.set, "DaemonSet", &template_of(self.update));
        json::set(&mut pod, &["metadata", "generateName"], format!("{}-", name_of(self.set)));
        json::set(&mut pod, &["metadata", "labels", HASH], hash_of(self.update));
        json::set(&mut pod, &["spec", "affinity", "nodeAffinity"], affinity_to(node));
        let lost = ["not-ready", "unreachable"].map(|taint| (taint, "NoExecute"));
        let full = ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"];
        let tolerated = lost.into_iter().chain(full.map(|taint| (taint, "NoSchedule")));
        let spec = json::map_mut(&mut pod, &["spec"]);
        json::list_mut(spec, "tolerations").extend(tolerated.map(|(taint, effect)| {
            json!({"key": format!("node.kubernetes.io/{taint}"), "operator": "Exists", "effect": effect})
        }));
        pod
    }

    fn status(&self) -> Value {
        let count = |holds: &dyn Fn(&Value) -> bool| {
            let on_node = |node: &&String| self.on(node).any(|pod| pods::is_active(pod) && holds(pod));
            i64::try_from(self.nodes.iter().filter(on_node).count()).unwrap_or(i64::MAX)
        };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let astray = |pod: &&Value| !self.nodes.iter().any(|node| node_of(pod) == node);
        let (wanted, available) = (number(self.nodes.len()), count(&|pod| self.is_available(pod)));
        let mut status = json!({
            "desiredNumberScheduled": wanted,
            "currentNumberScheduled": count(&|_| true),
            "numberMisscheduled": number(self.pods.iter().filter(astray).count()),
            "numberReady": count(&pods::is_ready),
        });
        let map = json::as_map(&mut status);
        conditions::count(map, "updatedNumberScheduled", count(&|pod| self.is_updated(pod)));
        conditions::count(map, "numberAvailable", available);
        conditions::count(map, "numberUnavailable", wanted - available);
        conditions::count(
            map,
            "observedGeneration",
            json::int(self.set, &["metadata", "generation"]).unwrap_or(0),
        );
        status
    }
}
