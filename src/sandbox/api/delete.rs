//! Deleting objects: preconditions, grace of pods, finalizers, whole collections.

use std::sync::Arc;

use serde_json::Value;

use super::{
    super::{clock, json},
    core::{Context, Reply, selectors, success},
    error::ApiError,
    kinds::KindSpec,
    store::Store,
};

/// How the caller wants it, from the body or the query.
struct Options {
    grace: Option<i64>,
    propagation: String,
    uid: String,
    version: String,
}

impl Options {
    fn read(context: &Context<'_>) -> Self {
        let request = context.request;
        let body = &request.body;
        let grace = json::int(body, &["gracePeriodSeconds"])
            .or_else(|| request.parameter("gracePeriodSeconds").parse().ok());
        let propagation = match json::text(body, &["propagationPolicy"]) {
            "" => request.parameter("propagationPolicy"),
            given => given,
        };
        Self {
            grace,
            propagation: propagation.to_owned(),
            uid: json::text(body, &["preconditions", "uid"]).to_owned(),
            version: json::text(body, &["preconditions", "resourceVersion"]).to_owned(),
        }
    }

    fn check(&self, kind: &KindSpec, live: &Value) -> Result<(), ApiError> {
        let name = json::text(live, &["metadata", "name"]);
        let uid = json::text(live, &["metadata", "uid"]);
        let version = json::text(live, &["metadata", "resourceVersion"]);
        if !self.uid.is_empty() && self.uid != uid {
            let why = format!(
                "the UID in the precondition ({}) does not match the UID in record ({uid}). The object might have been deleted and then recreated",
                self.uid
            );
            return Err(ApiError::precondition(kind, name, &why));
        }
        if !self.version.is_empty() && self.version != version {
            let why = format!(
                "the ResourceVersion in the precondition ({}) does not match the ResourceVersion in record ({version}). The object might have been modified",
                self.version
            );
            return Err(ApiError::precondition(kind, name, &why));
        }
        Ok(())
    }
}

/// DELETE of one object.
pub(crate) fn one(store: &mut Store, context: &Context<'_>) -> Result<Reply, ApiError> {
    let request = context.request;
    let kind = request.spec.clone();
    let live = store
        .get(&kind, &request.namespace, &request.name)
        .ok_or_else(|| ApiError::not_found(&kind, &request.name))?;
    let options = Options::read(context);
    options.check(&kind, &live)?;
    if request.dry_run {
        return Ok(Reply::ok(success(&kind, &live)));
    }
    match remove(store, context, &kind, &live, &options) {
        Some(left) => Ok(Reply::ok(left)),
        // These are answered as what they were at the end, anything else as a success.
        None if kind.is("", "Pod") => Ok(Reply::ok(at_the_end(&live, &context.now))),
        None if kind.is("", "Namespace") => {
            let mut last = at_the_end(&live, &context.now);
            json::set(&mut last, &["status", "phase"], "Terminating");
            Ok(Reply::ok(last))
        }
        None => Ok(Reply::ok(success(&kind, &live))),
    }
}

/// An object as it goes at once.
fn at_the_end(live: &Value, now: &str) -> Value {
    let mut last = live.clone();
    let going = json::at(live, &["metadata", "deletionTimestamp"]).is_some();
    if !going {
        json::set(&mut last, &["metadata", "deletionTimestamp"], now);
        if let Some(generation) = json::int(live, &["metadata", "generation"]) {
            json::set(&mut last, &["metadata", "generation"], generation + 1);
        }
    }
    if json::text(live, &["kind"]) == "Pod" {
        json::set(&mut last, &["metadata", "deletionGracePeriodSeconds"], 0);
    }
    last
}

/// DELETE of a collection; the answer lists what it held.
pub(crate) fn many(store: &mut Store, context: &Context<'_>) -> Result<Reply, ApiError> {
    let request = context.request;
    let kind = request.spec.clone();
    let (labels, fields) = selectors(&kind, request)?;
    let options = Options::read(context);
    let chosen: Vec<Arc<Value>> = store
        .list(&kind, &request.namespace)
        .filter(|object| labels.matches(object) && fields.matches(object))
        .cloned()
        .collect();
    if !request.dry_run {
        for object in &chosen {
            remove(store, context, &kind, object, &options);
        }
    }
    Ok(Reply { code: 200, body: super::core::Body::List { items: chosen, version: store.version() } })
}

/// POST to `/eviction`: a deletion that says why.
pub(crate) fn evict(store: &mut Store, context: &Context<'_>) -> Result<Reply, ApiError> {
    let request = context.request;
    let kind = request.spec.clone();
    let live = store
        .get(&kind, &request.namespace, &request.name)
        .ok_or_else(|| ApiError::not_found(&kind, &request.name))?;
    let mut marked = (*live).clone();
    let conditions = json::list_mut(json::map_mut(&mut marked, &["status"]), "conditions");
    conditions.retain(|one| json::text(one, &["type"]) != "DisruptionTarget");
    conditions.push(serde_json::json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": context.now,
    }));
    let live = store.put(&kind, marked);
    let options =
        Options { grace: None, propagation: String::new(), uid: String::new(), version: String::new() };
    remove(store, context, &kind, &live, &options);
    Ok(Reply::created(super::core::done()))
}

