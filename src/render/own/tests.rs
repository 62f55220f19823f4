//! A team's own manifests as objects, and what of them is refused.

use std::fmt::Write as _;

use serde_json::Value;

use crate::declare;
use crate::model::declaration::ManifestFile;
use crate::model::desired::Desired;
use crate::model::image::{Image, Wanted};
use crate::model::object::Role;
use crate::model::policy::{Amount, CheckKind};
use crate::model::{IMAGE_PLACEHOLDER, LABEL_RELEASE, LABEL_TEMPLATE, LABEL_TRACK};
use crate::render::{self, PlatformDefaults, RenderContext, render};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILE: &str = "service: {name: db, team: data}\nsource: {manifests: [./k8s/*.yaml]}\n";
const SET: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: pg, labels: {app.kubernetes.io/name: postgres}, creationTimestamp: null}
spec:
  replicas: 3
  serviceName: pg
  selector: {matchLabels: {app: pg}}
  template:
    metadata: {labels: {app: pg}}
    spec:
      initContainers: [{name: prepare, image: "r.example.com/data/pg:{{commit.sha}}"}]
      containers:
        - name: pg
          image: "r.example.com/data/pg:{{commit.sha}}"
          ports: [{containerPort: 5432}]
          envFrom: [{configMapRef: {name: conf}}]
        - {name: exporter, image: "r.example.com/exporter:1"}
      volumes: [{name: conf, projected: {sources: [{configMap: {name: conf}}]}}, {name: other, configMap: {name: theirs}}]
status: {replicas: 7}
"#;
const REST: &str = r"
apiVersion: v1
kind: Service
metadata: {name: pg}
spec: {clusterIP: None, selector: {app: pg}, ports: [{port: 5432}]}
---
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {mode: fast}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data: {read: by nobody}
";
const DEPLOYMENT: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'r.example.com/web:2'}]}
";

fn try_render(file: &str, manifests: &[(&str, &str)], tree: &str) -> Result<Desired, String> {
    let spec = declare::parse(".idp/deploy.yaml", file.as_bytes()).unwrap_or_else(|found| panic!("{found}"));
    let declaration = spec.resolve(&"production".parse().unwrap()).unwrap();
    let file = |(path, text): &(&str, &str)| ManifestFile {
        path: (*path).to_owned(),
        bytes: text.as_bytes().into(),
    };
    let files: Vec<ManifestFile> = manifests.iter().map(file).collect();
    let platform = PlatformDefaults::default();
    let context = RenderContext {
        release: "db.production".parse().unwrap(),
        namespace: "data-production".parse().unwrap(),
        source: "main".parse().unwrap(),
        revision: crate::model::change::Revision {
            commit: COMMIT.parse().unwrap(),
            committed_at: jiff::Timestamp::UNIX_EPOCH,
            author: "A".into(),
            subject: "s".into(),
            repository: "https://forge.example.com/data/db".into(),
            url: None,
        },
        watched_tree: tree.into(),
        image_candidates: vec![COMMIT.into()],
        manifests: &files,
        platform: &platform,
    };
    render(&declaration, &context).map_err(|error| error.to_string())
}

fn rendered(manifests: &[(&str, &str)]) -> Desired {
    try_render(FILE, manifests, "tree").unwrap()
}

fn body<'d>(desired: &'d Desired, kind: &str) -> &'d Value {
    &desired.objects.iter().find(|manifest| manifest.key.kind == kind).unwrap().body
}

