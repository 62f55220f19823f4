//! Reads `source`: objects that the team writes itself, and which of them rollouts act on.

use super::diagnostic::{Code, Diagnostic};
use super::section::{At, Complaint, Section, cut};
use super::service;
use crate::model::declaration::{Manifests, Target};
use crate::model::policy::{Amount, Policy, Strategy};
use crate::model::traffic::Provider;
use crate::model::workload::WorkloadKind;

/// Globs that one file may name.
const GLOBS: usize = 20;

/// Reads the section of a file in `folder`; `None` where there is none.
pub(super) fn source(file: &Section<'_>, folder: &str) -> Option<Manifests> {
    file.entry("source").filter(|entry| !entry.node.is_null())?;
    let section = file.section("source");
    if let Some(workload) = file.entry("workload").filter(|workload| !workload.node.is_null()) {
        let what = "`workload` stands beside `source`";
        section.add(
            Diagnostic::error(Code::Conflict, workload.at, what)
                .why("with `source` the team's own manifests say what runs, and `workload` would be ignored")
                .fix("remove one of the two; an environment removes it with null"),
        );
    }
    if let Some(job) = file.section("service").entry("type").filter(|_| super::job::is_job(file)) {
        let what = format!("`service.type: {}` beside `source`", super::job::kind(file));
        section.add(
            Diagnostic::error(Code::Conflict, job.at, what)
                .why("what runs is then what the manifests say, and rollouts act on a workload that stays")
                .fix("remove `source` and write `workload`, or remove the type"),
        );
    }
    let path = section.full("manifests");
    let found = section.text_list("manifests").unwrap_or_default();
    if found.is_empty() && !section.findings.has_errors() {
        section.missing("manifests", "write for example manifests: [\"./k8s/*.yaml\"]");
    }
    if let Some(more) = found.get(GLOBS) {
        let what = format!("`{path}` has more than {GLOBS} globs");
        section.error(Code::Limit, more.at, what, "write fewer, with * and ** in them");
    }
    let globs =
        found.into_iter().filter_map(|At { value, at }| section.accept(&path, at, glob(value, folder)));
    let globs: Vec<String> = globs.collect();
    let target = section.entry("target").and_then(|_| target(&section.section("target")));
    let health = file.section("deploy").section("healthcheck");
    let policy = file.section("deploy");
    Some(Manifests {
        globs,
        target,
        checked: file.section("deploy").entry("healthcheck").is_some(),
        check_port: health.entry("port").is_some(),
        surge: policy.entry("max_surge").is_some(),
        unavailable: policy.entry("max_unavailable").is_some(),
    })
}

fn glob(text: &str, folder: &str) -> Result<String, Complaint> {
    if text.contains("{{") {
        let what = format!("{:?} has a template, and none is filled in here", cut(text));
        let fix = "write the path itself; an environment can name other paths in its overrides";
        return Err(Complaint(Code::Template, what, fix.to_owned()));
    }
    service::glob(text, folder)
}

fn target(section: &Section<'_>) -> Option<Target> {
    let kinds = WorkloadKind::ALL.map(|kind| (kind.name(), kind));
    let kind = section.choice("kind", &kinds, &[]);
    let name = section.parsed("name", super::traffic::name);
    for (key, fix) in [("kind", "write for example kind: StatefulSet"), ("name", "write its metadata.name")] {
        if section.entry(key).is_none() {
            section.missing(key, fix);
        }
    }
    Some(Target { kind: kind?, name: name?.value })
}

/// Says what of `deploy` a workload of this kind cannot follow; each with the key and how to mend it.
pub fn unfit(
    kind: WorkloadKind,
    policy: &Policy,
    manifests: &Manifests,
) -> Vec<(&'static str, String, &'static str)> {
    let mut unfit = Vec::new();
    if kind.is_deployment() {
        return unfit;
    }
    let name = kind.name();
    if policy.strategy == Strategy::BlueGreen {
        let what =
            format!("a {name} cannot be rolled out by blue_green: there is never a second one beside it");
        unfit.push(("strategy", what, "write strategy: canary, or rolling"));
    }
    let routed = matches!(policy.traffic.provider, Provider::GatewayApi | Provider::Istio);
    if routed || policy.traffic.route.is_some() || policy.traffic.gateway.is_some() {
        let what = format!("of a {name} no route moves the traffic: its pods are the share");
        unfit.push(("traffic", what, "remove it: a step's weight is the share of the pods"));
    }
    if policy.steps.iter().any(|step| step.cohort.is_some()) {
        let what = format!("of a {name} no route moves the traffic, so a cohort cannot be told apart");
        unfit.push(("canary", what, "remove match from the steps"));
    }
    let by_node = !kind.has_replicas();
    if by_node && policy.strategy == Strategy::Recreate {
        let what =
            format!("a {name} cannot be rolled out by recreate: its nodes are walked, never all at once");
        unfit.push(("strategy", what, "write strategy: rolling, or canary"));
    }
    if by_node && manifests.surge {
        let what = format!("a {name} has one pod on a node and none on top: max_surge says nothing to it");
        unfit.push(("max_surge", what, "remove it"));
    }
    if by_node
        && manifests.unavailable
        && matches!(policy.max_unavailable, Amount::Count(0) | Amount::Percent(0))
    {
        let what = format!(
            "a node of a {name} is without a pod while it gets the new one: with max_unavailable 0 none ever could"
        );
        unfit.push(("max_unavailable", what, "remove it, which means 1, or write more"));
    }
    if !by_node && (manifests.surge || manifests.unavailable) {
        let what = format!(
            "a {name} has no pod on top and one at a time away: max_surge and max_unavailable say nothing to it"
        );
        unfit.push(("max_surge", what, "remove both"));
    }
    unfit
}

