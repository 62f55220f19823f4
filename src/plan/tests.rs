//! What counts as a difference, and what a plan makes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::object::{ContentHash, Role};

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

fn deployment() -> Value {
    yaml(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello, namespace: web, labels: {app: hello}, annotations: {idp.dev/revision: aaa, note: keep}}
spec:
  replicas: 0
  minReadySeconds: 0
  selector: {matchLabels: {idp.dev/release: hello.production, idp.dev/track: stable}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}}
  template:
    metadata: {labels: {idp.dev/release: hello.production}}
    spec:
      automountServiceAccountToken: false
      containers:
      - name: hello
        image: r/hello@sha256:1
        args: [--a, --b]
        ports: [{name: http, containerPort: 8080}]
        env: [{name: A, value: "1"}, {name: EMPTY, value: ""}]
        resources: {requests: {cpu: "0.5", memory: 1Gi}, limits: {cpu: 1000m}}
        volumeMounts: [{name: files, mountPath: /etc/x}]
      volumes: [{name: files, emptyDir: {}}]
"#,
    )
}

/// The same as a server keeps it: defaults, another order, another writer's sidecar.
fn live() -> Value {
    yaml(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: hello
  namespace: web
  uid: u1
  resourceVersion: "7"
  labels: {app: hello, theirs: x}
  annotations: {idp.dev/revision: bbb, note: keep, deployment.kubernetes.io/revision: "3"}
spec:
  replicas: 3
  revisionHistoryLimit: 10
  selector: {matchLabels: {idp.dev/release: hello.production, idp.dev/track: stable}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}}
  template:
    metadata: {labels: {idp.dev/release: hello.production}}
    spec:
      automountServiceAccountToken: false
      restartPolicy: Always
      containers:
      - {name: sidecar, image: theirs}
      - name: hello
        image: r/hello@sha256:1
        args: [--a, --b]
        ports: [{name: http, containerPort: 8080, protocol: TCP}]
        env: [{name: EMPTY}, {name: A, value: "1"}]
        resources: {requests: {cpu: 500m, memory: 1024Mi}, limits: {cpu: "1"}}
        volumeMounts: [{name: files, mountPath: /etc/x}]
      volumes: [{name: files, emptyDir: {}}]
status: {replicas: 3}
"#,
    )
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    *object.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
}

#[test]
fn what_the_server_adds_is_no_difference() {
    assert_eq!(differs(&deployment(), &live()), vec![]);
    assert!(!template_differs(&deployment(), &live()));
}

#[test]
fn every_field_of_ours_is_seen() {
    let container = "/spec/template/spec/containers/1";
    let c = |rest: &str| format!("{container}{rest}");
    let in_path = "spec.template.spec.containers[hello]";
    for (pointer, value, path) in [
        (c("/image"), json!("other"), format!("{in_path}.image")),
        (c("/args"), json!(["--x", "--b"]), format!("{in_path}.args[0]")),
        (c("/args"), json!(["--a"]), format!("{in_path}.args")),
        (c("/env/1/value"), json!("2"), format!("{in_path}.env[A].value")),
        (c("/env"), json!([{"name": "A", "value": "1"}]), format!("{in_path}.env[EMPTY]")),
        (c("/resources/requests/cpu"), json!("501m"), format!("{in_path}.resources.requests.cpu")),
        (c("/ports/0/protocol"), json!("UDP"), format!("{in_path}.ports[8080/TCP]")),
        (c("/name"), json!("renamed"), in_path.to_owned()),
        ("/metadata/labels/app".into(), json!("x"), "metadata.labels.app".into()),
        ("/metadata/annotations/note".into(), json!("x"), "metadata.annotations.note".into()),
        ("/spec/minReadySeconds".into(), json!(5), "spec.minReadySeconds".into()),
        (
            "/spec/template/spec/automountServiceAccountToken".into(),
            json!(null),
            "spec.template.spec.automountServiceAccountToken".into(),
        ),
        (
            "/spec/template/spec/volumes/0".into(),
            json!({"name": "files", "hostPath": {"path": "/"}}),
            "spec.template.spec.volumes[files].emptyDir".into(),
        ),
    ] {
        let mut live = live();
        live["spec"]["minReadySeconds"] = json!(0);
        set(&mut live, &pointer, value);
        let found = differs(&deployment(), &live);
        assert_eq!(found.iter().map(|d| d.path.as_str()).collect::<Vec<_>>(), [path.as_str()], "{pointer}");
        assert_eq!(template_differs(&deployment(), &live), path.starts_with("spec.template"), "{pointer}");
    }
}

