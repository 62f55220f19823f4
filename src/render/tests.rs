//! The rendered objects as they are, and what is and is not another version.

use serde_json::json;

use super::*;
use crate::declare;
use crate::model::IMAGE_PLACEHOLDER;
use crate::model::image::{Image, Wanted};
use crate::model::object::Role;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "89abcdef0123456789abcdef0123456789abcdef";

fn platform() -> PlatformDefaults {
    PlatformDefaults {
        image: Some("registry.example.com/{{service.team}}/{{service.name}}".into()),
        ..PlatformDefaults::default()
    }
}

fn declaration(text: &str) -> Declaration {
    let spec = declare::parse(".idp/deploy.yaml", text.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
    spec.resolve(&"production".parse().unwrap()).unwrap()
}

fn context<'a>(platform: &'a PlatformDefaults, commit: &str, tree: &str) -> RenderContext<'a> {
    RenderContext {
        release: "hello.production".parse().unwrap(),
        namespace: "web-production".parse().unwrap(),
        source: "main".parse().unwrap(),
        revision: Revision {
            commit: commit.parse().unwrap(),
            committed_at: "2026-01-02T03:04:05Z".parse().unwrap(),
            author: "A".into(),
            subject: "s".into(),
            repository: "https://forge.example.com/web/hello".into(),
            url: None,
        },
        watched_tree: tree.into(),
        image_candidates: vec![commit.into()],
        manifests: &[],
        platform,
    }
}

fn rendered(text: &str) -> Desired {
    let platform = platform();
    render(&declaration(text), &context(&platform, COMMIT, "tree")).unwrap()
}

fn identity_of(text: &str, commit: &str, tree: &str) -> String {
    let platform = platform();
    render(&declaration(text), &context(&platform, commit, tree)).unwrap().identity.0
}

const HEAD: &str = "service: {name: hello, team: web}\n";

#[test]
fn the_smallest_file_renders_to_these_objects() {
    let desired = rendered(HEAD);
    let bodies: Vec<_> = desired.objects.iter().map(|manifest| &manifest.body).collect();
    insta::assert_json_snapshot!(bodies);
}

#[test]
fn a_file_that_says_everything_renders_to_these_objects() {
    let desired = rendered(
        r#"
service: {name: hello, team: web, lifecycle: experimental, tier: critical, system: shop, description: "says hello", runbook: "https://runbooks.example.com/hello", links: ["https://example.com", {title: Board, url: "https://example.com/b"}], labels: {cost: "7"}, annotations: {example.com/note: "x y"}}
image: {repository: "r.example.com/{{env}}/hello", tag: "v1"}
workload:
  port: 9000
  replicas: 5
  cpu: 0.5
  memory: 1024Mi
  limits: {cpu: 2}
  command: [/app]
  args: ["--env={{env}}", "--keep={{.Name}}"]
  env: {COMMIT: "{{commit.sha}}", N: 1.10}
  files:
    /etc/hello/a.yaml: |
      name: {{service.name}}
    /etc/hello/b c.txt: text
  run_as: 1000
  termination_grace: 3s
  probe: {path: /ready, port: 9001}
deploy:
  max_surge: 2
  max_unavailable: 10%
  progress_deadline: 90s
"#,
    );
    let bodies: Vec<_> = desired.objects.iter().map(|manifest| &manifest.body).collect();
    insta::assert_json_snapshot!(bodies);
    assert_eq!(desired.replicas, 5);
    assert_eq!(desired.image.repository, "r.example.com/production/hello");
    assert_eq!(desired.image.wanted, Wanted::Tags(vec!["v1".into()]));
}

/// Same declaration and content at another commit, another version or not.
const CRON: &str = "service: {name: hello, team: web, type: cron}\nworkload: {schedule: \"15 2 * * *\", timezone: Europe/Berlin, timeout: 45m}\n";