#[test]
fn a_stateful_set_with_its_config_and_service_becomes_objects() {
    let desired =
        rendered(&[("k8s/set.yaml", SET), ("k8s/rest.yaml", REST), ("k8s/deep/x.yaml", "no: object")]);
    let found: Vec<(Role, String)> = desired
        .objects
        .iter()
        .map(|manifest| (manifest.role, format!("{}/{}", manifest.key.kind, manifest.key.name)))
        .collect();
    let config = desired.objects[0].key.name.clone();
    assert!(config.starts_with("conf-") && config.len() == 15, "{config}");
    let expected = [
        (Role::Config, format!("ConfigMap/{config}")),
        (Role::Workload, "StatefulSet/pg".to_owned()),
        (Role::Shared, "Service/pg".to_owned()),
        (Role::Shared, "ConfigMap/notes".to_owned()),
    ];
    assert_eq!(found, expected);
    let set = body(&desired, "StatefulSet");
    assert_eq!(set["metadata"]["labels"]["app.kubernetes.io/name"], "postgres");
    assert_eq!(set["metadata"]["labels"]["app.kubernetes.io/managed-by"], "idp");
    assert_eq!(set["metadata"]["namespace"], "data-production");
    assert_eq!(set["metadata"]["labels"].get(LABEL_TRACK), None);
    assert_eq!((set.get("status"), set["metadata"].get("creationTimestamp")), (None, None));
    let spec = &set["spec"];
    assert_eq!(spec["selector"], serde_json::json!({"matchLabels": {"app": "pg"}}));
    assert_eq!((&spec["replicas"], desired.replicas), (&Value::from(0), 3));
    assert_eq!(
        spec["updateStrategy"],
        serde_json::json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    );
    let pods = &spec["template"];
    assert_eq!(pods["metadata"]["labels"]["app"], "pg");
    assert_eq!(pods["metadata"]["labels"][LABEL_RELEASE], "db.production");
    let image = |list: &str, at: usize| pods["spec"][list][at]["image"].as_str().unwrap().to_owned();
    assert_eq!(image("containers", 0), IMAGE_PLACEHOLDER);
    assert_eq!(image("initContainers", 0), IMAGE_PLACEHOLDER, "the same image is the same version");
    assert_eq!(image("containers", 1), "r.example.com/exporter:1");
    let volumes = &pods["spec"]["volumes"];
    assert_eq!(pods["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"], config.as_str());
    assert_eq!(volumes[0]["projected"]["sources"][0]["configMap"]["name"], config.as_str());
    assert_eq!(volumes[1]["configMap"]["name"], "theirs", "not in the manifests");
    assert_eq!(desired.image.repository, "r.example.com/data/pg");
    assert_eq!(desired.image.wanted, Wanted::Tags(vec![COMMIT.to_owned()]));
    assert_eq!((desired.port, desired.policy.health.port), (5432, 5432));
}