#[test]
fn a_key_too_many_in_a_selector_is_seen() {
    let body = json!({"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"a": "1"}, "ports": [{"port": 80, "targetPort": "http"}]}});
    let mut live = body.clone();
    live["spec"]["clusterIP"] = json!("10.0.0.1");
    assert_eq!(differs(&body, &live), vec![]);
    live["spec"]["selector"]["idp.dev/track"] = json!("canary");
    let found = differs(&body, &live);
    assert_eq!(found[0].path, "spec.selector[idp.dev/track]");
    assert_eq!((found[0].wanted.as_str(), found[0].found.as_deref()), ("null", Some("\"canary\"")));
    let mut deployed = self::live();
    deployed["spec"]["selector"]["matchLabels"]["more"] = json!("x");
    assert_eq!(differs(&deployment(), &deployed)[0].path, "spec.selector.matchLabels.more");
}

#[test]
fn data_is_compared_as_it_stands() {
    let map = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data});
    assert!(!differs(&map(json!({"limits": "1000m"})), &map(json!({"limits": "1"}))).is_empty());
    assert!(!differs(&map(json!({"a": ""})), &map(json!({}))).is_empty());
    let unlabelled = json!({"metadata": {}});
    assert!(!differs(&json!({"metadata": {"labels": {"a": ""}}}), &unlabelled).is_empty());
    assert_eq!(differs(&map(json!({"a": "1"})), &map(json!({"a": "1", "theirs": "2"}))), vec![]);
}

#[test]
fn a_secret_never_shows_its_values() {
    let body = json!({"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hunter2"}});
    let live = |data: &str| json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"password": data}});
    assert_eq!(differs(&body, &live("aHVudGVyMg==")), vec![], "stringData lives on as data");
    let found = differs(&body, &live("b3RoZXI="));
    assert_eq!(found[0].path, "data.password");
    let text = serde_json::to_string(&found).unwrap();
    for secret in ["hunter2", "aHVudGVyMg", "b3RoZXI", "other"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(found[0].wanted.starts_with("hash ") && Some(&found[0].wanted) != found[0].found.as_ref());
}

#[test]
fn differences_are_bounded() {
    let many: serde_json::Map<String, Value> =
        (0..100).map(|n| (format!("k{n}"), json!("x".repeat(999)))).collect();
    let found = differs(&json!({"kind": "ConfigMap", "data": many}), &json!({"data": {}}));
    assert_eq!(found.len(), LIMIT);
    assert!(found.iter().all(|d| d.wanted.chars().count() <= 121));
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!({ "a": deep });
    }
    assert_eq!(differs(&json!({"spec": deep}), &json!({"spec": {"a": 1}})).len(), 1);
}

fn key(kind: &str, name: &str) -> ObjectKey {
    ObjectKey { api_version: "v1".into(), kind: kind.into(), namespace: "web".into(), name: name.into() }
}

fn manifest(name: &str, hash: &str) -> Manifest {
    let body = json!({"kind": "ConfigMap", "metadata": {"name": name, "annotations": {ANNOTATION_HASH: hash}}, "data": {"a": "1"}});
    Manifest { key: key("ConfigMap", name), role: Role::Config, hash: ContentHash(hash.into()), body }
}

fn there(name: &str, uid: &str, managed: bool, hash: &str, a: &str) -> (ObjectKey, Known<Live>) {
    let object = json!({"metadata": {"name": name, "annotations": {ANNOTATION_HASH: hash}}, "data": {"a": a, "b": "2"}});
    let live = Live {
        uid: uid.into(),
        resource_version: "9".into(),
        managed,
        scaled: false,
        object: Arc::new(object),
    };
    (key("ConfigMap", name), Known::Present(live))
}

