//! Requests against the store: who may do what to which object, and what comes of it. No network, no waiting.
//!
//! In: a [`Request`]. Out: a [`Reply`] or a refusal. Each request holds the store's lock from reading to writing, so it
//! is atomic, as a transaction of the genuine server's store is.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    super::{clock::Clock, json},
    error::ApiError,
    events,
    fault::{Fault, Probe},
    kinds::KindSpec,
    request::{Request, Verb},
    selector::{FieldSelector, LabelSelector},
    store::Store,
    strategy, write,
};

/// What a request comes to.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) body: Body,
}

/// The body of a reply, before it is written as the caller wants it.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Object(Arc<Value>),
    List { items: Vec<Arc<Value>>, version: u64 },
}

impl Reply {
    pub(crate) fn ok(object: impl Into<Arc<Value>>) -> Self {
        Self { code: 200, body: Body::Object(object.into()) }
    }

    pub(crate) fn created(object: impl Into<Arc<Value>>) -> Self {
        Self { code: 201, body: Body::Object(object.into()) }
    }

    /// The object of the reply; null for a list.
    pub(crate) fn object(self) -> Arc<Value> {
        match self.body {
            Body::Object(object) => object,
            Body::List { .. } => Arc::default(),
        }
    }
}

/// What tests set while the server runs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    /// Bearer tokens: whose each is, and the verbs that this person may use.
    pub(crate) tokens: BTreeMap<String, (String, Vec<String>)>,
    /// The CPU use of a Deployment's pods, by namespace and name, in per cent of what they request.
    pub(crate) cpu: BTreeMap<(String, String), u32>,
    pub(crate) write_latency: Duration,
    pub(crate) bookmark_interval: Duration,
}

/// The server without its network.
pub(crate) struct Core {
    store: Mutex<Store>,
    settings: Mutex<Settings>,
    pub(crate) clock: Clock,
    pub(crate) probe: Probe,
    /// See [`super::ApiOptions::frugal`].
    frugal: bool,
}

/// What a write needs beside the store.
pub(crate) struct Context<'a> {
    pub(crate) request: &'a Request,
    pub(crate) now: String,
    pub(crate) frugal: bool,
}

impl Core {
    pub(crate) fn new(seed: u64, clock: Clock, frugal: bool) -> Self {
        static BUILT_IN: LazyLock<Vec<Arc<KindSpec>>> =
            LazyLock::new(|| super::kinds::built_in().into_iter().map(Arc::new).collect());
        let mut store = Store::new(seed);
        for kind in BUILT_IN.iter() {
            store.register(Arc::clone(kind));
        }
        let core = Self {
            store: Mutex::new(store),
            settings: Mutex::new(Settings {
                user: "sandbox-admin".to_owned(),
                groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
                tokens: BTreeMap::new(),
                cpu: BTreeMap::new(),
                write_latency: Duration::ZERO,
                bookmark_interval: Duration::from_mins(1),
            }),
            clock,
            probe: Probe::default(),
            frugal,
        };
        for name in ["default", "kube-system"] {
            core.make_namespace(name);
        }
        core
    }

    fn make_namespace(&self, name: &str) {
        let Some(kind) = self.store().kind("", "v1", "namespaces") else {
            return;
        };
        let body = json!({"metadata": {"name": name}});
        let request = Request::internal(kind, Verb::Create, ("", name), ("kube-apiserver", body));
        // The store is empty, so the name is free.
        let _ = self.execute(&request);
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what a component inside the server asks; the fault hook may refuse it, and the log shows it.
    pub(crate) fn perform(&self, request: &Request) -> Result<Reply, ApiError> {
        let result = match self.probe.fault(request) {
            Some(Fault::Status { code, reason, message, .. }) => Err(ApiError::new(code, &reason, message)),
            // Nothing inside can wait or lose an answer.
            _ => self.execute(request),
        };
        let code = result.as_ref().map_or_else(|error| error.code, |reply| reply.code);
        let version = self.store().version();
        self.probe.record(request, code, version);
        result
    }

    /// Does what `request` asks.
    pub(crate) fn execute(&self, request: &Request) -> Result<Reply, ApiError> {
        let context = Context { request, now: self.clock.now_text(), frugal: self.frugal };
        let mut store = self.store();
        let kind = request.spec.clone();
        if !door_exists(&kind, request) {
            return Err(ApiError::no_such_path());
        }
        match request.verb {
            Verb::Get => get(&store, &kind, request),
            Verb::List | Verb::Watch => list(&store, &kind, request),
            Verb::Create if request.subresource == "binding" => write::bind(&mut store, &context),
            Verb::Create if request.subresource == "eviction" => super::delete::evict(&mut store, &context),
            Verb::Create => write::create(&mut store, &context),
            Verb::Update | Verb::Patch | Verb::Apply => write::change(&mut store, &context),
            Verb::Delete => super::delete::one(&mut store, &context),
            Verb::DeleteCollection => super::delete::many(&mut store, &context),
        }
    }
}

fn door_exists(kind: &KindSpec, request: &Request) -> bool {
    match request.subresource.as_str() {
        "" => true,
        "status" => kind.status && request.verb != Verb::Create,
        "scale" => kind.scale,
        "binding" | "eviction" => kind.is("", "Pod"),
        _ => false,
    }
}

fn get(store: &Store, kind: &KindSpec, request: &Request) -> Result<Reply, ApiError> {
    let live = store
        .get(kind, &request.namespace, &request.name)
        .ok_or_else(|| ApiError::not_found(kind, &request.name))?;
    if request.subresource == "scale" {
        return Ok(Reply::ok(strategy::scale_of(&live)));
    }
    Ok(Reply::ok(events::outward(kind, live)))
}

/// The selectors of a list, watch or collection.
pub(crate) fn selectors(
    kind: &KindSpec,
    request: &Request,
) -> Result<(LabelSelector, FieldSelector), ApiError> {
    let labels = LabelSelector::parse(request.parameter("labelSelector"))?;
    let mut fields = request.parameter("fieldSelector").to_owned();
    // A GET of one object with watch=true is a watch of that name.
    if request.verb == Verb::Watch && !request.name.is_empty() {
        fields = format!("metadata.name={}", request.name);
    }
    Ok((labels, FieldSelector::parse(kind, &fields)?))
}

fn list(store: &Store, kind: &KindSpec, request: &Request) -> Result<Reply, ApiError> {
    let (labels, fields) = selectors(kind, request)?;
    let items = match fields.name() {
        Some(name) if !request.namespace.is_empty() || !kind.namespaced => {
            store.get(kind, &request.namespace, name).into_iter().collect()
        }
        _ => store.list(kind, &request.namespace).cloned().collect::<Vec<_>>(),
    };
    let items = items
        .into_iter()
        .map(|object| events::outward(kind, object))
        .filter(|object| labels.matches(object) && fields.matches(object))
        .collect();
    Ok(Reply { code: 200, body: Body::List { items, version: store.version() } })
}

/// The `Status` of a subresource that did what it was asked.
pub(crate) fn done() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

/// The `Status` of a deletion.
pub(crate) fn success(kind: &KindSpec, object: &Value) -> Value {
    let mut details = json!({
        "name": json::text(object, &["metadata", "name"]),
        "kind": kind.plural,
        "uid": json::text(object, &["metadata", "uid"]),
    });
    if !kind.group.is_empty() {
        json::set(&mut details, &["group"], kind.group.as_str());
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
