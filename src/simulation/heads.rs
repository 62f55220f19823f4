//! What commits declare: texts of `.idp/deploy.yaml`, read and rendered by the rooms that read and render a team's own.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use crate::cluster::crd;
use crate::config::{self, Config};
use crate::evidence::outside::Outside;
use crate::model::change::Revision;
use crate::model::desired::{Desired, HeadUpdate, Identity, Mode};
use crate::model::image::Wanted;
use crate::model::name::{EnvironmentName, ReleaseKey, SourceName};
use crate::reconcile::compose;
use crate::sandbox::{KindSpec, gateway};
use crate::source::{Compose, RenderRequest};
use crate::telemetry::metrics::Metrics;

use super::SimulationError;
use super::gateway::Way;

/// The environment of a simulation.
pub(super) const ENVIRONMENT: &str = "production";

fn configuration(environment: &str) -> String {
    format!(
        "listen: 127.0.0.1:0
cache_dir: cache
cluster: {{in_cluster: true, name: simulation}}
environments:
  - {{name: {environment}, namespace: shop, default: true, create_namespace: true}}
platform:
  image: \"{REPOSITORY}\"
sources:
  - {{name: {SOURCE}, url: \"https://git.example.com/apps.git\", ref: main, paths: [.idp/deploy.yaml]}}
"
    )
}

/// The source that declares everything.
pub(super) const SOURCE: &str = "apps";
/// Where images are pulled from.
pub(super) const REPOSITORY: &str = "registry.example.com/shop/app";

/// What does not differ between two simulations: made once.
pub(super) struct Workshop {
    pub(super) config: Arc<Config>,
    pub(super) metrics: Arc<Metrics>,
    /// Nobody here asks an address that a team wrote.
    pub(super) outside: Arc<Outside>,
    /// What the server serves beside its own kinds: `Release`, and those of routes.
    pub(super) release: Arc<KindSpec>,
    pub(super) routes: Vec<Arc<KindSpec>>,
    compose: Compose,
}

impl Workshop {
    /// For an environment of that name.
    pub(super) fn new(environment: &str) -> Result<Arc<Self>, SimulationError> {
        let config = config::parse(&configuration(environment), Path::new("."))
            .map_err(SimulationError::part("reading the configuration"))?;
        let metrics = Metrics::register().map_err(SimulationError::part("registering the metrics"))?;
        let config = Arc::new(config);
        let compose = compose(&config);
        let outside = Outside::new(Arc::new(|_| false)).map_err(SimulationError::part("setting up TLS"))?;
        let release = KindSpec::from_crd(&crd::crd());
        let release = release.ok_or_else(|| SimulationError::missing("the definition of Release"))?;
        let routes = gateway::definitions().iter().filter_map(KindSpec::from_crd).map(Arc::new).collect();
        Ok(Arc::new(Self {
            config,
            metrics: Arc::new(metrics),
            outside: Arc::new(outside),
            release: Arc::new(release),
            routes,
            compose,
        }))
    }

    /// What the source loop would report of a commit with this file.
    pub(super) fn head(&self, text: &str, commit: u64, at: Timestamp) -> Vec<(ReleaseKey, HeadUpdate)> {
        let names: Vec<EnvironmentName> = self.config.environments.keys().cloned().collect();
        let id = format!("{commit:040x}");
        let (Ok(commit), Ok(source)) = (id.parse(), SOURCE.parse::<SourceName>()) else { return Vec::new() };
        let revision = Revision {
            commit,
            committed_at: at,
            author: "Ada".to_owned(),
            subject: "a change".to_owned(),
            repository: "https://git.example.com/apps".to_owned(),
            url: None,
        };
        let candidates = vec![revision.commit.clone()];
        let request = RenderRequest {
            source,
            path: ".idp/deploy.yaml".to_owned(),
            bytes: Arc::from(text.as_bytes()),
            manifests: Vec::new(),
            watched_tree: revision.commit.to_string(),
            revision,
            candidates,
            environments: names.clone(),
            claimable: names,
        };
        let service = crate::declare::service_name_of(text.as_bytes());
        let rendered = (self.compose.render)(&request).into_iter();
        rendered
            .filter_map(|(environment, answer)| {
                let release = ReleaseKey { service: service.clone()?, environment };
                let update = match answer {
                    Ok(desired) => HeadUpdate::Known(Box::new(desired)),
                    Err(reason) => HeadUpdate::Keep { reason },
                };
                Some((release, update))
            })
            .collect()
    }

    /// The same declaration at another commit, with another image: what a merge of new code is.
    #[allow(clippy::unused_self)] // It stands beside `head`, whose place it takes.
    pub(super) fn again(
        &self,
        desired: &Desired,
        tag: &str,
        commit: u64,
        at: Timestamp,
    ) -> Vec<(ReleaseKey, HeadUpdate)> {
        let mut desired = desired.clone();
        desired.identity = Identity(format!("{}.{tag}", desired.identity));
        desired.image.wanted = Wanted::Tags(vec![tag.to_owned()]);
        if let Ok(commit) = format!("{commit:040x}").parse() {
            desired.revision.commit = commit;
        }
        desired.revision.committed_at = at;
        desired.auto_deploy = true;
        desired.mode = Mode::Apply;
        vec![(desired.release.clone(), HeadUpdate::Known(Box::new(desired)))]
    }

    /// What a file declares, one answer for each of its releases.
    pub(super) fn desired(&self, text: &str) -> Vec<Result<Desired, String>> {
        let answers = self.head(text, 1, Timestamp::UNIX_EPOCH).into_iter();
        answers
            .map(|(_, update)| match update {
                HeadUpdate::Known(desired) => Ok(*desired),
                HeadUpdate::Keep { reason } => Err(reason),
            })
            .collect()
    }
}

/// What a step of a canary waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Asks {
    /// `pause: manual`.
    #[default]
    Promote,
    /// `approve` of two people.
    Approve,
}

/// What a simulated team writes once and for all. Times are seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// `strategy`, as it is written.
    pub(super) strategy: &'static str,
    /// Weight and pause of each step of a canary.
    pub(super) steps: Vec<(u8, u32)>,
    /// Which of them waits for a person, and for what.
    pub(super) asks: Option<(usize, Asks)>,
    /// What the team's own route to the service is, where it has one.
    pub(super) route: Option<Way>,
    pub(super) progress_deadline: u32,
    pub(super) unknown_timeout: u32,
    pub(super) window: u32,
    pub(super) interval: u32,
    pub(super) http: bool,
    pub(super) max_unavailable: u32,
    pub(super) on_unknown: &'static str,
    pub(super) on_low_traffic: &'static str,
    pub(super) on_restarts: u32,
}