fn entry(name: &str, ownership: Ownership) -> (ObjectKey, InventoryEntry) {
    let entry = InventoryEntry { role: Role::Config, hash: ContentHash("h".into()), ownership };
    (key("ConfigMap", name), entry)
}

fn owned(name: &str, uid: &str) -> (ObjectKey, InventoryEntry) {
    entry(name, Ownership::Owned { uid: uid.into() })
}

#[test]
fn every_object_gets_one_answer() {
    let observed = Observed {
        namespace: Known::Present(()),
        objects: BTreeMap::from([
            (key("ConfigMap", "new"), Known::Absent),
            there("same", "u1", true, "h", "1"),
            there("drifted", "u2", true, "h", "edited"),
            there("shrunk", "u3", true, "older", "1"),
            there("created", "u4", true, "h", "1"),
            there("squatted", "u5", false, "h", "1"),
            there("recreated", "u6", true, "h", "1"),
            there("stranger", "u7", true, "h", "1"),
            there("dropped", "u8", true, "h", "1"),
            there("dropped-recreated", "u9", true, "h", "1"),
            (key("ConfigMap", "dropped-gone"), Known::Absent),
        ]),
        replica_sets: vec![],
        pods: vec![],
        revisions: BTreeMap::new(),
        routes: crate::model::observed::Routes::default(),
        refusals: BTreeMap::new(),
    };
    let intended = Ownership::Intended { rollout: 1 };
    let inventory = BTreeMap::from([
        owned("same", "u1"),
        owned("drifted", "u2"),
        owned("shrunk", "u3"),
        entry("created", intended.clone()),
        entry("squatted", intended.clone()),
        owned("recreated", "before"),
        owned("unread", "u0"),
        owned("dropped", "u8"),
        owned("dropped-recreated", "before"),
        owned("dropped-gone", "u10"),
        owned("dropped-unread", "u11"),
        entry("dropped-intended", intended),
    ]);
    let wanted =
        ["new", "same", "drifted", "shrunk", "created", "squatted", "recreated", "stranger", "unread"];
    let desired: Vec<Manifest> = wanted.iter().map(|name| manifest(name, "h")).collect();
    let plan = plan(&desired, &observed, &inventory);
    let names = |keys: &[ObjectKey]| keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    assert_eq!(plan.create.iter().map(|m| m.key.name.as_str()).collect::<Vec<_>>(), ["new"]);
    assert_eq!(names(&plan.unchanged), ["same", "created"]);
    assert_eq!(names(&plan.foreign), ["squatted", "recreated", "stranger"]);
    assert_eq!(names(&plan.unknown), ["unread", "dropped-unread"]);
    assert_eq!(plan.prune, [Prune { key: key("ConfigMap", "dropped"), uid: "u8".into() }]);
    let why: Vec<_> =
        plan.update.iter().map(|u| (u.manifest.key.name.as_str(), u.differences[0].path.as_str())).collect();
    assert_eq!(why, [("drifted", "data.a"), ("shrunk", "metadata.annotations[idp.dev/content-hash]")]);
    assert_eq!(plan.update[0].fence, Fence { uid: "u2".into(), resource_version: "9".into() });
    assert!(!plan.is_empty());
}

#[test]
fn many_deletions_need_a_person() {
    let prunes = |n: usize| {
        (0..n).map(|i| Prune { key: key("ConfigMap", &i.to_string()), uid: "u".into() }).collect::<Vec<_>>()
    };
    for (count, total, guarded) in
        [(0, 0, false), (3, 3, false), (2, 10, false), (3, 10, true), (10, 100, false), (11, 100, true)]
    {
        assert_eq!(guard(&prunes(count), total).is_some(), guarded, "{count} of {total}");
    }
    let namespace = Prune { key: key("Namespace", "web"), uid: "u".into() };
    assert!(guard(&[namespace], 100).unwrap().contains("Namespace web"));
}
