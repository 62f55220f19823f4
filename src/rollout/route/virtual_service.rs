//! `VirtualService` of Istio: the destinations of `spec.http[]`, `spec.tcp[]` and `spec.tls[]`, split by subset
//! (<https://istio.io/latest/docs/reference/config/networking/virtual-service/>, `HTTPRouteDestination`).

use serde_json::{Map, Value};

use super::{Acceptance, Dialect, Names, Part, counted, generation, list, text};
use crate::model::traffic::{CANARY, STABLE};

/// See the module.
pub struct VirtualService;

impl Dialect for VirtualService {
    fn lists(&self, live: &Value) -> Vec<String> {
        let mut lists = Vec::new();
        for protocol in ["http", "tcp", "tls"] {
            let rules = list(live, &format!("/spec/{protocol}")).iter().enumerate();
            let with = rules.filter(|(_, rule)| rule.get("route").is_some_and(Value::is_array));
            lists.extend(with.map(|(index, _)| format!("/spec/{protocol}/{index}/route")));
        }
        lists
    }

    fn part(&self, backend: &Value, names: Names<'_>) -> Part {
        let Some(destination) = backend.get("destination") else { return Part::Other };
        if !is_host(text(destination, "host"), names) {
            return Part::Other;
        }
        match text(destination, "subset") {
            "" => Part::Whole,
            STABLE => Part::Stable,
            CANARY => Part::Canary,
            _ => Part::Other,
        }
    }

    fn point(&self, backend: &mut Value, _: Names<'_>, part: Part) {
        let Some(destination) = backend.get_mut("destination").and_then(Value::as_object_mut) else { return };
        let mut subset = |name: &str| destination.insert("subset".to_owned(), Value::from(name));
        match part {
            Part::Stable => drop(subset(STABLE)),
            Part::Canary => drop(subset(CANARY)),
            Part::Whole | Part::Other => drop(destination.remove("subset")),
        }
    }

    /// The only destination gets everything; of several, one without a weight gets nothing.
    fn default_weight(&self, backends: usize) -> u64 {
        if backends <= 1 { 100 } else { 0 }
    }

    fn accepted(&self, live: &Value, _: Option<&str>) -> Acceptance {
        accepted(live)
    }

    fn attached(&self, live: &Value, gateway: &str) -> bool {
        // One of another namespace is written as `namespace/name`.
        list(live, "/spec/gateways")
            .iter()
            .filter_map(Value::as_str)
            .any(|found| found == gateway || found.split_once('/').is_some_and(|(_, name)| name == gateway))
    }
}

/// Tells whether a host is the Service, by its short name or a longer one.
pub(super) fn is_host(host: &str, names: Names<'_>) -> bool {
    let Some(rest) = host.strip_prefix(names.service) else { return false };
    let Some(rest) = rest.strip_prefix('.') else { return rest.is_empty() };
    rest.strip_prefix(names.namespace)
        .is_some_and(|rest| rest.is_empty() || rest == ".svc" || rest.starts_with(".svc."))
}

/// Istio writes a status only where that is switched on. Without one nobody tells.
pub(super) fn accepted(live: &Value) -> Acceptance {
    let none = Map::new();
    let status = live.get("status").and_then(Value::as_object).unwrap_or(&none);
    let conditions = status.get("conditions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if conditions.is_empty() {
        return Acceptance::Untold;
    }
    let overall = counted(status.get("observedGeneration"));
    for condition in conditions {
        let seen = counted(condition.get("observedGeneration")).or(overall);
        if seen.is_some_and(|seen| seen < generation(live)) {
            return Acceptance::Waiting("its last change has not been seen".to_owned());
        }
        if text(condition, "status") == "False" {
            let why: String = text(condition, "message").chars().take(200).collect();
            let (kind, reason) = (text(condition, "type"), text(condition, "reason"));
            return Acceptance::Refused(format!("{kind} is False: {reason}: {why}"));
        }
    }
    Acceptance::Accepted
}
