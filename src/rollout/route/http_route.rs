//! `HTTPRoute` of the Gateway API: `spec.rules[].backendRefs[]`, conditions by parent
//! (<https://gateway-api.sigs.k8s.io/reference/spec/>, `HTTPBackendRef` and `RouteParentStatus`).

use serde_json::{Value, json};

use super::{Acceptance, Dialect, Names, Part, cohort, generation, list, text};
use crate::model::traffic::{CANARY, Cohort, STABLE};

/// See the module.
pub struct HttpRoute;

/// The conditions that have to be true before a parent carries the route out as written.
const CONDITIONS: [&str; 2] = ["Accepted", "ResolvedRefs"];

impl Dialect for HttpRoute {
    fn lists(&self, live: &Value) -> Vec<String> {
        let rules = list(live, "/spec/rules").iter().enumerate();
        rules
            .filter(|(_, rule)| rule.get("backendRefs").is_some_and(Value::is_array))
            .map(|(index, _)| format!("/spec/rules/{index}/backendRefs"))
            .collect()
    }

    fn part(&self, backend: &Value, names: Names<'_>) -> Part {
        let kind = text(backend, "kind");
        let namespace = text(backend, "namespace");
        let service = text(backend, "group").is_empty() && (kind.is_empty() || kind == "Service");
        if !service || !(namespace.is_empty() || namespace == names.namespace) {
            return Part::Other;
        }
        match text(backend, "name").strip_prefix(names.service) {
            Some("") => Part::Whole,
            Some(rest) if rest.strip_prefix('-') == Some(STABLE) => Part::Stable,
            Some(rest) if rest.strip_prefix('-') == Some(CANARY) => Part::Canary,
            _ => Part::Other,
        }
    }

    fn point(&self, backend: &mut Value, names: Names<'_>, part: Part) {
        let name = match part {
            Part::Stable => format!("{}-{STABLE}", names.service),
            Part::Canary => format!("{}-{CANARY}", names.service),
            Part::Whole | Part::Other => names.service.to_owned(),
        };
        if let Some(fields) = backend.as_object_mut() {
            fields.insert("name".to_owned(), Value::from(name));
        }
    }

    fn default_weight(&self, _: usize) -> u64 {
        1
    }

    fn rules(&self) -> (&'static str, &'static str) {
        ("/spec/rules", "backendRefs")
    }

    fn narrow(&self, rule: &mut Value, cohort: &Cohort) -> bool {
        let conditions = conditions(cohort);
        let everything = [json!({"path": {"type": "PathPrefix", "value": "/"}})];
        let found = Some(list(rule, "/matches")).filter(|found| !found.is_empty()).unwrap_or(&everything);
        let narrowed: Vec<Value> = found.iter().filter_map(|one| with(one, &conditions)).collect();
        let any = !narrowed.is_empty();
        if let Some(fields) = rule.as_object_mut() {
            fields.insert("matches".to_owned(), Value::from(narrowed));
        }
        any
    }

    fn is_narrowed(&self, rule: &Value, cohort: &Cohort) -> bool {
        let conditions = conditions(cohort);
        let found = list(rule, "/matches");
        let has =
            |one: &Value| conditions.iter().all(|c| list(one, "/headers").iter().any(|h| is_same(h, c)));
        !found.is_empty() && found.iter().all(has)
    }

    fn accepted(&self, live: &Value, gateway: Option<&str>) -> Acceptance {
        let counts = |parent: &&Value| gateway.is_none_or(|gateway| text(parent, "name") == gateway);
        let parents: Vec<&Value> = list(live, "/spec/parentRefs").iter().filter(counts).collect();
        if parents.is_empty() {
            return Acceptance::Refused("it is attached to no gateway".to_owned());
        }
        for parent in parents {
            let name = text(parent, "name");
            let statuses = list(live, "/status/parents").iter();
            let answers: Vec<&Value> = statuses
                .filter(|status| status.get("parentRef").is_some_and(|r| same_parent(parent, r)))
                .collect();
            if answers.is_empty() {
                return Acceptance::Waiting(format!("gateway {name} has not answered"));
            }
            for answer in answers {
                match by_parent(answer, generation(live), name) {
                    Acceptance::Accepted => {}
                    other => return other,
                }
            }
        }
        Acceptance::Accepted
    }

    fn attached(&self, live: &Value, gateway: &str) -> bool {
        list(live, "/spec/parentRefs").iter().any(|parent| text(parent, "name") == gateway)
    }
}

/// The header matches of a cohort. One of a cookie is a regular expression, whose support a gateway may lack; it says so.
fn conditions(cohort: &Cohort) -> Vec<Value> {
    let exact =
        cohort.header.iter().map(|(name, value)| json!({"type": "Exact", "name": name, "value": value}));
    let cookie = cohort.cookie.iter().map(|(name, value)| {
        json!({"type": "RegularExpression", "name": "cookie", "value": cohort::cookie(name, value)})
    });
    exact.chain(cookie).collect()
}

/// Adds conditions to a match; none where it asks for something else of the same header.
fn with(found: &Value, conditions: &[Value]) -> Option<Value> {
    let mut headers = list(found, "/headers").to_vec();
    for condition in conditions {
        let name = text(condition, "name");
        match headers.iter().find(|header| text(header, "name").eq_ignore_ascii_case(name)) {
            Some(header) if is_same(header, condition) => {}
            Some(_) => return None,
            None => headers.push(condition.clone()),
        }
    }
    let mut narrowed = found.clone();
    narrowed.as_object_mut()?.insert("headers".to_owned(), Value::from(headers));
    Some(narrowed)
}

fn is_same(header: &Value, condition: &Value) -> bool {
    let kind = Some(text(header, "type")).filter(|kind| !kind.is_empty()).unwrap_or("Exact");
    kind == text(condition, "type")
        && text(header, "name").eq_ignore_ascii_case(text(condition, "name"))
        && header.get("value") == condition.get("value")
}

/// Tells whether a status speaks of this parent. What the route leaves out, the status may name or leave out.
fn same_parent(wanted: &Value, found: &Value) -> bool {
    ["name", "namespace", "sectionName", "port"].iter().all(|field| {
        let wanted = wanted.get(*field).filter(|value| !value.is_null());
        wanted.is_none() || wanted == found.get(*field)
    })
}

fn by_parent(answer: &Value, generation: u64, name: &str) -> Acceptance {
    for kind in CONDITIONS {
        let found = list(answer, "/conditions").iter().find(|condition| text(condition, "type") == kind);
        let Some(condition) = found else {
            return Acceptance::Waiting(format!("gateway {name} has not said {kind}"));
        };
        let seen = condition.get("observedGeneration").and_then(Value::as_u64).unwrap_or(0);
        if seen < generation {
            return Acceptance::Waiting(format!("gateway {name} has not seen its last change"));
        }
        if text(condition, "status") != "True" {
            let why: String = text(condition, "message").chars().take(200).collect();
            let reason = text(condition, "reason");
            return Acceptance::Refused(format!(
                "gateway {name} says {kind} {}: {reason}: {why}",
                text(condition, "status")
            ));
        }
    }
    Acceptance::Accepted
}
