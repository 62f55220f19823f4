//! Who and what: `service` and `image`.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::deploy::{HealthCheck, Rollback};
use super::{Duration, Label, Loose, Scalar};

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Service {
    /// The name: at most 40 characters; base name of the objects.
    pub(super) name: Label,
    /// The owning team.
    pub(super) team: Label,
    /// Which generator; `service`, `job` and `cron` are enforced.
    #[schemars(rename = "type")]
    pub(super) kind: Option<ServiceType>,
    /// A label on the objects. Default production.
    pub(super) lifecycle: Option<Lifecycle>,
    /// A label on the objects; `critical` holds a step with low traffic by default. Default standard.
    pub(super) tier: Option<Tier>,
    /// What makes a new version beside the folder that holds `.idp`: globs from the repository's root.
    pub(super) paths: Option<Vec<String>>,
    /// What makes no new version beside `.idp/**` and `**/*.md`: globs from the repository's root.
    pub(super) ignore: Option<Vec<String>>,
    /// An annotation on the objects.
    pub(super) description: Option<String>,
    /// The system that it is part of; a label on the objects.
    pub(super) system: Option<String>,
    /// The address of the runbook; an annotation on the objects.
    pub(super) runbook: Option<String>,
    /// Addresses; an annotation on the objects.
    pub(super) links: Option<Vec<Link>>,
    /// Labels of the objects, not of the pods.
    pub(super) labels: Option<BTreeMap<String, Scalar>>,
    /// Annotations of the objects, not of the pods.
    pub(super) annotations: Option<BTreeMap<String, Scalar>>,
    /// Services that it needs.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) depends_on: Option<Vec<Loose>>,
    /// Interfaces that it offers.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) provides_apis: Option<Vec<Loose>>,
    /// The same as `deploy.healthcheck`.
    pub(super) healthcheck: Option<HealthCheck>,
    /// The same as `deploy.rollback`.
    pub(super) rollback: Option<Rollback>,
    /// The same as `deploy.gates`.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) gates: Option<Vec<Loose>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum ServiceType {
    Service,
    Worker,
    Job,
    Cron,
    Static,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum Lifecycle {
    Experimental,
    Production,
    Deprecated,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum Tier {
    Critical,
    Standard,
    BestEffort,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Link {
    Address(String),
    Titled(TitledLink),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct TitledLink {
    /// Its words.
    pub(super) title: Option<String>,
    /// The address, http or https.
    pub(super) url: String,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Image {
    /// The repository, with or without a tag or a digest.
    Reference(String),
    Parts(ImageParts),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ImageParts {
    /// The repository with its registry; default: the platform's template.
    pub(super) repository: Option<String>,
    /// The tag. Default {{commit.sha}}.
    pub(super) tag: Option<Scalar>,
    /// sha256: and 64 hexadecimal digits; instead of a tag.
    pub(super) digest: Option<String>,
    /// How long CI may take to push the image. Default 15m.
    pub(super) wait: Option<Duration>,
}
