//! Declaration and revision to desired objects, in the order of their application, and the identity of the version that they make.
//!
//! In: a [`Declaration`], the commit that brought it, the tree of its watched paths and the platform's defaults. Out: a [`Desired`].
//! Pure: same inputs, same bytes. May use `model` and `declare`; names no client, clock, network or file.

use std::time::Duration;

use crate::declare::template::Values;
use crate::model::change::{Changes, Revision};
use crate::model::declaration::{Declaration, ManifestFile};
use crate::model::desired::Desired;
use crate::model::name::{Namespace, ReleaseKey, SourceName};
use crate::model::object::Manifest;

mod autoscaler;
mod body;
mod identity;
mod image;
mod job;
mod objects;
mod own;
mod pod;
#[cfg(test)]
mod tests;
mod tracks;

pub use autoscaler::{autoscaler_key, autoscaler_of};
pub(crate) use body::rehashed;
pub use body::{CANARY_SUFFIX, Stamp, canary_of, content_hash, pin, renamed, stamp, with_runs_of};
pub use job::GateJob;
pub(crate) use objects::CRON_JOB;
pub use tracks::{subsets_key, subsets_of, track_of};

/// The version of the renderer: counted up whenever the same declaration renders to other bytes. Part of a version's `platform`.
pub const RENDERER: &str = "1";

/// The bytes that the objects of one version may have together, as JSON: what a revision Secret holds.
pub const OBJECTS_LIMIT: usize = 900 * 1024;

/// What the platform decides for every service that says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct PlatformDefaults {
    /// The image of a service that names no repository, with or without a tag, as in
    /// `registry.example.com/{{service.team}}/{{service.name}}`.
    pub image: Option<String>,
    /// Requested CPU, in Kubernetes' canonical form.
    pub cpu: String,
    /// Requested memory, in Kubernetes' canonical form; also the limit.
    pub memory: String,
    /// How long a pod may take to stop, whole seconds.
    pub termination_grace: Duration,
    /// How long a pod goes on serving after it was told to stop, so that routers have time to leave it; whole seconds.
    pub pre_stop: Duration,
    /// The user of containers that name none, 1 to 2^31-1.
    pub run_as: u32,
}

impl Default for PlatformDefaults {
    fn default() -> Self {
        Self {
            image: None,
            cpu: "100m".to_owned(),
            memory: "128Mi".to_owned(),
            termination_grace: Duration::from_secs(30),
            pre_stop: Duration::from_secs(5),
            // The number that minimal base images reserve for "nobody in particular".
            run_as: 65_532,
        }
    }
}

/// Where and from what a declaration is rendered.
#[derive(Debug, Clone)]
pub struct RenderContext<'a> {
    /// The release; its service and environment are the declaration's.
    pub release: ReleaseKey,
    /// Where it runs.
    pub namespace: Namespace,
    /// The source that declared it.
    pub source: SourceName,
    /// The commit.
    pub revision: Revision,
    /// The content id of the watched paths at the commit.
    pub watched_tree: String,
    /// The commits whose watched paths have the same content, oldest first; the first 20 count. Empty: the revision alone.
    pub image_candidates: Vec<String>,
    /// The files of the team's own manifests, where the declaration names some.
    pub manifests: &'a [ManifestFile],
    /// What the platform decides.
    pub platform: &'a PlatformDefaults,
}

