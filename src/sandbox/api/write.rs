//! Creating and changing objects: POST, PUT and the four kinds of patch, on an object or one of its subresources.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::json,
    core::{Context, Reply, done},
    decode, defaults,
    entries::Manager,
    error::{ApiError, FieldError},
    events,
    kinds::KindSpec,
    managed, patch,
    request::{PatchKind, Request, Verb},
    store::Store,
    strategy, validate,
};

impl Context<'_> {
    /// Writes down who owns what of `new`, unless that decides nothing here.
    fn note_owners(&self, kind: &KindSpec, live: &Value, new: &mut Value) {
        let spared = kind.is_never_applied() || self.request.subresource == "status";
        if !(self.frugal && spared) {
            managed::updated(kind, live, new, &self.manager(kind));
        }
    }

    fn manager(&self, kind: &KindSpec) -> Manager {
        let name = match self.request.field_manager.as_str() {
            "" => "unknown",
            name => name,
        };
        Manager {
            name: name.to_owned(),
            api_version: kind.api_version(),
            subresource: self.request.subresource.clone(),
            now: self.now.clone(),
        }
    }
}

/// Fills in defaults of the kind and of its schema.
fn fill_defaults(kind: &KindSpec, object: &mut Value) {
    defaults::fill(kind, object);
    if let Some(open_api) = &kind.open_api {
        defaults::from_open_api(open_api, object);
    }
}

fn check(kind: &KindSpec, live: Option<&Value>, new: &Value) -> Result<(), ApiError> {
    validate::check(kind, live, new)?;
    if let Some(open_api) = &kind.open_api {
        let mut errors = Vec::new();
        validate::open_api(open_api, new, "", &mut errors);
        if !errors.is_empty() {
            return Err(ApiError::invalid(kind, json::text(new, &["metadata", "name"]), &errors));
        }
    }
    Ok(())
}

/// POST to a collection.
pub(crate) fn create(store: &mut Store, context: &Context<'_>) -> Result<Reply, ApiError> {
    let request = context.request;
    let kind = request.spec.clone();
    let mut object = decode::object(&kind, request, Value::clone(&request.body))?;
    place_in_namespace(store, &kind, request, &mut object)?;
    if !json::text(&object, &["metadata", "resourceVersion"]).is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    name_it(store, &kind, &mut object);
    fill_defaults(&kind, &mut object);
    context.note_owners(&kind, &Value::Null, &mut object);
    insert(store, context, &kind, object)
}

fn name_it(store: &mut Store, kind: &KindSpec, object: &mut Value) {
    let prefix = json::text(object, &["metadata", "generateName"]).to_owned();
    if !json::text(object, &["metadata", "name"]).is_empty() || prefix.is_empty() {
        return;
    }
    let namespace = json::text(object, &["metadata", "namespace"]).to_owned();
    // A name that is taken is drawn again; the space is large, so this ends.
    for _ in 0..8 {
        let name = format!("{prefix}{}", store.suffix());
        json::set(object, &["metadata", "name"], name.as_str());
        if store.get(kind, &namespace, &name).is_none() {
            return;
        }
    }
}

/// The namespace of the path holds; another in the body is an error, and it must exist.
fn place_in_namespace(
    store: &Store,
    kind: &KindSpec,
    request: &Request,
    object: &mut Value,
) -> Result<(), ApiError> {
    let given = json::text(object, &["metadata", "namespace"]).to_owned();
    if !kind.namespaced {
        json::remove(object, &["metadata", "namespace"]);
        return Ok(());
    }
    let namespace = request.namespace.as_str();
    if namespace.is_empty() {
        return Err(ApiError::bad_request("an empty namespace may not be set during creation"));
    }
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    json::set(object, &["metadata", "namespace"], namespace);
    let Some(namespaces) = store.kind("", "v1", "namespaces") else {
        return Ok(());
    };
    match store.get(&namespaces, "", namespace) {
        None => Err(ApiError::not_found(&namespaces, namespace)),
        Some(found) if json::text(&found, &["status", "phase"]) == "Terminating" => Err(ApiError::forbidden(
            kind,
            json::text(object, &["metadata", "name"]),
            &format!("unable to create new content in namespace {namespace} because it is being terminated"),
        )),
        Some(_) => Ok(()),
    }
}

/// Completes, checks and stores a new object.
fn insert(
    store: &mut Store,
    context: &Context<'_>,
    kind: &Arc<KindSpec>,
    mut object: Value,
) -> Result<Reply, ApiError> {
    strategy::at_birth(store, kind, &mut object, &context.now);
    check(kind, None, &object)?;
    let name = json::text(&object, &["metadata", "name"]).to_owned();
    if store.get(kind, json::text(&object, &["metadata", "namespace"]), &name).is_some() {
        return Err(ApiError::already_exists(kind, &name));
    }
    if context.request.dry_run {
        return Ok(Reply::created(object));
    }
    if kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
        && let Some(served) = KindSpec::from_crd(&object)
    {
        store.register(served);
    }
    events::inward(kind, &mut object);
    let stored = store.put(kind, object);
    Ok(Reply::created(events::outward(kind, stored)))
}

