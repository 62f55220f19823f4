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

const REVIEWS: [(&str, &str, &str); 2] = [
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
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
    let mut out = body.clone();
    match path.trim_matches('/') {
        "apis/authentication.k8s.io/v1/selfsubjectreviews" => {
            let user = if impersonated.is_empty() { settings.user.as_str() } else { impersonated };
            let info = json!({"userInfo": {"username": user, "groups": settings.groups}});
            super::super::json::set(&mut out, &["status"], info);
            super::super::json::set(&mut out, &["kind"], "SelfSubjectReview");
            super::super::json::set(&mut out, &["apiVersion"], "authentication.k8s.io/v1");
        }
        "apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            super::super::json::set(&mut out, &["status"], json!({"allowed": true}));
            super::super::json::set(&mut out, &["kind"], "SelfSubjectAccessReview");
            super::super::json::set(&mut out, &["apiVersion"], "authorization.k8s.io/v1");
        }
        _ => return None,
    }
    Some(out)
}