#[test]
fn a_cron_renders_to_a_job_and_a_cron_job_of_the_same_pods() {
    let desired = rendered(CRON);
    let bodies: Vec<&serde_json::Value> = desired.objects.iter().map(|manifest| &manifest.body).collect();
    insta::assert_json_snapshot!(bodies);
    let (job, cron) = (&desired.objects[0], &desired.objects[1]);
    assert_eq!((job.role, cron.role), (Role::Job, Role::Shared));
    let run = &cron.body["spec"]["jobTemplate"]["spec"];
    assert_eq!(run["template"], job.body["spec"]["template"]);
    let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
    let image = Image { repository: "r.example.com/web".into(), tag: None, digest };
    let pinned = pin(&desired.objects, &image);
    let of = |manifest: &Manifest, pods: &str| {
        manifest.body.pointer(&format!("{pods}/spec/containers/0/image")).cloned()
    };
    let again = of(&pinned[1], "/spec/jobTemplate/spec/template");
    assert_eq!((again.clone(), again), (of(&pinned[0], "/spec/template"), Some(json!(image.reference()))));
    let later = rendered(&CRON.replace("15 2", "30 4"));
    let direct = with_runs_of(&later.objects[1], &pinned[1]).body;
    assert_eq!(
        (&direct["spec"]["schedule"], &direct["spec"]["jobTemplate"]),
        (&json!("30 4 * * *"), &pinned[1].body["spec"]["jobTemplate"])
    );
    let identity = |text: &str| identity_of(text, COMMIT, "tree");
    let job = "service: {name: hello, team: web, type: job}\n";
    for (other, same) in [
        (CRON.replace("15 2", "30 4"), true),
        (CRON.replace("timeout: 45m", "timeout: 5m, concurrency: allow"), true),
        (CRON.replace("timeout: 45m", "command: [x]"), false),
        (job.to_owned(), false),
    ] {
        assert_eq!(identity(&other) == identity(CRON), same, "{other}");
    }
}

#[test]
fn identity_follows_what_ends_in_a_pod_and_nothing_else() {
    let base = format!("{HEAD}workload: {{port: 80, env: {{A: a}}, files: {{/a: x}}}}\n");
    let identity = identity_of(&base, COMMIT, "tree");
    assert!(identity.starts_with("1-") && identity.len() == 42, "{identity}");
    for (what, text) in [
        ("replicas", format!("{HEAD}workload: {{port: 80, replicas: 9, env: {{A: a}}, files: {{/a: x}}}}\n")),
        ("a gate", format!("{base}rollback: {{on_error_rate: 5%}}\n")),
        ("steps", format!("{base}canary: [{{weight: 10}}, {{weight: 100}}]\n")),
        ("a deadline", format!("{base}deploy: {{progress_deadline: 1m, max_surge: 1}}\n")),
        ("the check's timing", format!("{base}healthcheck: {{interval: 5s, threshold: 9}}\n")),
        ("the wait for the image", format!("{base}image: {{wait: 1m}}\n")),
        ("the default tag written out", format!("{base}image: {{tag: \"{{{{commit.sha}}}}\"}}\n")),
        ("a label", base.replace("team: web", "team: web, labels: {a: b}")),
        ("the tier", base.replace("team: web", "team: web, tier: critical")),
        ("the team", base.replace("team: web", "team: other")),
        ("an environment", format!("{base}environments: {{production: {{auto_deploy: false}}}}\n")),
        (
            "order and spelling",
            format!("{HEAD}workload:\n  files:\n    /a: \"x\"\n  env:\n    A: 'a'\n  port: 80\n"),
        ),
    ] {
        assert_eq!(identity_of(&text, COMMIT, "tree"), identity, "{what} is not a new version");
    }
    for (what, text) in [
        ("env", base.replace("A: a", "A: b")),
        ("the name of env", base.replace("A: a", "B: a")),
        ("one env more", base.replace("A: a", "A: a, B: b")),
        ("a file's content", base.replace("/a: x", "/a: y")),
        ("a file's path", base.replace("/a: x", "/b: x")),
        ("the port", base.replace("port: 80", "port: 81")),
        ("cpu", base.replace("port: 80", "port: 80, cpu: 1")),
        ("memory", base.replace("port: 80", "port: 80, memory: 1Gi")),
        ("a limit", base.replace("port: 80", "port: 80, limits: {memory: 1Gi}")),
        ("the command", base.replace("port: 80", "port: 80, command: [a]")),
        ("no arguments", base.replace("port: 80", "port: 80, args: []")),
        ("the user", base.replace("port: 80", "port: 80, run_as: 7")),
        ("the grace", base.replace("port: 80", "port: 80, termination_grace: 9s")),
        ("the probe", base.replace("port: 80", "port: 80, probe: {path: /a}")),
        ("the declared check's path", format!("{base}healthcheck: {{path: /a}}\n")),
        ("the repository", format!("{base}image: r.example.com/a/b\n")),
        ("the tag", format!("{base}image: {{tag: v1}}\n")),
        ("the digest", format!("{base}image: {{digest: \"sha256:{}\"}}\n", "ab".repeat(32))),
    ] {
        assert_ne!(identity_of(&text, COMMIT, "tree"), identity, "{what} is a new version");
    }
}