/// PUT or PATCH of an object or of a subresource.
pub(crate) fn change(store: &mut Store, context: &Context<'_>) -> Result<Reply, ApiError> {
    let request = context.request;
    let kind = request.spec.clone();
    let live = store.get(&kind, &request.namespace, &request.name).map(|live| events::outward(&kind, live));
    match live {
        Some(live) if request.subresource == "scale" => rescale(store, context, &kind, &live),
        Some(live) => {
            let mut new = proposed(context, &kind, &live)?;
            check_name(&kind, request, &new)?;
            strategy::keep_apart(&kind, &live, &mut new, &request.subresource);
            replace(store, context, &kind, &live, new)
        }
        None if request.verb == Verb::Apply && request.subresource.is_empty() => {
            apply_new(store, context, &kind)
        }
        None => Err(ApiError::not_found(&kind, &request.name)),
    }
}

/// An apply of an object that is not there creates it, whatever `resourceVersion` the body carries.
fn apply_new(store: &mut Store, context: &Context<'_>, kind: &Arc<KindSpec>) -> Result<Reply, ApiError> {
    let request = context.request;
    let mut applied = decode::configuration(kind, Value::clone(&request.body))?;
    let uid = json::text(&applied, &["metadata", "uid"]).to_owned();
    if !uid.is_empty() {
        return Err(ApiError::conflict(
            kind,
            &request.name,
            &format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            ),
        ));
    }
    json::remove(&mut applied, &["metadata", "resourceVersion"]);
    place_in_namespace(store, kind, request, &mut applied)?;
    check_name(kind, request, &applied)?;
    let by = context.manager(kind);
    let mut object = managed::apply(kind, &Value::Null, &applied, &by, request.force)?;
    json::set(&mut object, &["metadata", "name"], request.name.as_str());
    fill_defaults(kind, &mut object);
    insert(store, context, kind, object)
}

fn check_name(kind: &KindSpec, request: &Request, object: &Value) -> Result<(), ApiError> {
    let name = json::text(object, &["metadata", "name"]);
    if !name.is_empty() && name != request.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.name
        )));
    }
    let namespace = json::text(object, &["metadata", "namespace"]);
    if kind.namespaced && !namespace.is_empty() && namespace != request.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// The object that the request wants in place of `live`, defaults and ownership included.
fn proposed(context: &Context<'_>, kind: &Arc<KindSpec>, live: &Value) -> Result<Value, ApiError> {
    let request = context.request;
    if request.verb == Verb::Apply {
        let by = context.manager(kind);
        let applied = decode::configuration(kind, Value::clone(&request.body))?;
        let mut new = managed::apply(kind, live, &applied, &by, request.force)?;
        fill_defaults(kind, &mut new);
        return Ok(new);
    }
    let mut new = patched(kind, request, live)?;
    let meta = json::map_mut(&mut new, &["metadata"]);
    json::default(meta, "name", request.name.as_str());
    if kind.namespaced {
        json::default(meta, "namespace", request.namespace.as_str());
    }
    fill_defaults(kind, &mut new);
    if kind.is("", "Service") {
        // Defaulting from the live object comes before ownership is taken down.
        strategy::keep_apart(kind, live, &mut new, &request.subresource);
    }
    context.note_owners(kind, live, &mut new);
    Ok(new)
}

fn patched(kind: &KindSpec, request: &Request, live: &Value) -> Result<Value, ApiError> {
    if request.verb == Verb::Update {
        return decode::object(kind, request, Value::clone(&request.body));
    }
    let mut new = live.clone();
    match request.patch {
        PatchKind::Merge => patch::merge_patch(&mut new, &request.body),
        PatchKind::Json => patch::json_patch(&mut new, &request.body)?,
        PatchKind::Strategic if kind.is_custom() => {
            return Err(super::request::unsupported_media());
        }
        PatchKind::Strategic => patch::strategic_patch(kind.typed(), &mut new, &request.body),
    }
    decode::object(kind, request, new)
}

