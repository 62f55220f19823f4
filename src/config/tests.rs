//! The configuration on literals: what is read, and what every kind of mistake is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::*;

const SMALL: &str = "
cluster: {in_cluster: true}
environments: [{name: production, namespace: \"{{service.team}}-{{env}}\"}]
";

fn problems(text: &str) -> Vec<String> {
    let errors = parse(text, Path::new("/etc/idp")).expect_err("the text has a mistake");
    errors
        .problems
        .iter()
        .map(|p| format!("{}:{} {}: {}", p.at.line, p.at.column, p.field, p.message))
        .collect()
}

fn with_source(source: &str) -> String {
    format!("{SMALL}sources:\n  - {{name: a, {source}}}\n")
}

fn source(fields: &str) -> Source {
    let config = parse(&with_source(fields), Path::new("/etc/idp")).unwrap();
    Arc::unwrap_or_clone(config.sources.into_values().next().unwrap())
}

#[test]
fn the_file_that_is_shipped_is_valid_and_names_every_field() {
    let text = include_str!("../../config/idpd.yaml");
    let config = parse(text, Path::new("/etc/idp")).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.environments.len(), 2);
    assert_eq!(config.sources.len(), 1);
    assert!(config.kafka.is_none());
    let all: String = text.lines().map(uncommented).collect();
    let all = all.replace("  in_cluster: true\n", "").replace("_env: ", "_env_: ");
    let errors = parse(&all, Path::new("/etc/idp")).expect_err("the variables were renamed");
    let unknown: Vec<_> = errors.problems.iter().map(|problem| problem.field.as_str()).collect();
    let variables: Vec<_> = unknown.iter().filter(|field| field.ends_with("_env_")).collect();
    assert_eq!(variables.len(), unknown.len(), "{errors}");
    assert_eq!(variables.len(), 10, "every secret can come from a variable: {errors}");
}

/// Turns a commented-out field into one that is there: a `#` whose text is `name:` and a value that is not a sentence.
fn uncommented(line: &str) -> String {
    let is_field = |text: &str| {
        let text = text.trim_start();
        let Some((name, rest)) = text.strip_prefix("- ").unwrap_or(text).split_once(':') else {
            return false;
        };
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || "_.".contains(c));
        plain && (rest.is_empty() || rest.starts_with(' '))
    };
    let mut line = line.to_owned();
    while let Some((before, after)) = line.split_once("# ") {
        if !before.trim().is_empty() || !is_field(after.trim_start_matches(['#', ' '])) {
            break;
        }
        line = format!("{before}{after}");
    }
    format!("{line}\n")
}

#[test]
fn defaults_are_what_the_file_says() {
    let config = parse(SMALL, Path::new("/etc/idp")).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.cluster.home_namespace.as_str(), "idp-system");
    let environment = config.environments.values().next().unwrap();
    assert_eq!(environment.max_concurrent_rollouts, 10);
    assert_eq!(environment.probe, Probe::Direct);
    assert_eq!(environment.prometheus, None);
    let source = source("url: https://h/o/n.git");
    assert_eq!(source.follow, Follow::Branch("main".to_owned()));
    assert_eq!(source.paths, [".idp/deploy.yaml"]);
    assert_eq!(source.poll, Duration::from_mins(1));
    assert!(source.services.allows(&"anything".parse().unwrap()));
    assert!(source.may_claim_environment(&"production".parse().unwrap()));
}

