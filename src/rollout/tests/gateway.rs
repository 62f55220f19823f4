//! Routes and gateways of the toy cluster: a gateway takes a change of a route some time after it was made, and until then goes by what
//! it took before.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::World;
use crate::model::object::{Fence, ObjectKey};
use crate::model::observed::{Known, Live};
use crate::model::{LABEL_TRACK, traffic::CANARY};
use crate::rollout::route::{self, Names, tests::patched};

pub const WEB: Names<'static> = Names { service: "web", namespace: "shop" };

pub fn http_key() -> ObjectKey {
    "gateway.networking.k8s.io/v1:HTTPRoute:shop:edge".parse().unwrap()
}

pub fn istio_key() -> ObjectKey {
    "networking.istio.io/v1:VirtualService:shop:edge".parse().unwrap()
}

pub fn http_route(refs: &Value) -> Value {
    json!({"metadata": {"name": "edge", "namespace": "shop"},
        "spec": {"parentRefs": [{"name": "gate"}], "rules": [
            {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": refs},
            {"backendRefs": [{"name": "other"}]}]}})
}

pub fn virtual_service() -> Value {
    json!({"metadata": {"name": "edge", "namespace": "shop"},
        "spec": {"hosts": ["shop.example.com"], "http": [{"retries": {"attempts": 2}, "route": [{"destination": {"host": "web"}}]}]}})
}

/// What a gateway goes by, with the annotations that stood when it took it.
fn carried(object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    spec["annotations"] = object["metadata"]["annotations"].clone();
    spec
}

impl World {
    /// Puts a route into the cluster; gateways take it at once.
    pub fn put_route(&mut self, key: &ObjectKey, body: &Value) {
        for (group, kinds) in [
            ("gateway.networking.k8s.io/v1", &["HTTPRoute"][..]),
            ("networking.istio.io/v1", &["VirtualService", "DestinationRule"]),
        ] {
            for kind in kinds.iter().filter(|_| key.api_version == group) {
                self.routes.served.insert((group.to_owned(), (*kind).to_owned()));
            }
        }
        self.clock += 1;
        let mut object = body.clone();
        object["metadata"]["generation"] = json!(1);
        let live = Live {
            uid: format!("u{}", self.clock),
            resource_version: self.clock.to_string(),
            managed: false,
            scaled: false,
            object: Arc::new(object),
        };
        self.obeyed.insert(key.clone(), carried(body));
        self.routes.objects.insert(key.clone(), Known::Present(live));
        self.stir();
        let gateway = self.gateway.replace(0);
        self.changed.insert(key.clone(), self.now);
        self.gateways();
        self.gateway = gateway;
    }

    pub fn drop_route(&mut self, key: &ObjectKey) {
        self.routes.objects.insert(key.clone(), Known::Absent);
        self.obeyed.remove(key);
        self.stir();
    }

    pub fn route(&self, key: &ObjectKey) -> Value {
        self.routes.object(key).present().unwrap().object.as_ref().clone()
    }

    /// Somebody's edit of a route.
    pub fn edit_route(&mut self, key: &ObjectKey, edit: impl FnOnce(&mut Value)) {
        let mut object = self.route(key);
        edit(&mut object);
        self.store_route(key, object);
        self.stir();
    }

    pub fn patch_route(&mut self, key: &ObjectKey, patch: &[Value], fence: Option<&Fence>) {
        let live = self.routes.object(key).present().expect("a patch of what is there");
        if fence.is_some_and(|fence| fence.resource_version != live.resource_version || fence.uid != live.uid)
        {
            return;
        }
        let object = patched(live.object.as_ref(), patch);
        self.store_route(key, object);
    }

    fn store_route(&mut self, key: &ObjectKey, mut object: Value) {
        self.clock += 1;
        let version = self.clock.to_string();
        let now = self.now;
        let Some(Known::Present(live)) = self.routes.objects.get_mut(key) else { panic!("no route {key}") };
        if object["spec"] != live.object["spec"] {
            let generation = live.object["metadata"]["generation"].as_u64().unwrap() + 1;
            object["metadata"]["generation"] = json!(generation);
            self.changed.insert(key.clone(), now);
        }
        live.resource_version = version;
        live.object = Arc::new(object);
    }

    /// Gateways take what was changed long enough ago.
    pub fn gateways(&mut self) {
        let Some(delay) = self.gateway.map(Duration::from_secs) else { return };
        let due: Vec<ObjectKey> = self
            .changed
            .iter()
            .filter(|(_, at)| at.checked_add(delay).unwrap() <= self.now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.changed.remove(&key);
            if self.routes.object(&key).present().is_none() {
                continue;
            }
            let mut object = self.route(&key);
            let generation = object["metadata"]["generation"].clone();
            let said = |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": generation});
            if key.kind == "HTTPRoute" {
                let conditions = json!([said("Accepted"), said("ResolvedRefs")]);
                object["status"] =
                    json!({"parents": [{"parentRef": {"name": "gate"}, "conditions": conditions}]});
            } else {
                object["status"] =
                    json!({"observedGeneration": generation.to_string(), "conditions": [said("Reconciled")]});
            }
            self.obeyed.insert(key.clone(), carried(&object));
            self.store_route(&key, object);
            self.stir();
        }
    }

    /// Returns the candidate's share as gateways have it; none while they do not tell the tracks apart.
    pub fn share(&self) -> Option<u8> {
        let service = self.object("web").map(|body| body["spec"]["selector"][LABEL_TRACK].clone());
        let narrowed =
            service.filter(|track| !track.is_null()).map(|track| if track == CANARY { 100 } else { 0 });
        let routes = self.obeyed.iter().filter_map(|(key, spec)| {
            let object = json!({"spec": spec, "metadata": {"annotations": spec["annotations"]}});
            route::share(route::dialect(key)?, &object, WEB)
        });
        routes.max().or(narrowed)
    }

    /// What must hold of routes at any moment.
    pub fn check_routes(&mut self, canary: u32) {
        let share = self.share();
        if let Some(share) = share.filter(|share| self.shares.last() != Some(share)) {
            self.shares.push(share);
        }
        let named = self.obeyed.iter().any(|(key, spec)| {
            key.kind == "HTTPRoute"
                && route::names_tracks(route::dialect(key).unwrap(), &json!({"spec": spec}), WEB)
        });
        if named && !self.disturbed {
            let there = self.object("web-stable").is_some() && self.object("web-canary").is_some();
            assert!(there, "{}: a gateway sends to a Service that is not there", self.label);
        }
        let Some(record) = &self.record else { return };
        let running = record.rollout.as_ref().or(record.serving.as_deref());
        let Some(rollout) = running.filter(|rollout| rollout.router.is_some()) else { return };
        assert!(
            share.is_some() || canary == 0 || self.disturbed,
            "{}: {canary} candidate pods before the split is accepted",
            self.label
        );
        let ready = |track: &str| self.pods.iter().any(|pod| pod.track == track && pod.ready_since.is_some());
        if rollout.ending.is_none() && self.gateway == Some(0) && !self.disturbed {
            assert!(
                share.is_none_or(|share| share <= rollout.weight.max(self.granted)),
                "{}: more than is allowed",
                self.label
            );
        }
        if !self.disturbed && rollout.ending.is_none() {
            assert!(
                share.is_none_or(|share| share == 0) || ready("canary"),
                "{}: traffic to nobody",
                self.label
            );
            assert!(
                share.is_none_or(|share| share == 100) || ready("stable"),
                "{}: traffic to nobody",
                self.label
            );
        }
        self.granted = rollout.weight;
        if rollout.ending.is_some() {
            let (number, weight) = (rollout.number, rollout.weight);
            let before =
                self.fallen.filter(|(before, _)| *before == number).map_or(100, |(_, weight)| weight);
            assert!(weight <= before, "{}: the weight rose on the way back", self.label);
            self.fallen = Some((number, weight));
        }
    }
}
