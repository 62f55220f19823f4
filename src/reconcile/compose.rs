//! What a declaration file means: the pure rooms `declare` and `render`, composed for the source loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, Environment, Probe};
use crate::declare::{self, Spec};
use crate::model::declaration::Declaration;
use crate::model::desired::Desired;
use crate::model::gate::Measure;
use crate::model::name::{EnvironmentName, ReleaseKey};
use crate::model::policy::CheckKind;
use crate::render::{self, PlatformDefaults, RenderContext};
use crate::source::{Compose, DeclareRequest, Declared, Refused, RenderAnswer, RenderRequest};

/// Makes the two functions of the source loop out of the configuration.
pub fn compose(config: &Arc<Config>) -> Compose {
    let defaults = PlatformDefaults {
        image: config.platform.image.as_ref().map(|image| image.as_str().to_owned()),
        ..PlatformDefaults::default()
    };
    let (config, defaults) = (Arc::clone(config), Arc::new(defaults));
    let known: Vec<EnvironmentName> = config.environments.keys().cloned().collect();
    Compose {
        declare: Arc::new(move |request| declared(request, &known)),
        render: Arc::new(move |request| rendered(request, &config, &defaults)),
    }
}

fn declared(request: &DeclareRequest, known: &[EnvironmentName]) -> Result<Declared, Refused> {
    let spec = declare::parse(&request.path, &request.bytes).map_err(|diagnostics| Refused {
        service: declare::service_name_of(&request.bytes),
        message: diagnostics.sentence(),
    })?;
    let refused = |message: String| Refused { service: Some(spec.service().clone()), message };
    let unknown = declare::check_environments(&spec, known);
    if unknown.has_errors() {
        return Err(refused(unknown.sentence()));
    }
    if let Some(other) = spec.named_environments().find(|name| !request.environments.contains(name)) {
        return Err(refused(format!("source {} may not claim environment {other}", request.source)));
    }
    let watched = spec.watched();
    Ok(Declared {
        service: spec.service().clone(),
        paths: watched.paths.clone(),
        manifests: spec.manifests(),
        ignore: watched.ignore.clone(),
    })
}

fn rendered(request: &RenderRequest, config: &Config, defaults: &PlatformDefaults) -> RenderAnswer {
    let spec = match declare::parse(&request.path, &request.bytes) {
        Ok(spec) => spec,
        Err(diagnostics) => {
            let refuse = |name: &EnvironmentName| (name.clone(), Err(diagnostics.sentence()));
            return request.environments.iter().map(refuse).collect();
        }
    };
    let standard: Vec<EnvironmentName> = config
        .environments
        .values()
        .filter(|environment| environment.default)
        .map(|e| e.name.clone())
        .collect();
    let wanted = spec.environments(&standard);
    let here = wanted.into_iter().filter(|name| request.environments.contains(name));
    here.map(|name| {
        let desired = one(&spec, &name, request, config, defaults);
        (name, desired)
    })
    .collect::<BTreeMap<_, _>>()
}

fn one(
    spec: &Spec,
    name: &EnvironmentName,
    request: &RenderRequest,
    config: &Config,
    defaults: &PlatformDefaults,
) -> Result<Desired, String> {
    let environment =
        config.environments.get(name).ok_or_else(|| format!("environment {name} is not known"))?;
    let declaration = spec.resolve(name).map_err(|diagnostics| diagnostics.sentence())?;
    enforceable(&declaration, environment)?;
    let namespace = environment
        .namespace
        .render(spec.service(), spec.team(), name)
        .map_err(|error| format!("no namespace for environment {name}: {error}"))?;
    let context = RenderContext {
        release: ReleaseKey { service: spec.service().clone(), environment: name.clone() },
        namespace,
        source: request.source.clone(),
        revision: request.revision.clone(),
        watched_tree: request.watched_tree.clone(),
        image_candidates: request.candidates.iter().map(ToString::to_string).collect(),
        manifests: &request.manifests,
        platform: defaults,
    };
    render::render(&declaration, &context).map_err(|error| super::error::chain(&error))
}

/// Refuses what this environment has no means for: a gate that could only ever say that it does not know.
fn enforceable(declaration: &Declaration, environment: &Environment) -> Result<(), String> {
    let name = &environment.name;
    let policy = &declaration.policy;
    let asks = |measure: &Measure| matches!(measure, Measure::Metric { .. } | Measure::Budget { .. });
    let gates = policy.gates.iter().filter_map(|gate| Some((&gate.name, gate.asks.measure()?)));
    let mut all = gates.chain(policy.slo.iter().map(|slo| (&slo.name, &slo.measure)));
    if environment.prometheus.is_none()
        && let Some((gate, _)) = all.find(|(_, measure)| asks(measure))
    {
        return Err(format!(
            "the gate `{gate}` asks Prometheus, and the platform names none for environment {name}: remove it there (environments.{name}.overrides), or ask the platform's team for `prometheus`"
        ));
    }
    if environment.probe == Probe::Proxy && policy.health.kind == CheckKind::Grpc {
        return Err(format!(
            "healthcheck.type is grpc, and pods of environment {name} are asked through the API server, which passes on HTTP/1 only: write type: tcp or http there (environments.{name}.overrides)"
        ));
    }
    Ok(())
}