/// Stores `new` in place of `live`, if it is based on it, allowed, and different.
fn replace(
    store: &mut Store,
    context: &Context<'_>,
    kind: &Arc<KindSpec>,
    live: &Arc<Value>,
    mut new: Value,
) -> Result<Reply, ApiError> {
    check_base(kind, context.request, live, &mut new)?;
    strategy::count_generation(kind, live, &mut new, context.request.subresource == "status");
    check(kind, Some(live), &new)?;
    if managed::same_but_for_times(live, &new) {
        return Ok(Reply::ok(live.clone()));
    }
    if context.request.dry_run {
        return Ok(Reply::ok(new));
    }
    events::inward(kind, &mut new);
    let going = json::at(&new, &["metadata", "deletionTimestamp"]).is_some();
    let held = !json::list(&new, &["metadata", "finalizers"]).is_empty();
    let graceful = json::int(&new, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) > 0;
    let stored = store.put(kind, new);
    if going && !held && !graceful {
        store.take(kind, &context.request.namespace, &context.request.name);
    }
    if kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
        && let Some(served) = KindSpec::from_crd(&stored)
    {
        store.register(served);
    }
    Ok(Reply::ok(events::outward(kind, stored)))
}

/// The `resourceVersion` and UID that the caller names must be those of the live object.
fn check_base(kind: &KindSpec, request: &Request, live: &Value, new: &mut Value) -> Result<(), ApiError> {
    let current = json::text(live, &["metadata", "resourceVersion"]);
    let named = json::text(new, &["metadata", "resourceVersion"]).to_owned();
    let uid = json::text(live, &["metadata", "uid"]);
    let given = json::text(new, &["metadata", "uid"]).to_owned();
    let name = &request.name;
    if !given.is_empty() && given != uid && request.verb == Verb::Update {
        let key = format!("/registry/{}/{}/{name}", kind.plural, request.namespace);
        return Err(ApiError::conflict(
            kind,
            name,
            &format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object meta: {uid}"
            ),
        ));
    }
    if named.is_empty() {
        let unconditional =
            !kind.is_custom() && kind.kind != "Lease" && kind.kind != "CustomResourceDefinition";
        if request.verb == Verb::Update && !unconditional {
            return Err(ApiError::version_required(kind, name));
        }
    } else if named != current {
        return Err(ApiError::modified(kind, name));
    }
    if !given.is_empty() && given != uid {
        let why = "field is immutable";
        let error = || FieldError::invalid("metadata.uid", &json!(given), why);
        // It is checked twice there, and named twice among the causes.
        return Err(ApiError::invalid(kind, name, &[error(), error()]));
    }
    json::set(new, &["metadata", "resourceVersion"], current);
    json::set(new, &["metadata", "uid"], uid);
    Ok(())
}

/// PUT or PATCH of `/scale`.
fn rescale(
    store: &mut Store,
    context: &Context<'_>,
    kind: &Arc<KindSpec>,
    live: &Arc<Value>,
) -> Result<Reply, ApiError> {
    let request = context.request;
    let before = strategy::scale_of(live);
    let mut scale = before.clone();
    match (request.verb, request.patch) {
        (Verb::Update, _) => scale = Value::clone(&request.body),
        (Verb::Patch, PatchKind::Json) => patch::json_patch(&mut scale, &request.body)?,
        _ => patch::merge_patch(&mut scale, &request.body),
    }
    let replicas = json::int(&scale, &["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let why = "must be greater than or equal to 0";
        let error = FieldError::invalid("spec.replicas", &json!(replicas), why);
        return Err(ApiError::invalid(kind, &request.name, &[error]));
    }
    let mut new = (**live).clone();
    json::set(&mut new, &["spec", "replicas"], replicas);
    for name in ["resourceVersion", "uid"] {
        if let Some(given) = json::text_opt(&scale, &["metadata", name]) {
            json::set(&mut new, &["metadata", name], given);
        }
    }
    managed::updated(kind, live, &mut new, &context.manager(kind));
    let reply = replace(store, context, kind, live, new)?;
    Ok(Reply::ok(strategy::scale_of(&reply.object())))
}

/// POST to `/binding`: the pod gets its node, once.
pub(crate) fn bind(store: &mut Store, context: &Context<'_>) -> Result<Reply, ApiError> {
    let request = context.request;
    let kind = request.spec.clone();
    let live = store
        .get(&kind, &request.namespace, &request.name)
        .ok_or_else(|| ApiError::not_found(&kind, &request.name))?;
    let node = json::text(&live, &["spec", "nodeName"]);
    let target = json::text(&request.body, &["target", "name"]);
    if !node.is_empty() {
        let why = format!("pod {} is already assigned to node {node:?}", request.name);
        let door = KindSpec::free_form("", "v1", "Binding", "pods/binding");
        return Err(ApiError::conflict(&door, &request.name, &why));
    }
    let mut new = (*live).clone();
    json::set(&mut new, &["spec", "nodeName"], target);
    let conditions = json::list_mut(json::map_mut(&mut new, &["status"]), "conditions");
    conditions.retain(|one| json::text(one, &["type"]) != "PodScheduled");
    conditions.push(json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": context.now,
    }));
    json::drop_nulls(&mut new);
    store.put(&kind, new);
    Ok(Reply::created(done()))
}