/// Refuses what the declared target cannot follow, at its place.
pub(super) fn check_target(deploy: &Section<'_>, manifests: &Manifests, policy: &Policy) {
    let Some(target) = &manifests.target else { return };
    for (key, what, fix) in unfit(target.kind, policy, manifests) {
        let entry = deploy.entry(key).or_else(|| deploy.entry("max_unavailable"));
        let at = entry.map_or(deploy.at, |entry| entry.node.at);
        deploy.error(Code::Conflict, at, what, fix);
    }
}

#[cfg(test)]
mod tests {
    use crate::declare::parse;
    use crate::model::workload::WorkloadKind;

    const DB: &str = "service: {name: db, team: data}\nsource: {manifests: [./k8s/*.yaml], target: {kind: StatefulSet, name: db}}\n";

    #[test]
    fn manifests_are_named_from_the_root_or_from_the_folder() {
        let spec = parse("services/db/.idp/deploy.yaml", DB.as_bytes()).unwrap();
        assert_eq!(spec.manifests(), ["services/db/k8s/*.yaml"]);
        let declaration = spec.resolve(&"qa".parse().unwrap()).unwrap();
        let manifests = declaration.source.unwrap();
        assert_eq!(manifests.target.unwrap().kind, WorkloadKind::StatefulSet);
        assert!(!manifests.checked && !manifests.check_port && !manifests.surge && !manifests.unavailable);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_at_its_place() {
        for (more, code, says) in [
            ("workload: {port: 80}", "E_CONFLICT 3:1", "beside `source`"),
            ("deploy: {strategy: blue_green}", "E_CONFLICT 3:20", "blue_green"),
            ("deploy: {max_surge: 1}", "E_CONFLICT 3:21", "max_surge"),
            ("deploy: {max_unavailable: 1}", "E_CONFLICT 3:27", "max_unavailable"),
            ("deploy: {traffic: {provider: istio}}", "E_CONFLICT 3:19", "no route moves"),
            (
                "environments: {qa: {overrides: {deploy: {strategy: blue_green}}}}",
                "E_CONFLICT 3:52",
                "blue_green",
            ),
        ] {
            let found = parse(".idp/deploy.yaml", format!("{DB}{more}\n").as_bytes()).unwrap_err();
            let said: Vec<String> = found
                .iter()
                .map(|said| format!("{} {}:{} {}", said.code, said.place.line, said.place.column, said.what))
                .collect();
            assert!(
                said.len() == 1 && said[0].starts_with(code) && said[0].contains(says),
                "{more}: {said:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_said_of_nodes_is_refused_at_its_place() {
        let agent = DB.replace("StatefulSet", "DaemonSet");
        for (deploy, says) in [
            ("strategy: canary, canary: [{weight: 20}], max_unavailable: 10%", ""),
            ("strategy: rolling", ""),
            ("strategy: recreate", "E_CONFLICT 3:20 a DaemonSet cannot be rolled out by recreate"),
            ("strategy: blue_green", "E_CONFLICT 3:20 a DaemonSet cannot be rolled out by blue_green"),
            ("max_surge: 1", "E_CONFLICT 3:21 a DaemonSet has one pod on a node"),
            ("max_surge: 1, max_unavailable: 0", "E_CONFLICT 3:21 a DaemonSet has one pod on a node"),
            ("max_unavailable: 0%", "E_CONFLICT 3:27 a node of a DaemonSet is without a pod"),
            ("traffic: {provider: gateway_api}", "E_CONFLICT 3:19 of a DaemonSet no route moves"),
        ] {
            let found = parse(".idp/deploy.yaml", format!("{agent}deploy: {{{deploy}}}\n").as_bytes());
            let said = found.err().map_or_else(String::new, |found| {
                let first = found.iter().next().unwrap();
                format!("{} {}:{} {}", first.code, first.place.line, first.place.column, first.what)
            });
            assert!(said.starts_with(says) && said.is_empty() == says.is_empty(), "{deploy}: {said}");
        }
    }

    #[test]
    fn a_section_says_which_files_and_which_workload() {
        for (source, says) in [
            ("{}", "`source.manifests` is missing"),
            ("{manifests: []}", "`source.manifests` is missing"),
            ("{manifests: [/etc/*.yaml]}", "is not a glob"),
            ("{manifests: [\"k8s/{{env}}.yaml\"]}", "has a template"),
            ("{manifests: [a.yaml], target: {kind: StatefulSet}}", "`source.target.name` is missing"),
            ("{manifests: [a.yaml], target: {kind: Job, name: a}}", "Job"),
            ("{manifests: [a.yaml], patches: []}", "not enforced"),
            ("{kustomize: overlays/qa}", "not enforced"),
            ("{helm: {chart: ./chart}}", "not enforced"),
        ] {
            let text = format!("service: {{name: db, team: data}}\nsource: {source}\n");
            let found = parse(".idp/deploy.yaml", text.as_bytes()).unwrap_err();
            let said: Vec<&String> = found.iter().map(|said| &said.what).collect();
            assert!(said.len() == 1 && said[0].contains(says), "{source}: {said:?}");
        }
    }
}
