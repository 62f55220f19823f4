//! The file as a whole, its environments and their overrides.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::deploy::{Approval, Deploy, HealthCheck, Rollback, Step};
use super::gates::{Gate, Slo};
use super::service::{Image, Service};
use super::source::Source;
use super::workload::Workload;
use super::{Duration, Loose};

/// What a team writes in `.idp/deploy.yaml`. A two-line file works.
#[derive(JsonSchema)]
#[schemars(title = "deploy.yaml", deny_unknown_fields, extend("patternProperties" = {"^x-": {}}))]
pub(super) struct File {
    /// The version of this schema.
    #[schemars(rename = "apiVersion")]
    pub(super) api_version: Option<ApiVersion>,
    /// A template, `name@semver`.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) extends: Option<String>,
    /// Who and what.
    pub(super) service: Service,
    /// Which image; default: the platform's template with the merged commit as its tag.
    pub(super) image: Option<Image>,
    /// What runs.
    pub(super) workload: Option<Workload>,
    /// Objects that the team writes itself, instead of `workload`.
    pub(super) source: Option<Source>,
    /// How a new version is rolled out.
    pub(super) deploy: Option<Deploy>,
    /// The same as `deploy.canary`.
    pub(super) canary: Option<Vec<Step>>,
    /// The same as `deploy.healthcheck`.
    pub(super) healthcheck: Option<HealthCheck>,
    /// The same as `deploy.rollback`.
    pub(super) rollback: Option<Rollback>,
    /// The same as `deploy.gates`.
    pub(super) gates: Option<Vec<Gate>>,
    /// Service level objectives that a deploy waits for.
    pub(super) slo: Option<Vec<Slo>>,
    /// References to secrets.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) secrets: Option<BTreeMap<String, String>>,
    /// What the platform provides.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) resources: Option<BTreeMap<String, Loose>>,
    /// Where it runs; default: the platform's environments with `default: true`. A file that names some runs in these only.
    pub(super) environments: Option<BTreeMap<String, Option<Environment>>>,
    /// Environments of pull requests.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) preview: Option<Loose>,
    /// Rules beside the platform's own.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) policy: Option<Loose>,
    /// Metrics, dashboards, alerts, traces.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) observability: Option<Loose>,
    /// When nothing is deployed.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) freeze: Option<Vec<Loose>>,
    /// Who may do what.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) access: Option<Loose>,
    /// Who is told what.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) notify: Option<Vec<Loose>>,
    /// Who pays.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) cost: Option<Loose>,
    /// Why the paved road is left.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) escape: Option<Loose>,
}

#[derive(JsonSchema)]
pub(super) enum ApiVersion {
    #[schemars(rename = "idp/v1")]
    One,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Environment {
    /// false: a new version is shown and not started by itself. Default true.
    pub(super) auto_deploy: Option<bool>,
    /// The environment that goes first.
    pub(super) after: Option<Predecessor>,
    /// Who must agree before a rollout changes anything.
    pub(super) approval: Option<Approval>,
    /// When nothing is deployed.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) freeze: Option<Vec<Loose>>,
    /// Where it is reached.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) url: Option<String>,
    /// What is different here: maps merge, lists replace, null removes.
    pub(super) overrides: Option<Overrides>,
}

/// The environment in which a commit is proven first.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Predecessor {
    /// Its name, one that the file names too.
    pub(super) env: String,
    /// How long the commit, or a later one, must have been stable there. Default 0s.
    pub(super) soak: Option<Duration>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Overrides {
    /// As at top level.
    pub(super) image: Option<Image>,
    /// As at top level.
    pub(super) workload: Option<Workload>,
    /// As at top level.
    pub(super) deploy: Option<Deploy>,
    /// As at top level.
    pub(super) canary: Option<Vec<Step>>,
    /// As at top level.
    pub(super) healthcheck: Option<HealthCheck>,
    /// As at top level.
    pub(super) rollback: Option<Rollback>,
    /// As at top level.
    pub(super) source: Option<Source>,
    /// As at top level.
    pub(super) gates: Option<Vec<Gate>>,
    /// As at top level.
    pub(super) slo: Option<Vec<Slo>>,
    /// As at top level.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) secrets: Option<Loose>,
    /// As at top level.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) resources: Option<Loose>,
    /// As at top level.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) policy: Option<Loose>,
    /// As at top level.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) observability: Option<Loose>,
    /// As at top level.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) freeze: Option<Vec<Loose>>,
    /// As at top level.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) access: Option<Loose>,
    /// As at top level.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) notify: Option<Vec<Loose>>,
    /// As at top level.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) cost: Option<Loose>,
    /// As at top level.
    #[schemars(extend("x-unsupported" = true))]
    pub(super) escape: Option<Loose>,
}