#[test]
fn a_deployment_selects_its_track_and_the_file_names_its_image() {
    let file = format!(
        "{FILE}image: r.example.com/other:3\ndeploy: {{strategy: canary, canary: [{{weight: 10}}]}}\n"
    );
    let desired = try_render(&file, &[("k8s/web.yaml", DEPLOYMENT)], "tree").unwrap();
    let spec = &body(&desired, "Deployment")["spec"];
    let labels = serde_json::json!({"app": "web", LABEL_RELEASE: "db.production", LABEL_TRACK: "stable"});
    assert_eq!(spec["selector"]["matchLabels"], labels);
    assert_eq!(spec["template"]["metadata"]["labels"][LABEL_TRACK], "stable");
    assert_eq!(spec["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    assert_eq!((desired.replicas, desired.image.repository.as_str()), (1, "r.example.com/other"));
    assert_eq!(desired.image.wanted, Wanted::Tags(vec!["3".to_owned()]));
    assert_eq!(desired.policy.health.kind, CheckKind::None, "no port is known");
}

#[test]
fn a_daemon_set_has_no_number_of_pods_and_a_way_to_replace_them_in_full() {
    let agent = DEPLOYMENT.replace("Deployment", "DaemonSet");
    let with = |strategy: &str| {
        agent.replacen("  selector", &format!("  updateStrategy: {strategy}\n  selector"), 1)
    };
    let file =
        format!("{FILE}deploy: {{strategy: canary, canary: [{{weight: 10}}], max_unavailable: 20%}}\n");
    let rolling =
        |most: Value| serde_json::json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": most}});
    for (file, manifest, strategy, most) in [
        (FILE, agent.clone(), rolling(1.into()), Amount::Count(0)),
        (FILE, with("{rollingUpdate: {maxUnavailable: 3}}"), rolling(3.into()), Amount::Count(3)),
        (FILE, with("{type: OnDelete}"), serde_json::json!({"type": "OnDelete"}), Amount::Count(0)),
        (&file, agent.clone(), rolling("20%".into()), Amount::Percent(20)),
    ] {
        let desired = try_render(file, &[("k8s/agent.yaml", &manifest)], "tree").unwrap();
        let spec = &body(&desired, "DaemonSet")["spec"];
        assert_eq!((spec.get("replicas"), &spec["updateStrategy"]), (None, &strategy));
        assert_eq!((desired.replicas, desired.policy.max_unavailable), (0, most));
        assert_eq!(spec["selector"], serde_json::json!({"matchLabels": {"app": "web"}}));
        let image = |digit: &str| Image {
            repository: "r.example.com/web".into(),
            tag: None,
            digest: format!("sha256:{}", digit.repeat(64)).parse().unwrap(),
        };
        let label = |digit: &str| {
            let pinned = render::pin(&desired.objects, &image(digit));
            let labels = &pinned[0].body["spec"]["template"]["metadata"]["labels"];
            assert_eq!(labels[LABEL_RELEASE], "db.production");
            labels[LABEL_TEMPLATE].clone()
        };
        assert!(label("a").is_string() && label("a") == label("a") && label("a") != label("b"));
    }
}

#[test]
fn what_ends_in_a_pod_is_another_version_and_nothing_else() {
    let identity = |set: &str, rest: &str, tree: &str| {
        try_render(FILE, &[("k8s/set.yaml", set), ("k8s/rest.yaml", rest)], tree).unwrap().identity
    };
    let base = identity(SET, REST, "tree");
    for (set, rest, tree, same, what) in [
        (SET.replace("replicas: 3", "replicas: 5"), REST.to_owned(), "tree", true, "replicas"),
        (SET.to_owned(), REST.replace("nobody", "somebody"), "tree", true, "config that no pod reads"),
        (SET.to_owned(), REST.replace("port: 5432", "port: 5433"), "tree", true, "the Service"),
        (SET.to_owned(), REST.replace("fast", "slow"), "tree", false, "config that the pods read"),
        (SET.replace("exporter:1", "exporter:2"), REST.to_owned(), "tree", false, "another container"),
        (SET.to_owned(), REST.to_owned(), "other", false, "the content that the image is built from"),
    ] {
        assert_eq!(identity(&set, &rest, tree) == base, same, "{what}");
    }
}

#[test]
fn what_cannot_be_applied_is_refused_with_its_file_and_the_fix() {
    let object =
        |version: &str, kind: &str| format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: x}}}}");
    let more = |text: String| format!("{DEPLOYMENT}---\n{text}\n");
    for (file, manifest, says) in [
        (FILE, String::new(), "have none: name it by source.target"),
        (FILE, more(object("v1", "Secret")), "a Secret does not belong into Git"),
        (FILE, more(object("v1", "Namespace")), "Namespace x: its kind is not one"),
        (FILE, more(object("rbac.authorization.k8s.io/v1", "ClusterRole")), "its kind is not one"),
        (FILE, more(object("autoscaling/v2", "HorizontalPodAutoscaler")), "would fight"),
        (FILE, more(object("apps/v1beta1", "StatefulSet")), "has apiVersion apps/v1beta1: write apps/v1"),
        (FILE, more(object("v1", "List")), "documents of their own"),
        (FILE, more("{kind: Service}".into()), "is no Kubernetes object"),
        (FILE, more("[1, 2]".into()), "is no Kubernetes object"),
        (
            FILE,
            more("{apiVersion: v1, kind: Service, metadata: {generateName: x}}".into()),
            "needs a metadata.name",
        ),
        (
            FILE,
            more("{apiVersion: v1, kind: Service, metadata: {name: x, namespace: other}}".into()),
            "is in namespace other",
        ),
        (FILE, more(DEPLOYMENT.into()), "is in k8s/a.yaml as well"),
        (
            FILE,
            more(DEPLOYMENT.replace("name: web}", "name: two}")),
            "have Deployment web, Deployment two: name it",
        ),
        (
            FILE,
            more(object("v1", "Service").replace("name: x", "name: db-canary")),
            "has a name that rollouts use",
        ),
        (FILE, "a: [".into(), "is not YAML that can be read"),
        (FILE, "a: 1\na: 2".into(), "is not YAML that can be read"),
        (
            FILE,
            DEPLOYMENT.replace("  selector", "  strategy: {type: Recreate}\n  selector"),
            "spec.strategy is what deploy.strategy",
        ),
        (
            FILE,
            DEPLOYMENT.replace("  selector", "  replicas: 10001\n  selector"),
            "spec.replicas is not a number",
        ),
        (FILE, DEPLOYMENT.replace("web:2", "web@sha256:12"), "names its image by digest"),
        (FILE, DEPLOYMENT.replace("web:2", "WEB:2"), "is not valid once its templates"),
        (
            FILE,
            SET.replace("  replicas: 3", "  updateStrategy: {type: OnDelete}"),
            "spec.updateStrategy would keep",
        ),
        (
            FILE,
            SET.replace("  replicas: 3", "  updateStrategy: {rollingUpdate: {partition: 2}}"),
            "spec.updateStrategy would keep",
        ),
        (
            &format!("{FILE}deploy: {{strategy: blue_green}}\n"),
            SET.into(),
            "cannot be rolled out by blue_green",
        ),
        (
            &format!("{FILE}deploy: {{strategy: blue_green}}\n"),
            DEPLOYMENT.into(),
            "no Service db is in the manifests",
        ),
        (
            &format!("{FILE}deploy: {{max_surge: 1}}\n"),
            SET.into(),
            "max_surge and max_unavailable say nothing",
        ),
        (
            &FILE.replace("yaml]", "yaml], target: {kind: StatefulSet, name: nix}"),
            DEPLOYMENT.into(),
            "have no StatefulSet nix; workloads in them: Deployment web",
        ),
        (
            &FILE.replace("yaml]", "yaml, k8s/none.yaml]"),
            DEPLOYMENT.into(),
            "\"k8s/none.yaml\" names no file",
        ),
    ] {
        let error = try_render(file, &[("k8s/a.yaml", &manifest)], "tree").unwrap_err();
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn what_cannot_be_said_of_nodes_is_refused_with_its_file_and_the_fix() {
    let agent = |rolling: &str, more: &str| {
        let strategy = format!("  updateStrategy: {{rollingUpdate: {{{rolling}}}}}\n  {more}\n  selector");
        DEPLOYMENT.replace("Deployment", "DaemonSet").replacen("  selector", &strategy, 1)
    };
    for (file, manifest, says) in [
        (FILE, agent("", "replicas: 3"), "spec.replicas: its nodes say"),
        (FILE, agent("maxSurge: 1", "minReadySeconds: 1"), "maxSurge: a node has one pod"),
        (FILE, agent("maxUnavailable: 0", "minReadySeconds: 1"), "maxUnavailable is neither"),
        (FILE, agent("maxUnavailable: few", "minReadySeconds: 1"), "maxUnavailable is neither"),
        (
            &format!("{FILE}deploy: {{max_unavailable: 2}}\n"),
            agent("maxUnavailable: 3", "minReadySeconds: 1"),
            "is what deploy.max_unavailable says",
        ),
        (&format!("{FILE}deploy: {{strategy: recreate}}\n"), agent("", "minReadySeconds: 1"), "by recreate"),
    ] {
        let error = try_render(file, &[("k8s/a.yaml", &manifest)], "tree").unwrap_err();
        assert!(error.contains("k8s/a.yaml: DaemonSet web: ") && error.contains(says), "{says}: {error}");
    }
}

#[test]
fn files_that_are_too_much_are_refused() {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    let mut many = String::new();
    for n in 0..300 {
        writeln!(many, "---\n{{apiVersion: v1, kind: Service, metadata: {{name: s{n}}}}}").unwrap();
    }
    for text in [deep.as_str(), bomb, &many] {
        let error = try_render(FILE, &[("k8s/a.yaml", text)], "tree").unwrap_err();
        let bounded = ["is not YAML that can be read", "one more than the 200 objects"];
        assert!(bounded.iter().any(|says| error.contains(says)), "{error}");
    }
}