/// Why a declaration cannot be rendered. Terminal: only another commit or another configuration helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The context is of another release.
    #[error("render {release}: the declaration is of {service} in {environment}")]
    OtherRelease {
        /// The context's release.
        release: ReleaseKey,
        /// The declaration's service.
        service: String,
        /// The declaration's environment.
        environment: String,
    },
    /// Neither the file nor the platform says which image.
    #[error(
        "render {0}: no image is named: write image: <repository> in the file, or set the platform's image template"
    )]
    NoImage(ReleaseKey),
    /// The image's repository or tag is not one once its templates are filled in.
    #[error("render {release}: {what} {text:?} is not valid once its templates are filled in: {why}")]
    Image {
        /// The release.
        release: ReleaseKey,
        /// `image.repository` or `image.tag`.
        what: &'static str,
        /// The text, filled in, cut to 200 characters.
        text: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A team's own manifests cannot be applied as they are.
    #[error("render {release}: {file}: {what}")]
    Manifests {
        /// The release.
        release: ReleaseKey,
        /// The file, or the key of the declaration.
        file: String,
        /// What is wrong, and how to mend it.
        what: String,
    },
    /// The objects do not fit a revision Secret.
    #[error(
        "render {release}: the objects have {size} bytes together, at most {OBJECTS_LIMIT} fit: make workload.files, or the ConfigMaps of source.manifests, smaller, or put them into the image"
    )]
    TooLarge {
        /// The release.
        release: ReleaseKey,
        /// The bytes.
        size: usize,
    },
    /// The annotations of an object are larger than the API server takes.
    #[error(
        "render {release}: the annotations of {object} have {size} bytes, at most {limit} are allowed: shorten service.annotations"
    )]
    Annotations {
        /// The release.
        release: ReleaseKey,
        /// The object, as `Kind/name`.
        object: String,
        /// The bytes.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

/// Renders what a declaration asks for at a revision.
///
/// Fails, naming what to change, if no image is named, a template does not yield an image, or the objects are larger than what is kept.
pub fn render(declaration: &Declaration, context: &RenderContext<'_>) -> Result<Desired, RenderError> {
    let RenderContext { release, namespace, source, revision, watched_tree, platform, .. } = context;
    let service = &declaration.service;
    if service.name != release.service || declaration.environment != release.environment {
        return Err(RenderError::OtherRelease {
            release: release.clone(),
            service: service.name.to_string(),
            environment: declaration.environment.to_string(),
        });
    }
    let own = declaration.source.as_ref().map(|manifests| own::own(declaration, manifests, context));
    let own = own.transpose()?;
    let (declaration, objects, port) = match &own {
        Some(own) => (&own.declaration, own.objects.clone(), own.port),
        None => (declaration, objects::objects(declaration, context), declaration.workload.port()),
    };
    let image = image::request(declaration, context)?;
    check_sizes(release, &objects)?;
    Ok(Desired {
        release: release.clone(),
        namespace: namespace.clone(),
        team: service.team.clone(),
        source: source.clone(),
        revision: revision.clone(),
        identity: match own {
            Some(_) => identity::of_manifests(declaration, &objects, watched_tree),
            None => identity::identity(declaration, watched_tree),
        },
        changes: Changes::default(),
        platform: identity::platform(RENDERER, platform),
        image,
        mode: declaration.mode,
        auto_deploy: declaration.auto_deploy,
        replicas: declaration.replicas,
        autoscale: declaration.autoscale,
        policy: declaration.policy.clone(),
        port,
        objects,
    })
}

/// What templates stand for. The commit is the oldest one with the same content: an unrelated commit changes no object.
fn values<'a>(declaration: &'a Declaration, context: &'a RenderContext<'_>) -> Values<'a> {
    let head = context.revision.commit.as_str();
    Values {
        commit: Some(context.image_candidates.first().map_or(head, String::as_str)),
        environment: declaration.environment.as_str(),
        service: declaration.service.name.as_str(),
        team: declaration.service.team.as_str(),
    }
}

/// What the API server allows all annotations of one object, less what a stamp adds.
const ANNOTATIONS_LIMIT: usize = 240 * 1024;

fn check_sizes(release: &ReleaseKey, objects: &[Manifest]) -> Result<(), RenderError> {
    let mut size = 0;
    for manifest in objects {
        size += manifest.body.to_string().len();
        let annotations = manifest.body.pointer("/metadata/annotations").and_then(|all| all.as_object());
        let bytes =
            |(key, value): (&String, &serde_json::Value)| key.len() + value.as_str().map_or(0, str::len);
        let annotated: usize = annotations.into_iter().flatten().map(bytes).sum();
        if annotated > ANNOTATIONS_LIMIT {
            return Err(RenderError::Annotations {
                release: release.clone(),
                object: format!("{}/{}", manifest.key.kind, manifest.key.name),
                size: annotated,
                limit: ANNOTATIONS_LIMIT,
            });
        }
    }
    if size > OBJECTS_LIMIT { Err(RenderError::TooLarge { release: release.clone(), size }) } else { Ok(()) }
}