impl Shape {
    /// A canary of three steps, as most write it.
    #[cfg(test)]
    pub(super) fn canary() -> Self {
        Self { strategy: "canary", steps: vec![(10, 20), (50, 20), (100, 20)], ..Self::plain() }
    }

    /// One rolling deploy, as most write it.
    pub(super) fn plain() -> Self {
        Self {
            strategy: "rolling",
            steps: Vec::new(),
            asks: None,
            route: None,
            progress_deadline: 120,
            unknown_timeout: 300,
            window: 20,
            interval: 5,
            http: true,
            max_unavailable: 0,
            on_unknown: "hold",
            on_low_traffic: "pass",
            on_restarts: 2,
        }
    }

    /// The file of a service at one commit.
    pub(super) fn text(&self, service: &str, tag: &str, replicas: u32) -> String {
        let mut text = format!(
            "service: {{name: {service}, team: shop}}
image: {{repository: {REPOSITORY}, tag: {tag}, wait: 3m}}
workload: {{port: 8080, replicas: {replicas}}}
deploy:
  progress_deadline: {}s
  max_unavailable: {}
",
            self.progress_deadline, self.max_unavailable
        );
        // Writing to a string does not fail.
        let _ = writeln!(text, "  strategy: {}", self.strategy);
        if !self.steps.is_empty() {
            let steps: Vec<String> =
                self.steps.iter().enumerate().map(|(at, step)| self.step(at, *step)).collect();
            let _ = writeln!(text, "  canary: [{}]", steps.join(", "));
        }
        let check = if self.http { "path: /healthz" } else { "type: tcp" };
        let _ = writeln!(text, "  healthcheck: {{{check}, interval: {}s, timeout: 1s}}", self.interval);
        let _ = writeln!(
            text,
            "  rollback: {{window: {}s, unknown_timeout: {}s, min_requests: 20, on_error_rate: \">2%\", on_restarts: \">{}\", on_unknown: {}, on_low_traffic: {}}}",
            self.window, self.unknown_timeout, self.on_restarts, self.on_unknown, self.on_low_traffic
        );
        text
    }

    fn step(&self, at: usize, (weight, pause): (u8, u32)) -> String {
        match self.asks.filter(|(step, _)| *step == at) {
            Some((_, Asks::Promote)) => format!("{{weight: {weight}, pause: manual}}"),
            Some((_, Asks::Approve)) => {
                format!("{{weight: {weight}, pause: {pause}s, approve: {{count: 2, timeout: 10m}}}}")
            }
            None => format!("{{weight: {weight}, pause: {pause}s}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_right_and_another_tag_is_another_version() {
        let workshop = Workshop::new(ENVIRONMENT).unwrap();
        let asks = Some((1, Asks::Approve));
        for shape in [Shape::canary(), Shape::plain(), Shape { asks, ..Shape::canary() }] {
            let [one, two, more] = [("v1", 3), ("v2", 3), ("v1", 5)]
                .map(|(tag, pods)| workshop.desired(&shape.text("web", tag, pods)).remove(0).unwrap());
            assert_ne!(one.identity, two.identity);
            assert_eq!(one.identity, more.identity);
            assert_eq!(one.policy.steps.len(), shape.steps.len());
        }
        let broken = workshop.head(
            "service: {name: web, team: shop}\nworkload: {prot: 1}\n",
            1,
            Timestamp::UNIX_EPOCH,
        );
        assert!(matches!(broken[0].1, HeadUpdate::Keep { .. }), "{broken:?}");
    }
}