#[test]
fn all_errors_come_at_once_in_the_order_of_the_file() {
    let found = problems(
        "listen: here
cluster: {in_cluster: true, kubeconfig: x}
environments:
  - {name: a, namespace: same}
  - {name: b, namespace: same, max_concurrent_rollouts: 0}
sources:
  - {name: s, url: https://u:p@h/o/n, poll: 30, brunch: main}
  - {url: git@h:o/n, refs: main}
kafka: {brokers: [kafka]}
",
    );
    assert_eq!(
        found,
        [
            "1:9 listen: \"here\" is not an address: write for example 0.0.0.0:8080",
            "2:41 cluster.kubeconfig: in_cluster is true as well: keep one of the two",
            "5:26 environments[1].namespace: the environments a and b would share their namespaces: write {{env}} in the template, or two templates",
            "5:57 environments[1].max_concurrent_rollouts: 0 is outside of 1 to 1000",
            "7:20 sources[0].url: an address may not hold credentials: write them as credentials.token_file",
            "7:45 sources[0].poll: 30 has no unit: write for example 30s or 30m",
            "7:49 sources[0].brunch: there is no such field; the fields here are name, insecure, suspend, url, ref, paths, credentials, ca_file, proxy, poll, webhook, signatures, services, environments, status",
            "8:5 sources[1].name: this field is required: write for example name: payments",
            "8:5 sources[1].credentials: this field is required: SSH needs a key and the server's key: write credentials: {ssh: {private_key_file: …, known_hosts_file: …}}, or an https:// address",
            "8:22 sources[1].refs: there is no such field; did you mean ref?",
            "9:19 kafka.brokers[0]: \"kafka\" is not a broker: write host:port, each its own item",
        ]
    );
}

#[test]
fn a_lease_is_renewed_three_times_in_its_duration() {
    let with = |lease: &str| SMALL.replace("in_cluster: true", &format!("in_cluster: true, lease: {lease}"));
    let lease = |text: &str| parse(&with(text), Path::new("/")).unwrap().cluster.lease;
    assert_eq!(lease("{}"), Lease::default());
    assert_eq!(
        lease("{duration: 6s}").renew,
        Duration::from_secs(2),
        "the default shrinks with the duration"
    );
    assert_eq!(lease("{duration: 1s, renew: 250ms}").renew, Duration::from_millis(250));
    for (text, part) in [
        ("{duration: 15s, renew: 6s}", "write 5s or less"),
        ("{duration: 500ms}", "outside of 1s to 1h"),
        ("{duration: 1500ms}", "whole seconds"),
        ("{renew: 1ms}", "outside of 100ms to 1h"),
    ] {
        let found = problems(&with(text)).join("\n");
        assert!(found.contains(part), "{text}: {found}");
    }
}

#[test]
fn one_template_for_two_environments_is_fine_where_it_names_the_environment() {
    let text = "cluster: {in_cluster: true}
environments:
  - {name: a, namespace: \"{{service.team}}-{{env}}\"}
  - {name: b, namespace: \"{{service.team}}-{{env}}\"}
";
    assert!(parse(text, Path::new("/")).is_ok());
    assert_eq!(problems(&text.replace("-{{env}}", "")).len(), 1);
    let literal = text.replacen("{{env}}", "b", 1);
    assert_eq!(problems(&literal).len(), 1, "team-b would be both");
}

#[test]
fn addresses_that_would_leak_or_mislead_are_refused() {
    for (url, part) in [
        ("https://token@h/o/n", "may not hold credentials"),
        ("ssh://git@h/o/n", "SSH needs a key"),
        ("git@h:o/n.git", "SSH needs a key"),
        ("http://h.example.com/o/n", "plain http"),
        ("https:///o/n?x=1", "no '?'"),
        ("ftp://h/x", "ftp:// is not spoken"),
    ] {
        let found = problems(&with_source(&format!("url: \"{url}\""))).join("\n");
        assert!(found.contains(part), "{url}: {found}");
        assert!(!found.contains("token@"), "{found}");
    }
    assert_eq!(source("url: repos/a.git").url, RepoUrl::Local(PathBuf::from("/etc/idp/repos/a.git")));
    assert_eq!(source("url: file:///srv/a.git").url, RepoUrl::Local(PathBuf::from("/srv/a.git")));
    for url in ["http://127.0.0.1:3000/o/n", "http://localhost/o/n", "https://h/o/n"] {
        assert!(matches!(source(&format!("url: \"{url}\"")).url, RepoUrl::Http(_)));
    }
    assert!(matches!(source("insecure: true, url: \"http://h/o/n\"").url, RepoUrl::Http(_)));
}

#[test]
fn paths_refs_and_claims_are_checked() {
    for (fields, part) in [
        ("paths: [../x]", "is not a path in the repository"),
        ("paths: [/x]", "is not a path in the repository"),
        ("paths: [\"a/**\"]", "names folders"),
        ("paths: [\"a**/x\"]", "stands alone"),
        ("paths: [\"a/[\"]", "sources[0].paths[0]"),
        ("ref: refs/tags/v1", "for tags write ref: {semver: \"=1.2.3\"}"),
        ("ref: {}", "write semver: \">=1.2 <2\" for tags, or commit: ID"),
        ("ref: {branch: a, semver: \"*\"}", "exclude one another: keep one"),
        ("ref: {tags: \"v*\"}", "Write semver as well"),
        ("ref: {tags: v, semver: \"*\"}", "one '*' stands where the version is"),
        ("ref: {tags: \"a b*\", semver: \"*\"}", "is not a form of tags"),
        ("ref: {semver: 1.2}", "put it in quotes"),
        ("ref: {semver: \"\"}", "is not a range of versions (it is empty): write for example"),
        ("ref: {semver: \"1.0 - 2.0\"}", "is not a range of versions"),
        ("ref: {semver: latest}", "is not a range of versions"),
        ("ref: {commit: 0a1b2c3}", "is not a commit id of 40"),
        ("ref: {branch: main, depth: 1}", "the fields here are branch, semver, commit, tags"),
        ("ref: \"a..b\"", "not the name of a branch"),
        ("ref: -x", "not the name of a branch"),
        ("environments: [prod]", "there is no environment prod; there are production"),
        ("services: [1]", "text belongs here"),
        ("webhook: {forge: github}", "could come from anyone"),
        ("webhook: {forge: svn, secret_file: x}", "write one of github, gitlab, gitea, bitbucket-cloud"),
        ("webhook: {forge: gitlab, secret_file: x, signature_header: x-y}", "gitlab has its own header"),
        ("webhook: {forge: generic, secret_file: x, signature_header: \"a b\"}", "not the name of a header"),
        ("webhook: {forge: github, secret_file: x, max_body: 26MiB}", "outside of 1KiB to 25MiB"),
        ("webhook: {forge: github, secret_file: x, secret_env: Y}", "keep one of the two"),
        ("credentials: {username: me}", "needs token_file or token_env"),
        ("signatures: {}", "signatures.allowed: this field is required"),
        ("signatures: {allowed: []}", "no commit would be accepted"),
        ("signatures: {allowed: [\"\"]}", "may not be empty"),
        ("signatures: {allowed: [x], require: all}", "there is no such field"),
        ("status: {token_file: t}", "sources[0].status.forge"),
        ("webhook: {forge: gitlab, secret_file: x}, status: {token_file: t}", "sources[0].status.forge"),
        ("status: {forge: gitlab, token_file: t}", "is told no commit statuses"),
    ] {
        let found = problems(&with_source(&format!("url: https://h/o/n, {fields}"))).join("\n");
        assert!(found.contains(part), "{fields}: {found}");
    }
    let signed = source("url: x, signatures: {allowed: [keys/team, /srv/keys.asc]}").signatures.unwrap();
    assert_eq!(signed.allowed, [Path::new("/etc/idp/keys/team"), Path::new("/srv/keys.asc")]);
    let source = source("url: https://h/o/n, services: [\"pay-*\", x], environments: []");
    assert!(source.services.allows(&"pay-api".parse().unwrap()));
    assert!(!source.services.allows(&"xy".parse().unwrap()));
    assert!(!source.may_claim_environment(&"production".parse().unwrap()), "an empty list allows none");
}

#[test]
fn every_forge_has_a_name_and_only_generic_hooks_a_header_of_their_own() {
    for forge in Forge::ALL {
        let hook = source(&format!("url: x, webhook: {{forge: {}, secret_file: s}}", forge.name())).webhook;
        assert_eq!(hook.map(|hook| (hook.forge, hook.signature_header)), Some((forge, None)));
    }
    let hook = source("url: x, webhook: {forge: forgejo, secret_file: s}").webhook.unwrap();
    assert_eq!(hook.forge, Forge::Gitea);
    let hook = source("url: x, webhook: {forge: generic, secret_env: S, signature_header: X-Proof}").webhook;
    assert_eq!(hook.unwrap().signature_header.unwrap(), "x-proof");
}

#[test]
fn the_status_target_follows_from_the_address() {
    let target = |fields: &str| source(fields).status.unwrap();
    let gitea = target("url: https://h:3000/o/n.git, status: {forge: gitea, token_file: t}");
    assert_eq!((gitea.api_url.as_str(), gitea.owner.as_str()), ("https://h:3000/api/v1", "o"));
    assert_eq!(gitea.repository, "n");
    let github = target("url: https://github.com/o/n, status: {forge: github, token_env: T}");
    assert_eq!(github.api_url.as_str(), "https://api.github.com/");
    assert_eq!(github.token, SecretRef::Env("T".into()));
}

#[test]
fn kafka_keeps_its_secrets_and_its_promises() {
    let kafka = |fields: &str| format!("{SMALL}kafka: {{brokers: [\"k:9092\"], {fields}}}");
    for (fields, part) in [
        ("properties: {sasl.password: x}", "name its file in secret_properties"),
        ("properties: {acks: \"1\"}", "it is always all"),
        ("topic: \"a b\"", "is not a topic"),
    ] {
        let found = problems(&kafka(fields)).join("\n");
        assert!(found.contains(part), "{fields}: {found}");
    }
    let text = kafka("properties: {linger.ms: 1}, secret_properties: {sasl.password: s/p}");
    let kafka = parse(&text, Path::new("/etc/idp")).unwrap().kafka.unwrap();
    assert_eq!(kafka.topic, "idp.deployments");
    assert_eq!(kafka.properties["linger.ms"], "1");
    assert_eq!(kafka.secret_properties["sasl.password"], SecretRef::File("/etc/idp/s/p".into()));
}

#[test]
fn what_is_not_yaml_is_one_error_at_its_place() {
    for (text, line) in [("a: [", 1), ("listen: x\nlisten: y", 2), ("a: b\n\tc: d", 1), ("", 1)] {
        let errors = parse(text, Path::new("/")).expect_err(text);
        assert!(errors.problems.iter().any(|problem| problem.at.line >= line), "{text}: {errors}");
    }
    let deep = "[".repeat(10_000);
    assert!(parse(&deep, Path::new("/")).is_err());
    assert!(parse(&" ".repeat(17 << 20), Path::new("/")).is_err());
}

#[test]
fn one_file_has_room_for_ten_thousand_sources() {
    let source = |number| {
        format!("  - {{name: r{number}, url: \"https://git.example.com/shop/r{number}.git\", poll: 30s}}\n")
    };
    let sources: String = (0..10_000).map(source).collect();
    let config = parse(&format!("{SMALL}sources:\n{sources}"), Path::new("/")).unwrap();
    assert_eq!(config.sources.len(), 10_000);
}

#[test]
fn load_names_the_file_and_the_secrets_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("idpd.yaml");
    assert!(load(&path).unwrap_err().to_string().contains("cannot read the file"));
    std::fs::write(&path, with_source("url: x, webhook: {forge: gitea, secret_file: hook}")).unwrap();
    let text = load(&path).unwrap_err().to_string();
    assert!(text.contains("idpd.yaml:1:1: sources a webhook: cannot read the secret file"), "{text}");
    std::fs::write(dir.path().join("hook"), "s3cret\n").unwrap();
    let signed = "url: x, webhook: {forge: gitea, secret_file: hook}, signatures: {allowed: [keys]}";
    std::fs::write(&path, with_source(signed)).unwrap();
    let text = load(&path).unwrap_err().to_string();
    assert!(
        text.contains("sources a signatures.allowed: ") && text.contains("keys cannot be read"),
        "{text}"
    );
    std::fs::write(dir.path().join("keys"), "").unwrap();
    let config = load(&path).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn a_source_and_an_environment_say_what_they_follow() {
    let id = "0123456789abcdef0123456789abcdef01234567";
    for (written, name) in [
        ("ref: {branch: refs/heads/main}".to_owned(), "main".to_owned()),
        ("ref: {semver: \" >=1.2 <2 \"}".to_owned(), "tags * >=1.2 <2".to_owned()),
        (
            "ref: {semver: \"1.x\", tags: \"refs/tags/payments/v*\"}".to_owned(),
            "tags payments/v* 1.x".to_owned(),
        ),
        (format!("ref: {{commit: {id}}}"), format!("commit {id}")),
    ] {
        assert_eq!(source(&format!("url: x, {written}")).follow.to_string(), name, "{written}");
        let environment =
            format!("cluster: {{in_cluster: true}}\nenvironments: [{{name: a, namespace: a, {written}}}]");
        let config = parse(&environment, Path::new("/")).unwrap();
        assert_eq!(config.environments.values().next().unwrap().follow.as_ref().unwrap().to_string(), name);
    }
    let twice = "cluster: {in_cluster: true}\nenvironments: [{name: a, namespace: a, branch: b, ref: c}]";
    let found = problems(twice).join("\n");
    assert!(found.contains("environments[0].branch: ref says what is followed as well"), "{found}");
}

#[test]
fn a_host_has_a_budget_that_is_written_out() {
    let with = |hosts: &str| parse(&format!("{SMALL}\nplatform: {{hosts: {hosts}}}\n"), Path::new("/"));
    let budgets = with("[{host: git.example.com, requests_per_minute: 300}]").unwrap().platform.hosts;
    assert_eq!(budgets.get("git.example.com"), Some(&300));
    for (hosts, part) in [
        ("[{host: a}]", "write for example requests_per_minute: 300"),
        ("[{host: a, requests_per_minute: 0}]", "0 is outside of 1 to 1000000"),
        ("[{host: https://a, requests_per_minute: 1}]", "without https://"),
        ("[{host: a, requests_per_minute: 1}, {host: a, requests_per_minute: 2}]", "stands here twice"),
    ] {
        let errors = with(hosts).unwrap_err().to_string();
        assert!(errors.contains(part), "{hosts}: {errors}");
    }
}
