//! Objects that the team writes itself: `source`.

use schemars::JsonSchema;

use super::Loose;

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Source {
    /// Globs of YAML files, from the repository's root; one that begins with ./ or ../ from the folder that holds .idp.
    pub(super) manifests: Option<Vec<String>>,
    /// A folder with a kustomization.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) kustomize: Option<Loose>,
    /// A chart, its values.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) helm: Option<Loose>,
    /// A Score file.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) score: Option<Loose>,
    /// The workload that rollouts act on. Default: the only one.
    pub(super) target: Option<Target>,
    /// Changes of the manifests, JSON6902.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) patches: Option<Loose>,
    /// Fields that others own.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) ignore_differences: Option<Loose>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Target {
    /// What it is.
    pub(super) kind: TargetKind,
    /// Its metadata.name.
    pub(super) name: String,
}

#[derive(JsonSchema)]
pub(super) enum TargetKind {
    Deployment,
    StatefulSet,
    DaemonSet,
}
