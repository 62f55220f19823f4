//! The gateway of a simulation: it takes a team's route a while after that changed, says so in its status as a gateway does, and from
//! then on the load goes by it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::bed::{NAMESPACE, SERVICE};
use super::street::Street;
use crate::sandbox::api::{ApiServer, Core, KindSpec, Request};
use crate::sandbox::{Verb, json as read};

/// How long it takes.
const TAKES: Duration = Duration::from_millis(300);
/// By what it is known.
const AGENT: &str = "simulated-gateway";
/// The name of the team's route.
pub(super) const EDGE: &str = "edge";

/// What a team's route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// An `HTTPRoute`.
    HttpRoute,
    /// A `VirtualService`, whose gateway writes no status.
    VirtualService,
}

impl Way {
    /// Group and plural.
    pub(super) fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::HttpRoute => ("gateway.networking.k8s.io", "httproutes"),
            Self::VirtualService => ("networking.istio.io", "virtualservices"),
        }
    }

    /// The team's route, before anybody splits it.
    pub(super) fn route(self) -> Value {
        let metadata = json!({"name": EDGE, "namespace": NAMESPACE});
        match self {
            Self::HttpRoute => json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata,
                "spec": {"parentRefs": [{"name": "gate"}], "rules": [
                    {"timeouts": {"request": "3s"}, "backendRefs": [{"name": SERVICE, "port": 8080}]}]},
            }),
            Self::VirtualService => json!({
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
                "spec": {"hosts": [SERVICE], "http": [
                    {"retries": {"attempts": 2}, "route": [{"destination": {"host": SERVICE}}]}]},
            }),
        }
    }
}

/// The backends of a route, each with its name or subset and its weight.
fn backends(route: &Value) -> impl Iterator<Item = (&str, i64)> {
    let weight = |one: &Value| read::int(one, &["weight"]).unwrap_or(1);
    let rules = read::list(route, &["spec", "rules"]).iter();
    let refs = rules.flat_map(|rule| read::list(rule, &["backendRefs"]));
    let refs = refs.map(move |one| (read::text(one, &["name"]), weight(one)));
    let https = read::list(route, &["spec", "http"]).iter();
    let destinations = https.flat_map(|http| read::list(http, &["route"]));
    refs.chain(destinations.map(move |one| (read::text(one, &["destination", "subset"]), weight(one))))
}

/// The share of the traffic, in per cent, that a route gives the candidate; none where it does not tell the tracks apart.
pub(super) fn share(route: &Value) -> Option<u8> {
    let of = |track: &str| -> Option<i64> {
        let mut found = backends(route)
            .filter(|(name, _)| *name == track || name.strip_prefix("web-") == Some(track))
            .peekable();
        found.peek()?;
        Some(found.map(|(_, weight)| weight).sum())
    };
    let (stable, canary) = (of("stable"), of("canary"));
    if stable.is_none() && canary.is_none() {
        return None;
    }
    let (stable, canary) = (stable.unwrap_or(0), canary.unwrap_or(0));
    u8::try_from((canary * 100).checked_div(stable + canary).unwrap_or(0)).ok()
}

/// See the module.
pub(super) struct Gateway {
    core: Arc<Core>,
    street: Arc<Street>,
    kind: Option<Arc<KindSpec>>,
    cursor: u64,
    /// Since when a change waits, until it is taken.
    due: Option<Instant>,
    generation: Option<i64>,
}

impl Gateway {
    /// Puts a team's route up, whose kind the server serves, and follows it; does nothing where there is none.
    pub(super) fn new(server: &ApiServer, street: Arc<Street>, way: Option<Way>) -> Self {
        let core = Arc::clone(server.core());
        if let Some(way) = way {
            let namespace = json!({"metadata": {"name": NAMESPACE}});
            make(&core, ("", "namespaces"), ("", NAMESPACE), namespace);
            make(&core, way.kind(), (NAMESPACE, EDGE), way.route());
        }
        let kind = way.and_then(|way| core.store().kind(way.kind().0, "v1", way.kind().1));
        Self { core, street, kind, cursor: 0, due: None, generation: None }
    }

    /// When a change is taken.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due
    }

    /// Takes up what changed, and takes what has waited long enough.
    pub(super) fn settle(&mut self) {
        let Some(kind) = self.kind.clone() else { return };
        let route = {
            let store = self.core.store();
            if self.cursor != store.version() {
                self.cursor = store.version();
                let generation = |route: &Arc<Value>| read::int(route, &["metadata", "generation"]);
                let live = store.get(&kind, NAMESPACE, EDGE);
                let generation = live.as_ref().and_then(generation).unwrap_or(0);
                if self.generation.replace(generation) != Some(generation) {
                    self.due = self.due.or(Some(Instant::now() + TAKES));
                }
            }
            store.get(&kind, NAMESPACE, EDGE)
        };
        if self.due.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.due = None;
        let Some(route) = route else { return };
        self.street.set_share(share(&route));
        if kind.plural == "httproutes" {
            self.say(&kind, &route);
        }
    }

    /// Says that the route was accepted as it stands.
    fn say(&self, kind: &Arc<KindSpec>, route: &Value) {
        let generation = read::int(route, &["metadata", "generation"]).unwrap_or(1);
        let now = self.core.clock.now_text();
        let condition = |name: &str| {
            json!({"type": name, "status": "True", "reason": name, "message": "", "observedGeneration": generation,
                "lastTransitionTime": now})
        };
        let parents = read::list(route, &["spec", "parentRefs"]).iter().map(|parent| {
            json!({"parentRef": parent, "controllerName": "idp.dev/simulated-gateway",
                "conditions": [condition("Accepted"), condition("ResolvedRefs")]})
        });
        let mut new = route.clone();
        read::set(&mut new, &["status"], json!({"parents": parents.collect::<Vec<_>>()}));
        let mut request = Request::internal(Arc::clone(kind), Verb::Update, (NAMESPACE, EDGE), (AGENT, new));
        "status".clone_into(&mut request.subresource);
        // Read and written under one turn: nobody can have been faster.
        let _ = self.core.perform(&request);
    }
}

fn make(core: &Core, (group, plural): (&str, &str), (namespace, name): (&str, &str), body: Value) {
    let kind = core.store().kind(group, "v1", plural);
    let Some(kind) = kind else { return };
    // The store is empty, so there is room for it.
    let _ = core.perform(&Request::internal(kind, Verb::Create, (namespace, name), (AGENT, body)));
}
