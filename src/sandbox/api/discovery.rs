//! What is served: `/version`, `/api`, `/apis` and the resource lists, and the review kinds that have no objects.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    core::{Core, Settings},
    error::ApiError,
    kinds::KindSpec,
};

/// The document at `path`; none if the path is of a resource.
pub(crate) fn document(core: &Core, path: &str) -> Option<Result<Value, ApiError>> {
    let kinds = core.store().kinds().to_vec();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    Some(match parts.as_slice() {
        ["version"] => Ok(version()),
        ["healthz" | "livez" | "readyz", ..] => Ok(json!("ok")),
        ["api"] => Ok(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        })),
        ["apis"] => {
            let groups: Vec<Value> =
                groups(&kinds).iter().map(|(name, version)| group(name, version)).collect();
            Ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["api", "v1"] => Ok(resources("", "v1", &kinds)),
        ["apis", name] => match groups(&kinds).get(*name) {
            Some(version) => {
                let mut one = group(name, version);
                super::super::json::set(&mut one, &["kind"], "APIGroup");
                super::super::json::set(&mut one, &["apiVersion"], "v1");
                Ok(one)
            }
            None => Err(ApiError::no_such_page()),
        },
        ["apis", name, version] => match groups(&kinds).get(*name) {
            Some(known) if known == version => Ok(resources(name, version, &kinds)),
            _ => Err(ApiError::no_such_page()),
        },
        ["openapi", ..] => Err(ApiError::no_such_page()),
        _ => return None,
    })
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.3-sandbox", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "sandbox",
    })
}

const REVIEWS: [(&str, &str, &str); 4] = [
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    ("authentication.k8s.io", "tokenreviews", "TokenReview"),
    ("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
];

fn groups(kinds: &[Arc<KindSpec>]) -> BTreeMap<String, String> {
    kinds
        .iter()
        .filter(|kind| !kind.group.is_empty())
        .map(|kind| (kind.group.clone(), kind.version.clone()))
        .chain(REVIEWS.iter().map(|(group, _, _)| ((*group).to_owned(), "v1".to_owned())))
        .collect()
}

fn group(name: &str, version: &str) -> Value {
    let one = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [one], "preferredVersion": one})
}

fn resources(group: &str, version: &str, kinds: &[Arc<KindSpec>]) -> Value {
    let mut list = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.group == group && kind.version == version) {
        list.extend(resource(kind));
    }
    for (_, plural, kind) in REVIEWS.iter().filter(|(name, _, _)| *name == group) {
        list.push(json!({
            "name": plural, "singularName": kind.to_lowercase(), "namespaced": false, "kind": kind, "verbs": ["create"],
        }));
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
}

fn resource(kind: &KindSpec) -> Vec<Value> {
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let mut main = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": verbs,
    });
    if !kind.short_names.is_empty() {
        super::super::json::set(&mut main, &["shortNames"], kind.short_names.clone());
    }
    let mut out = vec![main];
    let door = |name: &str, of: &str, verbs: &[&str]| {
        json!({
            "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
            "kind": of, "verbs": verbs,
        })
    };
    if kind.status {
        out.push(door("status", &kind.kind, &["get", "patch", "update"]));
    }
    if kind.scale {
        let mut scale = door("scale", "Scale", &["get", "patch", "update"]);
        super::super::json::set(&mut scale, &["group"], "autoscaling");
        super::super::json::set(&mut scale, &["version"], "v1");
        out.push(scale);
    }
    if kind.is("", "Pod") {
        out.push(door("binding", "Binding", &["create"]));
        out.push(door("eviction", "Eviction", &["create"]));
        out.push(door("proxy", "PodProxyOptions", &["get"]));
    }
    out
}

/// The answer to a review that is posted to `path`; none if the path is none of a review.
pub(crate) fn review(settings: &Settings, path: &str, body: &Value, impersonated: &str) -> Option<Value> {
    let (group, plural) = path.trim_matches('/').strip_prefix("apis/")?.split_once("/v1/")?;
    let (_, _, kind) = REVIEWS.iter().find(|(of, name, _)| *of == group && *name == plural)?;
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let status = match *kind {
        "SelfSubjectReview" => {
            let user = if impersonated.is_empty() { settings.user.as_str() } else { impersonated };
            json!({"userInfo": {"username": user, "groups": settings.groups}})
        }
        "TokenReview" => match settings.tokens.get(text("/spec/token")) {
            Some((user, _)) => json!({"authenticated": true, "user": {"username": user, "groups": []}}),
            None => json!({"user": {}, "error": "the token is not known"}),
        },
        "SubjectAccessReview" => {
            let verb = text("/spec/resourceAttributes/verb").to_owned();
            let user = text("/spec/user");
            let may = settings.tokens.values().any(|(known, verbs)| known == user && verbs.contains(&verb));
            json!({"allowed": may})
        }
        _ => json!({"allowed": true}),
    };
    let mut out = body.clone();
    super::super::json::set(&mut out, &["status"], status);
    super::super::json::set(&mut out, &["kind"], *kind);
    super::super::json::set(&mut out, &["apiVersion"], format!("{group}/v1"));
    Some(out)
}
