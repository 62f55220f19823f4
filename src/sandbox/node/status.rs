//! A pod's status as a kubelet keeps it, and the pod's last steps.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};

use super::{
    container::{Container, State},
    pod::Pod,
};
use crate::sandbox::json;

/// The conditions of a pod, with the times of their last turns.
#[derive(Debug, Default)]
pub(crate) struct Conditions(BTreeMap<&'static str, (Value, String)>);

impl Conditions {
    /// The conditions as they are `now`; what did not turn keeps its time.
    fn render(&mut self, current: Vec<(&'static str, Value)>, now: &str) -> Vec<Value> {
        let mut out = Vec::new();
        for (kind, body) in current {
            let entry = self.0.entry(kind).or_insert_with(|| (body.clone(), now.to_owned()));
            if entry.0.get("status") != body.get("status") {
                now.clone_into(&mut entry.1);
            }
            entry.0 = body.clone();
            let mut condition = body;
            json::set(&mut condition, &["type"], kind);
            json::set(&mut condition, &["lastTransitionTime"], entry.1.as_str());
            out.push(condition);
        }
        out
    }
}

fn state(holds: bool, reason: &str, message: &str) -> Value {
    if holds {
        // In a strategic patch what is not named stays.
        json!({"status": "True", "reason": null, "message": null})
    } else {
        json!({"status": "False", "reason": reason, "message": message})
    }
}

/// What a status is made of.
pub(crate) struct Facts<'a> {
    pub(crate) containers: &'a [Container],
    /// The node put the pod out.
    pub(crate) put_out: bool,
    pub(crate) node_ready: bool,
    pub(crate) address: Ipv4Addr,
    pub(crate) host: Ipv4Addr,
    pub(crate) started: &'a str,
    pub(crate) generation: Option<i64>,
    pub(crate) now: &'a str,
}

impl Facts<'_> {
    fn names(&self, chosen: impl Fn(&Container) -> bool) -> String {
        let names: Vec<&str> =
            self.containers.iter().filter(|one| chosen(one)).map(|one| one.name.as_str()).collect();
        format!("containers with unready status: [{}]", names.join(" "))
    }

    fn phase(&self) -> &'static str {
        let all = |holds: fn(&Container) -> bool| self.containers.iter().all(holds);
        if self.put_out {
            return "Failed";
        }
        // Between two runs a container that starts again is neither ended nor pending.
        let ended = all(|one| matches!(one.state, State::Ended(_)));
        if ended && self.containers.iter().any(|one| one.last.as_ref().is_some_and(|last| last.code != 0)) {
            return "Failed";
        }
        if ended {
            return "Succeeded";
        }
        let never = |one: &Container| one.run == 0;
        if self.containers.iter().any(never) { "Pending" } else { "Running" }
    }

    /// The status; what did not turn keeps its time in `conditions`.
    pub(crate) fn status(&self, conditions: &mut Conditions) -> Value {
        let ready = !self.put_out && self.containers.iter().all(|one| one.ready);
        let unready = self.names(|one| !one.ready);
        let phase = self.phase();
        let reason = if phase == "Succeeded" { "PodCompleted" } else { "ContainersNotReady" };
        let mut current = vec![
            ("PodReadyToStartContainers", json!({"status": "True"})),
            ("Initialized", json!({"status": "True"})),
            ("Ready", state(ready && self.node_ready, reason, &unready)),
            ("ContainersReady", state(ready, reason, &unready)),
            ("PodScheduled", json!({"status": "True"})),
        ];
        if self.put_out {
            let message = "The node was low on resource: memory.";
            current.push((
                "DisruptionTarget",
                json!({"status": "True", "reason": "TerminationByKubelet", "message": message}),
            ));
        }
        let conditions = conditions.render(current, self.now);
        let address = self.address.to_string();
        let host = self.host.to_string();
        let mut status = json!({
            "phase": phase, "conditions": conditions, "startTime": self.started,
            "hostIP": host, "hostIPs": [{"ip": host}], "podIP": address, "podIPs": [{"ip": address}],
            "containerStatuses": self.containers.iter().map(Container::status).collect::<Vec<_>>(),
        });
        if let Some(generation) = self.generation {
            json::set(&mut status, &["observedGeneration"], generation);
        }
        if self.put_out {
            json::set(&mut status, &["reason"], "Evicted");
            json::set(&mut status, &["message"], "The node was low on resource: memory.");
        }
        status
    }
}

impl Pod {
    fn status(&mut self) -> Value {
        let facts = Facts {
            containers: &self.containers,
            put_out: self.put_out,
            node_ready: self.node_ready,
            address: self.address,
            host: self.shared.address,
            started: &self.started,
            generation: json::int(&self.object, &["metadata", "generation"]),
            now: &self.shared.clock.now_text(),
        };
        facts.status(&mut self.conditions)
    }

    fn place(&self) -> (String, String) {
        let part = |name: &str| json::text(&self.object, &["metadata", name]).to_owned();
        (part("namespace"), part("name"))
    }

    /// Tells the server how the pod stands, if that changed; false if it has to be tried again.
    pub(super) async fn write_status(&mut self) -> bool {
        let status = self.status();
        self.shared.note_traffic(&self.place(), &self.containers);
        if status == self.written {
            return true;
        }
        let (namespace, name) = self.place();
        let uid = json::text(&self.object, &["metadata", "uid"]);
        // With the UID a pod of the same name that came later is not touched; merged by type, conditions of others stay.
        let patch = Patch::Strategic(json!({"metadata": {"uid": uid}, "status": status.clone()}));
        let params = PatchParams { field_manager: Some("kubelet".to_owned()), ..PatchParams::default() };
        match self.shared.pods(&namespace).patch_status(&name, &params, &patch).await {
            Ok(_) => {
                self.written = status;
                true
            }
            // Gone or another: the watch says so too.
            Err(kube::Error::Api(answer)) => matches!(answer.code, 404 | 409 | 422),
            Err(_) => false,
        }
    }

    /// Lets the containers end in their time, then takes the object away.
    pub(super) async fn leave(mut self) {
        let grace = json::int(&self.object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(30);
        let grace = self.shared.scaled(Duration::from_secs(grace.unsigned_abs()));
        let hook = self.containers.iter().filter_map(|one| one.pre_stop).max().unwrap_or_default();
        let hook = self.shared.scaled(hook).min(grace);
        if !hook.is_zero() {
            tokio::time::sleep(hook).await;
        }
        // Requests under way are answered, if that does not take longer than the grace.
        for container in &self.containers {
            container.ending.drain.cancel();
            container.servers.close();
            let _ = tokio::time::timeout(grace, container.servers.wait()).await;
        }
        let now = self.shared.clock.now_text();
        for container in &mut self.containers {
            container.end(0, "Completed", "", &now);
        }
        self.token.cancel();
        let (namespace, name) = self.place();
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(json::text(&self.object, &["metadata", "uid"]).to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default().grace_period(0)
        };
        loop {
            self.write_status().await;
            match self.shared.pods(&namespace).delete(&name, &params).await {
                Ok(_) => return,
                Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}
