//! `.idp/deploy.yaml` → declaration: what one file says for each environment, or everything that is wrong with it at once, each fault with
//! its line, column, reason and remedy.
//!
//! In: the bytes of a file and its path. Out: a [`Spec`], which resolves to a [`Declaration`] for one environment, or [`Diagnostics`].
//! Pure, bounded in time and memory whatever the bytes are; it may use `model` only.
//!
//! ```text
//! bytes ─ text: size, encoding, lost indentation ─► tree: YAML with places, bounded ─► keys: unknown, not enforced
//!       ─► layout: canonical places, overrides laid over ─► service, workload, deploy: values ─► Declaration, one an environment
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::model::declaration::{DEFAULT_REPLICAS, Declaration, ServiceInfo};
use crate::model::name::{EnvironmentName, ServiceName, TeamName};
use crate::model::traffic::Provider;

mod cron;
mod deploy;
mod diagnostic;
mod gates;
mod indent;
mod job;
mod keys;
mod layout;
mod number;
mod order;
mod promql;
pub mod reference;
mod schema;
mod section;
mod service;
mod source;
pub mod template;
#[cfg(test)]
mod tests;
mod text;
mod traffic;
mod tree;
mod workload;

pub use diagnostic::{Code, Diagnostic, Diagnostics, Place, Severity};
pub use order::cycle;
pub use schema::schema;
pub use service::Watched;
pub use source::unfit;

use diagnostic::Findings;
use section::Section;
use tree::Node;

/// The bytes that a file may have.
pub const FILE_LIMIT: usize = text::LIMIT;

/// Environments that a file may name: each is read on its own.
const ENVIRONMENTS: usize = 32;

/// A file that is right, for every environment that it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    path: String,
    service: ServiceInfo,
    watched: Watched,
    /// What the file says without overrides.
    base: Declaration,
    /// Where it names its environments, and what it says for each.
    named: BTreeMap<EnvironmentName, (Place, Declaration)>,
    notes: Diagnostics,
    /// Where `deploy.after` stands.
    after_at: Place,
}

/// Reads a file. `path` is its path from the repository's root: it stands in every finding, and its folder is what the service watches.
///
/// Fails with everything that is wrong with the file, in every environment that it names.
pub fn parse(path: &str, text: &[u8]) -> Result<Spec, Diagnostics> {
    let findings = Findings::new(path);
    let spec = read(path, text, &findings);
    match spec {
        Some(spec) if !findings.has_errors() => Ok(Spec { notes: findings.finish(), ..spec }),
        _ => Err(findings.finish()),
    }
}

fn read(path: &str, text: &[u8], findings: &Findings) -> Option<Spec> {
    let root = text::load(text, findings)?;
    let root = layout::canonical(&keys::check(&root, findings), findings);
    let file = Section::root(&root, findings);
    let known = |text: &str| match text {
        "idp/v1" => Ok(()),
        _ => Err(section::Complaint(
            Code::Value,
            format!("{:?} is not a version that is known", section::cut(text)),
            "write idp/v1, or remove the key".to_owned(),
        )),
    };
    file.parsed("apiVersion", known);
    if file.entry("service").is_none() {
        file.missing("service", "write service: {name: my-service, team: my-team}");
        return None;
    }
    let section = file.section("service");
    let watched = service::watched(&section, path);
    let service = service::service(&section);
    let anywhere: EnvironmentName = "base".parse().ok()?;
    let folder = watched.folder.as_str();
    let base = declaration(&file, service.as_ref(), &anywhere, folder, true);
    let named = environments(&file, &root, service.as_ref(), folder);
    let service = service?;
    let after_at = file.section("deploy").entry("after").map_or(Place::START, |entry| entry.at);
    let (path, notes) = (path.to_owned(), Diagnostics::default());
    Some(Spec { path, service, watched, base: base?, named, notes, after_at })
}