#[test]
fn values_cannot_run_together() {
    let pairs = [("[ab, c]", "[a, bc]"), ("[a]", "[a, '']"), ("['']", "[]")];
    for (one, other) in pairs {
        let of = |list: &str| identity_of(&format!("{HEAD}workload: {{command: {list}}}\n"), COMMIT, "t");
        assert_ne!(of(one), of(other), "{one} {other}");
    }
    let command = identity_of(&format!("{HEAD}workload: {{command: [a]}}\n"), COMMIT, "t");
    assert_ne!(command, identity_of(&format!("{HEAD}workload: {{args: [a]}}\n"), COMMIT, "t"));
}

#[test]
fn the_image_key_is_digest_then_tag_then_content() {
    let digest = format!("{HEAD}image: {{digest: \"sha256:{}\"}}\n", "ab".repeat(32));
    let fixed = format!("{HEAD}image: {{tag: v1}}\n");
    let commit = format!("{HEAD}image: {{tag: \"v-{{{{commit.sha}}}}\"}}\n");
    for text in [HEAD, &digest, &fixed, &commit] {
        assert_eq!(
            identity_of(text, COMMIT, "t"),
            identity_of(text, OTHER, "t"),
            "an unrelated commit: {text}"
        );
    }
    for (text, moves) in [(HEAD, true), (&commit, true), (&digest, false), (&fixed, false)] {
        let moved = identity_of(text, COMMIT, "t") != identity_of(text, OTHER, "u");
        assert_eq!(moved, moves, "other content: {text}");
    }
    let revert = identity_of(HEAD, "ffffffffffffffffffffffffffffffffffffffff", "t");
    assert_eq!(revert, identity_of(HEAD, COMMIT, "t"), "a revert has the content of before");
}

#[test]
fn the_platform_is_no_part_of_the_identity_and_all_of_its_own_hash() {
    let ours = platform();
    let theirs =
        PlatformDefaults { cpu: "200m".into(), image: Some("other/{{service.name}}".into()), ..platform() };
    let of = |platform| render(&declaration(HEAD), &context(platform, COMMIT, "t")).unwrap();
    let (one, other) = (of(&ours), of(&theirs));
    assert_eq!(one.identity, other.identity);
    assert_ne!(one.platform, other.platform);
    assert_eq!(one.platform, of(&ours).platform);
}

#[test]
fn an_unrelated_commit_changes_no_object() {
    let text = format!("{HEAD}workload: {{env: {{V: \"{{{{commit.sha}}}}\"}}}}\n");
    let ours = platform();
    let first = render(&declaration(&text), &context(&ours, COMMIT, "t")).unwrap();
    let mut later = context(&ours, OTHER, "t");
    later.image_candidates = vec![COMMIT.into(), OTHER.into()];
    let second = render(&declaration(&text), &later).unwrap();
    assert_eq!((first.objects, first.identity), (second.objects, second.identity));
    assert_eq!(second.image.wanted, Wanted::Tags(vec![COMMIT.into(), OTHER.into()]));
}