/// Removes an object, or marks it as going; then the marked object is returned.
fn remove(
    store: &mut Store,
    context: &Context<'_>,
    kind: &Arc<KindSpec>,
    live: &Arc<Value>,
    options: &Options,
) -> Option<Arc<Value>> {
    let namespace = json::text(live, &["metadata", "namespace"]);
    let name = json::text(live, &["metadata", "name"]);
    let going = json::at(live, &["metadata", "deletionTimestamp"]).is_some();
    let grace = grace_of(kind, live, options);
    let mut new = (**live).clone();
    match options.propagation.as_str() {
        "Foreground" => add_finalizer(&mut new, "foregroundDeletion"),
        "Orphan" => orphan(store, json::text(live, &["metadata", "uid"])),
        _ => {}
    }
    let held = !json::list(&new, &["metadata", "finalizers"]).is_empty();
    if grace == 0 && !held {
        if kind.is("", "Namespace") {
            empty_namespace(store, name);
        }
        if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            withdraw(store, live);
        }
        if kind.is("", "Pod") {
            store.take_as(kind, at_the_end(live, &context.now));
        } else {
            store.take(kind, namespace, name);
        }
        return None;
    }
    let shorter = json::int(live, &["metadata", "deletionGracePeriodSeconds"]).is_some_and(|old| grace < old);
    if going && !shorter {
        return Some(live.clone());
    }
    let until = clock::parse_time(&context.now)
        .and_then(|now| now.checked_add(jiff::SignedDuration::from_secs(grace)).ok())
        .map(clock::seconds_text)
        .unwrap_or_default();
    json::set(&mut new, &["metadata", "deletionTimestamp"], until);
    json::set(&mut new, &["metadata", "deletionGracePeriodSeconds"], grace);
    if let Some(generation) = json::int(live, &["metadata", "generation"])
        && !going
    {
        json::set(&mut new, &["metadata", "generation"], generation + 1);
    }
    Some(store.put(kind, new))
}

/// Only a pod on a node that has not ended has anything to be graceful about.
fn grace_of(kind: &KindSpec, live: &Value, options: &Options) -> i64 {
    if !kind.is("", "Pod") {
        return 0;
    }
    let ended = matches!(json::text(live, &["status", "phase"]), "Succeeded" | "Failed");
    if ended || json::text(live, &["spec", "nodeName"]).is_empty() {
        return 0;
    }
    options.grace.or_else(|| json::int(live, &["spec", "terminationGracePeriodSeconds"])).unwrap_or(30).max(0)
}

fn add_finalizer(object: &mut Value, name: &str) {
    let list = json::list_mut(json::map_mut(object, &["metadata"]), "finalizers");
    if !list.iter().any(|one| one == name) {
        list.push(name.into());
    }
}

/// Takes the owner `uid` off everything that it owns.
fn orphan(store: &mut Store, uid: &str) {
    let owned: Vec<(super::store::Place, Arc<Value>)> = store
        .everything()
        .filter(|(_, object)| is_owned_by(object, uid))
        .map(|(place, object)| (place.clone(), object.clone()))
        .collect();
    for ((group, plural), object) in owned {
        let Some(kind) =
            store.kinds().iter().find(|kind| kind.group == group && kind.plural == plural).cloned()
        else {
            continue;
        };
        let mut new = (*object).clone();
        let meta = json::map_mut(&mut new, &["metadata"]);
        json::list_mut(meta, "ownerReferences").retain(|one| json::text(one, &["uid"]) != uid);
        store.put(&kind, new);
    }
}

fn is_owned_by(object: &Value, uid: &str) -> bool {
    json::list(object, &["metadata", "ownerReferences"])
        .iter()
        .any(|owner| json::text(owner, &["uid"]) == uid)
}

fn empty_namespace(store: &mut Store, namespace: &str) {
    for kind in store.kinds().to_vec() {
        if !kind.namespaced || kind.is_events_v1() {
            continue;
        }
        let names: Vec<String> = store
            .list(&kind, namespace)
            .map(|object| json::text(object, &["metadata", "name"]).to_owned())
            .collect();
        for name in names {
            store.take(&kind, namespace, &name);
        }
    }
}

/// A `CustomResourceDefinition` takes its objects with it.
fn withdraw(store: &mut Store, crd: &Value) {
    let Some(declared) = KindSpec::from_crd(crd) else { return };
    let Some(kind) = store.kind(&declared.group, &declared.version, &declared.plural) else {
        return;
    };
    let keys: Vec<(String, String)> = store
        .list(&kind, "")
        .map(|object| {
            let meta = |name: &str| json::text(object, &["metadata", name]).to_owned();
            (meta("namespace"), meta("name"))
        })
        .collect();
    for (namespace, name) in keys {
        store.take(&kind, &namespace, &name);
    }
    store.unregister(&declared.group, &declared.plural);
}