/// Reads each environment that the file names: the file with the environment's overrides over it.
fn environments(
    file: &Section<'_>,
    root: &Node,
    service: Option<&ServiceInfo>,
    folder: &str,
) -> BTreeMap<EnvironmentName, (Place, Declaration)> {
    let section = file.section("environments");
    let mut named = BTreeMap::new();
    if let Some(entry) = section.entries().get(ENVIRONMENTS) {
        let what = format!("more than {ENVIRONMENTS} environments are named");
        section.error(Code::Limit, entry.at, what, "give the service a second file with another name");
    }
    let all: Vec<&str> = section.entries().iter().map(|entry| entry.key.as_str()).collect();
    for entry in section.entries().iter().take(ENVIRONMENTS) {
        let name = entry.key.parse::<EnvironmentName>();
        if let Err(error) = &name {
            section.error(Code::Name, entry.at, error.to_string(), "write for example production");
        }
        let environment = section.section(&entry.key);
        let auto_deploy = environment.flag("auto_deploy").unwrap_or(true);
        // Read for its faults only: whatever is not a map is said here.
        environment.section("overrides");
        let over = environment.node("overrides").map(|over| layout::canonical_overrides(over, file.findings));
        let merged = over.map(|over| layout::overlay(root, &over));
        let Ok(name) = name else { continue };
        let merged = Section::root(merged.as_ref().unwrap_or(root), file.findings);
        let approval =
            environment.entry("approval").map(|_| order::approval(&environment.section("approval")));
        let before = environment.entry("after").map(|_| environment.section("after"));
        let before = before.and_then(|section| order::predecessor(&section, &entry.key, &all));
        if let Some(mut declaration) = declaration(&merged, service, &name, folder, auto_deploy) {
            declaration.policy.order.approval = approval;
            declaration.policy.order.environment = before;
            named.insert(name, (entry.at, declaration));
        }
    }
    circles(&section, &named);
    named
}

/// Environments that come after each other would all wait for ever.
fn circles(section: &Section<'_>, named: &BTreeMap<EnvironmentName, (Place, Declaration)>) {
    let before = |name: &EnvironmentName| {
        let (_, declaration) = named.get(name)?;
        declaration.policy.order.environment.as_ref().map(|before| before.environment.clone())
    };
    for (name, (at, _)) in named {
        let way = std::iter::successors(before(name), before).take(named.len());
        if way.into_iter().any(|environment| environment == *name) {
            let what = format!("{name} comes after itself, by way of the environments that it comes after");
            section.error(Code::Conflict, *at, what, "remove one `after`");
        }
    }
}

fn declaration(
    file: &Section<'_>,
    service: Option<&ServiceInfo>,
    environment: &EnvironmentName,
    folder: &str,
    auto_deploy: bool,
) -> Option<Declaration> {
    let image = file.section("image");
    let deploy = file.section("deploy");
    let source = workload::image(&image);
    let probe = deploy::declared_probe(&deploy.section("healthcheck"));
    let section = file.section("workload");
    let workload = workload::workload(&section, probe);
    let is_job = job::is_job(file);
    let (replicas, autoscale) = if is_job { (Some(0), None) } else { workload::replicas(&section) };
    let replicas = replicas.unwrap_or(DEFAULT_REPLICAS);
    let mode = deploy::mode(&deploy);
    let tier = service.map_or(crate::model::declaration::Tier::Standard, |service| service.tier);
    let mut policy = deploy::policy(file, &deploy, &image, workload.port(), tier);
    if policy.traffic.provider == Provider::Replicas {
        deploy::without_route(&deploy);
        if autoscale.is_some() {
            deploy::beside_autoscaler(&deploy);
        }
    }
    let run = is_job.then(|| job::limits(&section));
    let cron = if job::is_cron(file) { cron::cron(&section) } else { None };
    if is_job {
        policy = job::policy(file, &deploy, policy);
    } else if job::serves(file) {
        job::only_jobs(&section);
    }
    let (after, at) = order::services(&deploy);
    if let (Some(service), Some(at)) = (service.filter(|service| after.contains(&service.name)), at) {
        let what = format!("{} cannot come after itself", service.name);
        deploy.error(Code::Conflict, at, what, "remove it from `deploy.after`");
    }
    policy.order.services = after;
    policy.order.group = order::group(&deploy);
    let manifests = source::source(file, folder);
    if let Some(manifests) = &manifests {
        source::check_target(&deploy, manifests, &policy);
    }
    Some(Declaration {
        service: service?.clone(),
        environment: environment.clone(),
        image: source,
        workload,
        source: manifests,
        run,
        cron,
        replicas,
        autoscale,
        mode,
        auto_deploy,
        policy,
    })
}

impl Spec {
    /// Returns the service's name.
    pub fn service(&self) -> &ServiceName {
        &self.service.name
    }

    /// Returns the owning team.
    pub fn team(&self) -> &TeamName {
        &self.service.team
    }

    /// Returns the path that the file was parsed with.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns what makes a new version.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Returns the globs of the manifests that the file names for any environment, from the repository's root, in order.
    pub fn manifests(&self) -> Vec<String> {
        let all = self.named.values().map(|(_, declaration)| declaration).chain([&self.base]);
        let globs = all.filter_map(|declaration| declaration.source.as_ref()).flat_map(|own| &own.globs);
        globs.cloned().collect::<BTreeSet<String>>().into_iter().collect()
    }

