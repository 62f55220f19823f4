//! A team's own manifests to desired objects: which workload rollouts act on, what of it the platform sets, and where its image goes.
//!
//! The target gets the release's labels in its pod template, so that its pods are seen. Of a Deployment the tracks are told apart by
//! labels in its selector as well; the selectors of a StatefulSet and a DaemonSet stay the team's own, and their pods are told apart by revision. A `ConfigMap`
//! that the target's pods read gets the hash of its content in its name, as a generated one has: a version keeps the config that it came with.

mod read;
mod target;
#[cfg(test)]
mod tests;

use globset::GlobBuilder;
use serde_json::Value;

use super::{RenderContext, RenderError, objects};
use crate::declare::reference;
use crate::model::declaration::{Declaration, ImageSource, ManifestFile, Manifests};
use crate::model::object::{Manifest, Role};
use crate::model::policy::CheckKind;
use crate::model::workload::WorkloadKind;
use crate::model::{IMAGE_PLACEHOLDER, LABEL_MANAGED_BY, MANAGER};

use read::{Document, documents, map_at};

/// What is wrong with the manifests, and in which file.
pub(super) struct Fault {
    pub(super) file: String,
    pub(super) what: String,
}

/// What the manifests of a release are.
pub(super) struct Own {
    /// The declaration with what only the manifests know: image, pods, port of the health check.
    pub(super) declaration: Declaration,
    /// In the order of their application.
    pub(super) objects: Vec<Manifest>,
    /// The port that the pods serve on.
    pub(super) port: u16,
}

/// Reads and checks the manifests, and makes objects of them.
pub(super) fn own(
    declaration: &Declaration,
    manifests: &Manifests,
    context: &RenderContext<'_>,
) -> Result<Own, RenderError> {
    built(declaration, manifests, context).map_err(|Fault { file, what }| RenderError::Manifests {
        release: context.release.clone(),
        file,
        what,
    })
}

fn built(
    declaration: &Declaration,
    manifests: &Manifests,
    context: &RenderContext<'_>,
) -> Result<Own, Fault> {
    let files = named(manifests, context.manifests)?;
    let mut all = documents(&files, &context.namespace)?;
    let at = target::find(&all, manifests)?;
    target::check(&all, at, declaration, manifests)?;
    target::fix_config(&mut all, at);
    let mut declaration = declaration.clone();
    let (mut objects, mut port) = (Vec::new(), None);
    for (index, mut document) in all.into_iter().enumerate() {
        let role = if index == at {
            port = target::port(&document.body);
            declaration.replicas = target::replicas(&document)?;
            if let Some(most) = target::unavailable(&document)? {
                declaration.policy.max_unavailable = most;
            }
            image(&mut declaration.image, &mut document)?;
            target::set(&mut document, &declaration, context)?;
            Role::Workload
        } else if document.config {
            Role::Config
        } else {
            Role::Shared
        };
        label(&mut document.body, role, &declaration, context);
        let Value::Object(body) = document.body else { continue };
        objects.push(objects::manifest(role, context, body));
    }
    objects.sort_by_key(|manifest| manifest.role);
    let health = &mut declaration.policy.health;
    match port {
        Some(port) if !manifests.check_port => health.port = port,
        // Nothing is known to connect to.
        None if !manifests.checked => health.kind = CheckKind::None,
        _ => {}
    }
    let port = port.unwrap_or(health.port);
    Ok(Own { declaration, objects, port })
}

/// The files that the globs of this environment name; every glob has to name one.
fn named<'f>(manifests: &Manifests, files: &'f [ManifestFile]) -> Result<Vec<&'f ManifestFile>, Fault> {
    let mut all: Vec<&ManifestFile> = Vec::new();
    for glob in &manifests.globs {
        let compiled = GlobBuilder::new(glob).literal_separator(true).build();
        let fault = |what: String| Fault { file: "source.manifests".to_owned(), what };
        let matcher =
            compiled.map_err(|error| fault(format!("{glob:?} is no glob: {error}")))?.compile_matcher();
        let found: Vec<&ManifestFile> = files.iter().filter(|file| matcher.is_match(&file.path)).collect();
        if found.is_empty() {
            return Err(fault(format!(
                "{glob:?} names no file: write a path from the repository's root, or one from the folder that holds .idp, beginning with ./"
            )));
        }
        all.extend(found);
    }
    all.sort_by_key(|file| &file.path);
    all.dedup_by_key(|file| &file.path);
    Ok(all)
}

/// Puts the placeholder where the image of the target's first container stands, and takes over what it names unless the file does.
fn image(declared: &mut ImageSource, document: &mut Document) -> Result<(), Fault> {
    let place = "/spec/template/spec/containers/0/image";
    let written = document.body.pointer(place).and_then(Value::as_str).map(str::to_owned);
    if declared.repository.is_none()
        && let Some(written) = &written
    {
        if written.contains('@') {
            let why = "names its image by digest: write the repository and a tag, or image: {repository, digest} in deploy.yaml";
            return Err(document.fault(why));
        }
        let (repository, tag) = reference::split(written);
        declared.repository = Some(repository.to_owned());
        if declared.tag.is_none() && declared.digest.is_none() {
            declared.tag = tag.map(str::to_owned);
        }
    }
    for list in ["containers", "initContainers"] {
        let list = document.body.pointer_mut(&format!("/spec/template/spec/{list}"));
        let containers = list.and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            let image = container.get("image").and_then(Value::as_str).map(str::to_owned);
            if image.is_some() && image == written {
                container.insert("image".to_owned(), Value::from(IMAGE_PLACEHOLDER));
            }
        }
    }
    if let (None, Some(Value::Object(first))) =
        (written, document.body.pointer_mut("/spec/template/spec/containers/0"))
    {
        first.insert("image".to_owned(), Value::from(IMAGE_PLACEHOLDER));
    }
    Ok(())
}

/// Adds the labels that every object of a release has; what the team says of itself under the recommended names stays.
fn label(body: &mut Value, role: Role, declaration: &Declaration, context: &RenderContext<'_>) {
    let track = role == Role::Workload && body.get("kind").and_then(Value::as_str) == Some("Deployment");
    let Some(labels) = map_at(body, &["metadata", "labels"]) else { return };
    for (key, value) in objects::labels(declaration, context) {
        if key.starts_with("idp.dev/") || key == LABEL_MANAGED_BY || !labels.contains_key(&key) {
            labels.insert(key, Value::from(value));
        }
    }
    labels.insert(LABEL_MANAGED_BY.to_owned(), Value::from(MANAGER));
    if track {
        labels.insert(crate::model::LABEL_TRACK.to_owned(), Value::from("stable"));
    }
    if declaration.service.annotations.is_empty() {
        return;
    }
    let Some(annotations) = map_at(body, &["metadata", "annotations"]) else { return };
    for (key, value) in &declaration.service.annotations {
        annotations.insert(key.clone(), Value::from(value.as_str()));
    }
}

/// Returns the kind of a document that pods belong to.
fn workload_kind(document: &Document) -> Option<WorkloadKind> {
    WorkloadKind::named(&document.kind)
}
