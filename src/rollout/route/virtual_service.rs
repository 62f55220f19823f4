//! `VirtualService` of Istio: the destinations of `spec.http[]`, `spec.tcp[]` and `spec.tls[]`, split by subset
//! (<https://istio.io/latest/docs/reference/config/networking/virtual-service/>, `HTTPRouteDestination`).

use serde_json::{Map, Value, json};

use super::{Acceptance, Dialect, Names, Part, cohort, counted, generation, list, text};
use crate::model::traffic::{CANARY, Cohort, STABLE};

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

    fn rules(&self) -> (&'static str, &'static str) {
        ("/spec/http", "route")
    }

    fn narrow(&self, rule: &mut Value, cohort: &Cohort) -> bool {
        let conditions = conditions(cohort);
        let everything = [json!({})];
        let found = Some(list(rule, "/match")).filter(|found| !found.is_empty()).unwrap_or(&everything);
        let narrowed: Vec<Value> = found.iter().filter_map(|one| with(one, &conditions)).collect();
        let any = !narrowed.is_empty();
        if let Some(fields) = rule.as_object_mut() {
            fields.insert("match".to_owned(), Value::from(narrowed));
        }
        any
    }

    fn is_narrowed(&self, rule: &Value, cohort: &Cohort) -> bool {
        let conditions = conditions(cohort);
        let found = list(rule, "/match");
        let has = |one: &Value| {
            let headers = one.get("headers").and_then(Value::as_object);
            conditions
                .iter()
                .all(|(name, wanted)| headers.and_then(|headers| headers.get(name)) == Some(wanted))
        };
        !found.is_empty() && found.iter().all(has)
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

/// The header matches of a cohort (`HTTPMatchRequest.headers`, `StringMatch`).
fn conditions(cohort: &Cohort) -> Vec<(String, Value)> {
    let exact = cohort.header.iter().map(|(name, value)| (name.clone(), json!({"exact": value})));
    let cookie = cohort
        .cookie
        .iter()
        .map(|(name, value)| ("cookie".to_owned(), json!({"regex": cohort::cookie(name, value)})));
    exact.chain(cookie).collect()
}

/// Adds conditions to a match; none where it asks for something else of the same header.
fn with(found: &Value, conditions: &[(String, Value)]) -> Option<Value> {
    let mut headers = found.get("headers").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, wanted) in conditions {
        if headers.get(name).is_some_and(|other| other != wanted) {
            return None;
        }
        headers.insert(name.clone(), wanted.clone());
    }
    let mut narrowed = found.clone();
    narrowed.as_object_mut()?.insert("headers".to_owned(), Value::from(headers));
    Some(narrowed)
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