    /// Returns what is worth knowing about a file that is right.
    pub fn notes(&self) -> &Diagnostics {
        &self.notes
    }

    /// Returns the environments that the file names. Empty: it names none and runs in the platform's default ones.
    pub fn named_environments(&self) -> impl Iterator<Item = &EnvironmentName> {
        self.named.keys()
    }

    /// Returns the environments that the service runs in: those that the file names, and if it names none, the platform's `default: true`
    /// ones. An environment's name is enough (`environments: {production: }`); `auto_deploy: false` does not take it away.
    pub fn environments(&self, defaults: &[EnvironmentName]) -> Vec<EnvironmentName> {
        if self.named.is_empty() { defaults.to_vec() } else { self.named.keys().cloned().collect() }
    }

    /// Returns what the file says for an environment. Fails if the file names environments and this is not one of them.
    pub fn resolve(&self, environment: &EnvironmentName) -> Result<Declaration, Diagnostics> {
        if self.named.is_empty() {
            return Ok(Declaration { environment: environment.clone(), ..self.base.clone() });
        }
        if let Some((_, declaration)) = self.named.get(environment) {
            return Ok(declaration.clone());
        }
        let findings = Findings::new(&self.path);
        let what = format!("`environments` does not name {environment}");
        findings.add(
            Diagnostic::error(Code::Environment, Place::START, what)
                .why("a file that names environments runs in these only")
                .fix(format!("add {environment}: {{}} to `environments`")),
        );
        Err(findings.finish())
    }
}

/// Checks that the services of several files do not come after each other in a circle, and that none comes after one that it goes
/// together with, in any environment that they name. Returns the number of each file that is wrong, with what to say of it.
pub fn check_order(specs: &[&Spec]) -> Vec<(usize, Diagnostic)> {
    let environments = || specs.iter().flat_map(|spec| spec.named.keys().map(Some)).chain([None]);
    let declaration = |spec: &Spec, environment: Option<&EnvironmentName>| match environment {
        Some(name) => spec.named.get(name).map(|(_, declaration)| declaration.clone()),
        None => Some(spec.base.clone()),
    };
    let mut found: BTreeMap<usize, Diagnostic> = BTreeMap::new();
    for environment in environments().collect::<BTreeSet<_>>() {
        let declared: BTreeMap<ServiceName, Declaration> = specs
            .iter()
            .filter_map(|spec| Some((spec.service().clone(), declaration(spec, environment)?)))
            .collect();
        for (number, spec) in specs.iter().enumerate() {
            let said = order::circle(spec.service(), &declared, spec.after_at)
                .or_else(|| order::one_after_its_mate(spec.service(), &declared, spec.after_at));
            if let Some(said) = said {
                found.entry(number).or_insert(said.of(&spec.path));
            }
        }
    }
    found.into_iter().collect()
}

/// Checks the environments that a file names against those that the platform has.
pub fn check_environments(spec: &Spec, known: &[EnvironmentName]) -> Diagnostics {
    let findings = Findings::new(&spec.path);
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    for (name, (at, _)) in &spec.named {
        if known.contains(name) {
            continue;
        }
        let fix = match keys::nearest(name.as_str(), names.iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the platform has: {}", names.join(", ")),
        };
        let what = format!("the platform has no environment `{name}`");
        findings.add(Diagnostic::error(Code::Environment, *at, what).fix(fix));
    }
    findings.finish()
}

/// Finds the service's name in a file that may be wrong in every other way, so that its faults can be shown on its release. A guess: never
/// use it for more than showing.
pub fn service_name_of(text: &[u8]) -> Option<ServiceName> {
    let findings = Findings::new("");
    if let Some(root) = text::load(text, &findings) {
        let place = root.entry("service").map_or(&root, |entry| &entry.node);
        if let tree::Value::Text(name, _) = &place.entry("name")?.node.value {
            return name.parse().ok();
        }
        return None;
    }
    let head = text.get(..text.len().min(FILE_LIMIT)).unwrap_or_default();
    let text = String::from_utf8_lossy(head);
    let after = text.lines().skip_while(|line| !line.starts_with("service:")).take(20);
    after.into_iter().find_map(|line| {
        let (before, rest) = line.split_once("name:")?;
        let alone = before.trim_matches([' ', '\t', '-', '{', ',']).trim_start_matches("service:");
        if !alone.trim_matches([' ', '{']).is_empty() {
            return None;
        }
        let word = rest.trim_start().trim_start_matches(['"', '\'']);
        word.split([',', '}', ' ', '"', '\'', '#', '\r']).next()?.parse().ok()
    })
}