#[test]
fn at_most_twenty_commits_are_asked_for_and_the_head_where_none_is_known() {
    let ours = platform();
    let mut many = context(&ours, COMMIT, "t");
    many.image_candidates = vec![COMMIT.to_owned(); 50];
    let Wanted::Tags(tags) = render(&declaration(HEAD), &many).unwrap().image.wanted else { panic!() };
    assert_eq!(tags.len(), 20);
    many.image_candidates.clear();
    let wanted = render(&declaration(HEAD), &many).unwrap().image.wanted;
    assert_eq!(wanted, Wanted::Tags(vec![COMMIT.to_owned()]));
    let tagged =
        PlatformDefaults { image: Some("r.example.com:5000/x:{{env}}-{{commit.sha}}".into()), ..platform() };
    let request = render(&declaration(HEAD), &context(&tagged, COMMIT, "t")).unwrap().image;
    assert_eq!(request.repository, "r.example.com:5000/x");
    assert_eq!(request.wanted, Wanted::Tags(vec![format!("production-{COMMIT}")]));
}

#[test]
fn a_canary_never_takes_a_pod_away_before_its_successor_is_ready() {
    let text = format!("{HEAD}canary: [{{weight: 100}}]\ndeploy: {{max_surge: 0, max_unavailable: 1}}\n");
    let desired = rendered(&text);
    let rolling = &desired.objects[0].body["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(rolling, &json!({"maxSurge": 1, "maxUnavailable": 0}));
}

#[test]
fn what_cannot_be_rendered_says_why() {
    let ours = platform();
    let none = PlatformDefaults::default();
    let error = render(&declaration(HEAD), &context(&none, COMMIT, "t")).unwrap_err();
    assert!(matches!(error, RenderError::NoImage(_)), "{error}");
    let mut other = context(&ours, COMMIT, "t");
    other.release = "hello.staging".parse().unwrap();
    assert!(matches!(render(&declaration(HEAD), &other), Err(RenderError::OtherRelease { .. })));
    let odd = PlatformDefaults { image: Some("r.example.com/{{nobody}}".into()), ..platform() };
    let error = render(&declaration(HEAD), &context(&odd, COMMIT, "t")).unwrap_err();
    assert!(error.to_string().contains("image.repository"), "{error}");
    let mut large = declaration(HEAD);
    large.workload.files.insert("/a".into(), "x".repeat(OBJECTS_LIMIT));
    assert!(matches!(render(&large, &context(&ours, COMMIT, "t")), Err(RenderError::TooLarge { .. })));
    let mut chatty = declaration(HEAD);
    chatty.service.annotations.insert("a".into(), "x".repeat(250 * 1024));
    assert!(matches!(render(&chatty, &context(&ours, COMMIT, "t")), Err(RenderError::Annotations { .. })));
}

#[test]
fn files_have_a_name_of_their_content_and_pods_name_it() {
    let of = |content: &str| rendered(&format!("{HEAD}workload: {{files: {{/etc/a: {content}}}}}\n"));
    let (one, same, other) = (of("x"), of("x"), of("y"));
    assert_eq!(one.objects, same.objects);
    let name = |desired: &Desired| desired.objects[0].key.name.clone();
    assert_ne!(name(&one), name(&other));
    assert_eq!(one.objects[0].role, Role::Config);
    let volume = one.objects[1].body.pointer("/spec/template/spec/volumes/0/configMap/name").unwrap();
    assert_eq!(volume, &json!(name(&one)));
    let roles: Vec<Role> = one.objects.iter().map(|manifest| manifest.role).collect();
    assert_eq!(roles, [Role::Config, Role::Workload, Role::Shared]);
}

#[test]
fn no_commit_and_no_team_is_in_a_pod_and_every_hash_is_of_its_body() {
    let desired = rendered(HEAD);
    for manifest in &desired.objects {
        assert_eq!(manifest.hash, content_hash(&manifest.body));
        assert!(!manifest.body.to_string().contains(COMMIT));
        assert_eq!(manifest.body["metadata"]["labels"]["idp.dev/team"], "web");
    }
    let template = desired.objects[0].body.pointer("/spec/template").unwrap();
    assert!(template.to_string().contains(IMAGE_PLACEHOLDER));
    assert_eq!(template.pointer("/metadata/labels/idp.dev~1team"), None);
}
