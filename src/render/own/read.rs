//! YAML files to objects that may be applied: bounded, of known kinds, in the release's namespace, no name twice.

use serde_json::{Map, Value};

use super::Fault;
use crate::declare::FILE_LIMIT;
use crate::model::declaration::ManifestFile;
use crate::model::name::Namespace;

/// Objects that all files may have together.
const OBJECTS: usize = 200;
/// Collections within each other, and values, in one file.
const DEPTH: usize = 48;
const NODES: usize = 50_000;
/// The longest name of an object (RFC 1123 subdomain, as Kubernetes takes it).
const NAME: usize = 253;

/// What a team may bring: kinds that live in a namespace, hold no secret and grant no rights.
const KINDS: [(&str, &str); 9] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "ServiceAccount"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
];

/// What the server writes; in a manifest it is left over from somebody's export.
const LEFT_OVER: [&str; 6] =
    ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"];

/// An object of a file.
pub(super) struct Document {
    /// Where it stands.
    pub(super) file: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) body: Value,
    /// A ConfigMap that the target's pods read.
    pub(super) config: bool,
}

impl Document {
    /// Says what is wrong with it.
    pub(super) fn fault(&self, what: impl std::fmt::Display) -> Fault {
        Fault { file: self.file.clone(), what: format!("{} {}: {what}", self.kind, self.name) }
    }
}

/// Reads all objects of the files, in order.
pub(super) fn documents(files: &[&ManifestFile], namespace: &Namespace) -> Result<Vec<Document>, Fault> {
    let mut all: Vec<Document> = Vec::new();
    for file in files {
        for value in parse(file)? {
            let document = document(&file.path, value, namespace)?;
            let same = |other: &&Document| other.kind == document.kind && other.name == document.name;
            if let Some(other) = all.iter().find(same) {
                return Err(document.fault(format!("is in {} as well: keep one of the two", other.file)));
            }
            if all.len() >= OBJECTS {
                return Err(document.fault(format!(
                    "is one more than the {OBJECTS} objects that a service may have: give a part of them to another service"
                )));
            }
            all.push(document);
        }
    }
    Ok(all)
}

fn parse(file: &ManifestFile) -> Result<Vec<Value>, Fault> {
    let fault = |what: String| Fault { file: file.path.clone(), what };
    let text = std::str::from_utf8(&file.bytes).map_err(|_| fault("is not UTF-8 text".to_owned()))?;
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH, max_nodes: NODES, max_events: 4 * NODES, max_documents: OBJECTS,
            max_total_scalar_bytes: 4 * FILE_LIMIT,
        },
    };
    let all: Vec<Value> = serde_yaml::from_multiple_with_options(text, options).map_err(|error| {
        fault(format!("is not YAML that can be read: {}", first_line(&error.to_string())))
    })?;
    Ok(all.into_iter().filter(|value| !value.is_null()).collect())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

fn document(file: &str, mut body: Value, namespace: &Namespace) -> Result<Document, Fault> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let (place, generated) = (text("/metadata/namespace"), text("/metadata/generateName"));
    let document = |body| Document {
        file: file.to_owned(),
        kind: kind.clone(),
        name: name.clone(),
        body,
        config: false,
    };
    let fault = |what: String| document(Value::Null).fault(what);
    if version.is_empty() || kind.is_empty() {
        let what = "a document is no Kubernetes object: it has no apiVersion or no kind".to_owned();
        return Err(Fault { file: file.to_owned(), what });
    }
    allowed(&version, &kind).map_err(fault)?;
    if !generated.is_empty() || !is_name(&name) {
        return Err(fault("needs a metadata.name in lower case, and no generateName".to_owned()));
    }
    if !place.is_empty() && place != namespace.as_str() {
        return Err(fault(format!(
            "is in namespace {place}, and the release in {namespace}: remove metadata.namespace, the platform sets it"
        )));
    }
    tidy(&mut body);
    if let Some(map) = body.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !LEFT_OVER.contains(&name.as_str()));
        metadata.insert("namespace".to_owned(), Value::from(namespace.as_str()));
    }
    Ok(document(body))
}

fn allowed(version: &str, kind: &str) -> Result<(), String> {
    if KINDS.contains(&(version, kind)) {
        return Ok(());
    }
    if let Some((right, _)) = KINDS.iter().find(|(_, known)| *known == kind) {
        return Err(format!("has apiVersion {version}: write {right}"));
    }
    Err(match kind {
        "Secret" => "a Secret does not belong into Git: create it in the cluster, and let the pods refer to it by name".to_owned(),
        "List" => "write its items as documents of their own, with --- between them".to_owned(),
        "HorizontalPodAutoscaler" => {
            "would fight with the rollout for the number of pods: write spec.replicas instead".to_owned()
        }
        _ => {
            let known: Vec<&str> = KINDS.iter().map(|(_, kind)| *kind).collect();
            format!("its kind is not one that a service may bring: {}", known.join(", "))
        }
    })
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= NAME
        && name.starts_with(plain)
        && name.ends_with(plain)
        && name.chars().all(|c| plain(c) || c == '-' || c == '.')
}

/// Leaves out fields without a value: for the server they are not there, and what it gives back must equal what was applied.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, member| !member.is_null());
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Returns a map below a body, made where it is missing.
pub(super) fn map_at<'a>(body: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut current = body;
    for name in path {
        let map = current.as_object_mut()?;
        current = map.entry((*name).to_owned()).or_insert_with(|| Value::Object(Map::new()));
    }
    current.as_object_mut()
}
