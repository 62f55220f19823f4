//! From a route that was taken to the pod that gets a request.

use std::net::SocketAddr;

use rand::{Rng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::super::api::LabelSelector;
use super::super::json;
use super::super::load::{address_of, is_ready};
use super::{Headers, Place, State};

impl State {
    /// Draws a backend by its weight and one of its Ready pods; with the pod's track.
    pub(super) fn choose(
        &self,
        route: &(String, Place),
        headers: &Headers,
        random: &mut StdRng,
    ) -> Option<(SocketAddr, String)> {
        let (kind, (namespace, _)) = route;
        let spec = self.obeyed.get(route)?;
        let (rules, backends) =
            if kind == "HTTPRoute" { ("rules", "backendRefs") } else { ("http", "route") };
        let rule = json::list(spec, &[rules]).iter().find(|rule| takes(rule, headers))?;
        let backend = draw(json::list(rule, &[backends]), random)?;
        let (service, subset) = match backend.get("destination") {
            Some(destination) => (json::text(destination, &["host"]), json::text(destination, &["subset"])),
            None => (json::text(backend, &["name"]), ""),
        };
        let service = service.split('.').next().unwrap_or_default();
        let more = if subset.is_empty() { json!({}) } else { self.subset(namespace, service, subset)? };
        self.pod(namespace, service, &more, random)
    }

    /// The labels of a subset; none where no rule that was taken has it.
    fn subset(&self, namespace: &str, service: &str, subset: &str) -> Option<Value> {
        let rules =
            self.obeyed.iter().filter(|((kind, (at, _)), _)| kind == "DestinationRule" && at == namespace);
        let of_host =
            rules.filter(|(_, spec)| json::text(spec, &["host"]).split('.').next() == Some(service));
        let mut subsets = of_host.flat_map(|(_, spec)| json::list(spec, &["subsets"]));
        let found = subsets.find(|found| json::text(found, &["name"]) == subset)?;
        json::at(found, &["labels"]).cloned()
    }

    fn pod(
        &self,
        namespace: &str,
        service: &str,
        more: &Value,
        random: &mut StdRng,
    ) -> Option<(SocketAddr, String)> {
        let service = self.services.get(&(namespace.to_owned(), service.to_owned()))?;
        let mut labels = json::at(service, &["spec", "selector"]).cloned().unwrap_or_default();
        if let (Value::Object(labels), Value::Object(more)) = (&mut labels, more) {
            labels.extend(more.clone());
        }
        let selector = LabelSelector::from_object(&json!({"matchLabels": labels}));
        let port = json::list(service, &["spec", "ports"]).first()?;
        let target = port.get("targetPort").or(port.get("port"))?;
        let ready: Vec<(SocketAddr, String)> = self
            .pods
            .iter()
            .filter(|((at, _), pod)| at == namespace && selector.matches(pod) && is_ready(pod))
            .filter_map(|(_, pod)| {
                let track = json::text(pod, &["metadata", "labels", "idp.dev/track"]).to_owned();
                Some((address_of(pod, target)?, track))
            })
            .collect();
        if ready.is_empty() {
            return None;
        }
        let at = random.random_range(0..ready.len());
        ready.into_iter().nth(at)
    }
}

/// Tells whether a rule takes a request with these headers; all else that a match asks for is taken for granted.
fn takes(rule: &Value, headers: &Headers) -> bool {
    let matches = json::list(rule, &["matches"]).iter().chain(json::list(rule, &["match"]));
    let mut matches = matches.peekable();
    matches.peek().is_none() || matches.any(|one| fits(one, headers))
}

fn fits(one: &Value, headers: &Headers) -> bool {
    let holds = |name: &str, exact: Option<&str>, expression: Option<&str>| {
        let sent = headers.get(&name.to_ascii_lowercase()).map_or("", String::as_str);
        exact.is_none_or(|exact| exact == sent)
            && expression.is_none_or(|expression| has_cookie(expression, sent))
    };
    match one.get("headers") {
        Some(Value::Array(all)) => all.iter().all(|header| {
            let value = json::text_opt(header, &["value"]);
            let by_expression = json::text(header, &["type"]) == "RegularExpression";
            let (exact, expression) = if by_expression { (None, value) } else { (value, None) };
            holds(json::text(header, &["name"]), exact, expression)
        }),
        Some(Value::Object(all)) => all.iter().all(|(name, wanted)| {
            holds(name, json::text_opt(wanted, &["exact"]), json::text_opt(wanted, &["regex"]))
        }),
        _ => true,
    }
}

/// The one kind of regular expression that this gateway knows: a cookie among others.
fn has_cookie(expression: &str, sent: &str) -> bool {
    let inner = expression.strip_prefix("^(.*; *)?").and_then(|rest| rest.strip_suffix("(;.*)?$"));
    let Some(inner) = inner else { return false };
    let wanted = inner.replace('\\', "");
    sent.split(';').any(|cookie| cookie.trim() == wanted)
}

/// Draws by weight; one without a weight counts 1, as in an `HTTPRoute` and as the only one of a `VirtualService`.
fn draw<'a>(backends: &'a [Value], random: &mut StdRng) -> Option<&'a Value> {
    let weight = |backend: &Value| json::int(backend, &["weight"]).map_or(1, i64::unsigned_abs);
    let all: u64 = backends.iter().map(weight).sum();
    if all == 0 {
        return None;
    }
    let mut point = random.random_range(0..all);
    backends.iter().find(|backend| {
        let own = weight(backend);
        let here = point < own;
        point = point.saturating_sub(own);
        here
    })
}
