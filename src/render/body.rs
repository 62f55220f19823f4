//! What is done to rendered bodies later: the image put in, the candidate's copy made, annotations stamped on, contents hashed.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::objects::CRON_JOB;
use crate::model::change::CommitId;
use crate::model::desired::Identity;
use crate::model::image::Image;
use crate::model::object::{ContentHash, Manifest, ObjectKey, Role};
use crate::model::workload::WorkloadKind;
use crate::model::{
    ANNOTATION_CHANGE_URL, ANNOTATION_EPOCH, ANNOTATION_HASH, ANNOTATION_REVISION, ANNOTATION_ROLLOUT,
    ANNOTATION_VERSION, IMAGE_PLACEHOLDER, LABEL_TEMPLATE, LABEL_TRACK,
};

/// The annotations that say who wrote an object and why: they change with every commit and are outside the content hash.
const VOLATILE: [&str; 6] = [
    ANNOTATION_REVISION,
    ANNOTATION_ROLLOUT,
    ANNOTATION_CHANGE_URL,
    ANNOTATION_VERSION,
    ANNOTATION_HASH,
    ANNOTATION_EPOCH,
];

/// Where the pods of a CronJob stand.
const AGAIN: &str = "/spec/jobTemplate/spec/template";

/// The longest suffix that [`canary_of`] adds to a name, in characters.
pub const CANARY_SUFFIX: &str = "-canary";

/// Who writes an object, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The commit.
    pub revision: CommitId,
    /// The rollout's number; 0 for a direct change.
    pub rollout: u64,
    /// Where a person can read the change, where the forge is known.
    pub change_url: Option<String>,
    /// The identity of the version; written on workloads only.
    pub version: Identity,
    /// The fencing epoch of the writer.
    pub epoch: u64,
}

/// Returns the hash of a body: over its canonical JSON (keys sorted), without the annotations that change with every commit.
pub fn content_hash(body: &Value) -> ContentHash {
    let mut text = Vec::with_capacity(2048);
    match body {
        Value::Object(map) => write_body(map, &mut text),
        other => write_value(other, &mut text),
    }
    let digest = Sha256::digest(&text);
    let mut hash = hex::encode(digest);
    hash.truncate(16);
    ContentHash(hash)
}

fn write_body(body: &Map<String, Value>, out: &mut Vec<u8>) {
    write_map(body, &[], out, |key, value, out| match (key, value) {
        ("metadata", Value::Object(metadata)) => {
            write_map(metadata, &[], out, |key, value, out| match (key, value) {
                ("annotations", Value::Object(annotations)) => {
                    write_map(annotations, &VOLATILE, out, |_, value, out| write_value(value, out));
                }
                _ => write_value(value, out),
            });
        }
        _ => write_value(value, out),
    });
}

/// Writes a map with sorted keys, but for those to be left out. An empty `annotations` is left out as well, so that a body hashes the
/// same before and after it was stamped.
fn write_map(
    map: &Map<String, Value>,
    but: &[&str],
    out: &mut Vec<u8>,
    entry: impl Fn(&str, &Value, &mut Vec<u8>),
) {
    let mut keys: Vec<(&str, &Value)> = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
    keys.sort_unstable_by_key(|(key, _)| *key);
    out.push(b'{');
    for (key, value) in keys.into_iter().filter(|(key, _)| !but.contains(key)) {
        let before = out.len();
        write_plain(key, out);
        out.push(b':');
        let start = out.len();
        entry(key, value, out);
        if key == "annotations" && out.get(start..) == Some(b"{}") {
            out.truncate(before);
        } else {
            out.push(b',');
        }
    }
    out.push(b'}');
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => write_map(map, &[], out, |_, value, out| write_value(value, out)),
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write_value(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        scalar => write_plain(scalar, out),
    }
}

fn write_plain(plain: impl serde::Serialize, out: &mut Vec<u8>) {
    // Neither text nor a number of JSON can be refused, and a vector takes all.
    let _ = serde_json::to_writer(out, &plain);
}

/// Makes a manifest of a body, with its hash.
pub(crate) fn rehashed(manifest: &Manifest, body: Value) -> Manifest {
    Manifest { key: manifest.key.clone(), role: manifest.role, hash: content_hash(&body), body }
}

/// Makes an object of another name from one.
pub fn renamed(manifest: &Manifest, key: ObjectKey) -> Manifest {
    let mut body = manifest.body.clone();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), Value::from(key.name.as_str()));
    }
    Manifest { key, ..rehashed(manifest, body) }
}

/// Puts the pinned image where [`IMAGE_PLACEHOLDER`] stands in the containers of workloads, and into the pods of a DaemonSet the label that
/// tells this template from others. Everything else stays as it is.
pub fn pin(objects: &[Manifest], image: &Image) -> Vec<Manifest> {
    let reference = image.reference();
    objects.iter().map(|manifest| pin_one(manifest, &reference)).collect()
}

fn pin_one(manifest: &Manifest, reference: &str) -> Manifest {
    let again = manifest.key.kind == CRON_JOB;
    if !again && !matches!(manifest.role, Role::Workload | Role::Job) {
        return manifest.clone();
    }
    let pods = if again { AGAIN } else { "/spec/template" };
    let mut body = manifest.body.clone();
    for list in ["containers", "initContainers"] {
        let containers = body.pointer_mut(&format!("{pods}/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(image) = container.get_mut("image")
                && image.as_str() == Some(IMAGE_PLACEHOLDER)
            {
                *image = Value::from(reference);
            }
        }
    }
    if manifest.role == Role::Workload && !WorkloadKind::of(&manifest.key).has_replicas() {
        label_template(&mut body);
    }
    rehashed(manifest, body)
}

/// Returns a CronJob with the pods of another one: what a run is belongs to a version, when it comes does not. Anything else is as it is.
pub fn with_runs_of(newer: &Manifest, kept: &Manifest) -> Manifest {
    if newer.key.kind != CRON_JOB {
        return newer.clone();
    }
    let mut body = newer.body.clone();
    if let (Some(new), Some(kept)) = (body.pointer_mut(AGAIN), kept.body.pointer(AGAIN)) {
        new.clone_from(kept);
    }
    rehashed(newer, body)
}

/// Writes the hash of a pod template, as it is without it, into its labels.
fn label_template(body: &mut Value) {
    let Some(template) = body.pointer_mut("/spec/template") else { return };
    let hash = content_hash(template);
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.insert(LABEL_TEMPLATE.to_owned(), Value::from(hash.0));
    }
}

/// Makes the candidate's Deployment from stable's: named `<name>-canary`, the track `canary` in labels, selector and pod template.
/// `spec.replicas` stays 0: a workload is created without pods.
pub fn canary_of(workload: &Manifest) -> Manifest {
    let name = format!("{}{CANARY_SUFFIX}", workload.key.name);
    let mut body = workload.body.clone();
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), Value::from(name.as_str()));
    }
    for labels in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        if let Some(labels) = body.pointer_mut(labels).and_then(Value::as_object_mut) {
            labels.insert(LABEL_TRACK.to_owned(), Value::from("canary"));
        }
    }
    let mut canary = rehashed(workload, body);
    canary.key.name = name;
    canary
}

/// Adds the annotations that say who writes the object and why, and [`ANNOTATION_HASH`] with the manifest's hash, which they do not
/// change. Annotations of an earlier stamp are replaced or, where this one has none, removed.
pub fn stamp(manifest: &Manifest, stamp: &Stamp) -> Manifest {
    let Stamp { revision, rollout, change_url, version, epoch } = stamp;
    let mut stamped = manifest.clone();
    let Some(body) = stamped.body.as_object_mut() else { return stamped };
    let metadata = body.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return stamped };
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    let Some(annotations) = annotations.as_object_mut() else { return stamped };
    for name in VOLATILE {
        annotations.remove(name);
    }
    let mut put = |name: &str, value: String| annotations.insert(name.to_owned(), Value::from(value));
    put(ANNOTATION_REVISION, revision.to_string());
    put(ANNOTATION_ROLLOUT, rollout.to_string());
    put(ANNOTATION_EPOCH, epoch.to_string());
    put(ANNOTATION_HASH, manifest.hash.0.clone());
    if let Some(url) = change_url {
        put(ANNOTATION_CHANGE_URL, url.clone());
    }
    if matches!(manifest.role, Role::Workload | Role::Job) {
        put(ANNOTATION_VERSION, version.to_string());
    }
    stamped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload() -> Manifest {
        let body = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "hello", "namespace": "web", "labels": {"idp.dev/track": "stable"}},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"idp.dev/release": "hello.prod", "idp.dev/track": "stable"}},
                "template": {
                    "metadata": {"labels": {"idp.dev/release": "hello.prod", "idp.dev/track": "stable"}},
                    "spec": {"containers": [{
                        "name": "app", "image": IMAGE_PLACEHOLDER,
                        "env": [{"name": "NOT_AN_IMAGE", "value": IMAGE_PLACEHOLDER}],
                    }]},
                },
            },
        });
        let key = ObjectKey {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            namespace: "web".into(),
            name: "hello".into(),
        };
        Manifest { key, role: Role::Workload, hash: content_hash(&body), body }
    }

    fn image() -> Image {
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        Image { repository: "registry.example.com/web/hello".into(), tag: None, digest }
    }

    fn a_stamp() -> Stamp {
        Stamp {
            revision: "0123456789abcdef0123456789abcdef01234567".parse().unwrap(),
            rollout: 7,
            change_url: Some("https://forge.example.com/pulls/3".into()),
            version: Identity("1-aa".into()),
            epoch: 4,
        }
    }

    #[test]
    fn a_hash_ignores_the_order_of_keys_and_nothing_else() {
        let a: Value = serde_json::from_str(r#"{"a":1,"b":[1,2]}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"b":[1,2],"a":1}"#).unwrap();
        assert_eq!(content_hash(&a), content_hash(&b));
        assert_eq!(content_hash(&a).0.len(), 16);
        for other in
            [json!({"a":1,"b":[2,1]}), json!({"a":"1","b":[1,2]}), json!({"a":1,"b":[12]}), json!([])]
        {
            assert_ne!(content_hash(&a), content_hash(&other), "{other}");
        }
    }

    #[test]
    fn annotations_of_the_writer_are_outside_the_hash_and_others_inside() {
        let plain = workload();
        let stamped = stamp(&plain, &a_stamp());
        assert_eq!(content_hash(&stamped.body), plain.hash);
        assert_eq!(stamped.hash, plain.hash);
        let mut told = plain.body.clone();
        told["metadata"]["annotations"] = json!({"idp.dev/runbook": "https://example.com"});
        assert_ne!(content_hash(&told), plain.hash);
        let mut in_pods = plain.body.clone();
        in_pods["spec"]["template"]["metadata"]["annotations"] = json!({ANNOTATION_REVISION: "x"});
        assert_ne!(content_hash(&in_pods), plain.hash, "a pod's annotations roll the pods");
    }

    #[test]
    fn a_stamp_replaces_the_one_before() {
        let first = stamp(&workload(), &a_stamp());
        let annotations = &first.body["metadata"]["annotations"];
        assert_eq!(annotations[ANNOTATION_ROLLOUT], "7");
        assert_eq!(annotations[ANNOTATION_EPOCH], "4");
        assert_eq!(annotations[ANNOTATION_VERSION], "1-aa");
        assert_eq!(annotations[ANNOTATION_HASH], workload().hash.0);
        let second = stamp(&first, &Stamp { change_url: None, rollout: 8, ..a_stamp() });
        let annotations = &second.body["metadata"]["annotations"];
        assert_eq!(annotations[ANNOTATION_ROLLOUT], "8");
        assert_eq!(annotations.get(ANNOTATION_CHANGE_URL), None);
        let shared = stamp(&Manifest { role: Role::Shared, ..workload() }, &a_stamp());
        assert_eq!(shared.body["metadata"]["annotations"].get(ANNOTATION_VERSION), None);
    }

    #[test]
    fn the_image_goes_into_containers_only_and_changes_the_hash() {
        let pinned = pin(&[workload()], &image());
        let container = &pinned[0].body["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], image().reference());
        assert_eq!(container["env"][0]["value"], IMAGE_PLACEHOLDER);
        assert_ne!(pinned[0].hash, workload().hash);
        assert_eq!(pinned[0].hash, content_hash(&pinned[0].body));
    }

    #[test]
    fn a_canary_is_another_object_with_its_own_pods() {
        let canary = canary_of(&workload());
        assert_eq!(canary.key.name, "hello-canary");
        assert_eq!(canary.body["metadata"]["name"], "hello-canary");
        for place in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            assert_eq!(canary.body.pointer(place).unwrap()[LABEL_TRACK], "canary", "{place}");
        }
        assert_eq!(canary.body["spec"]["selector"]["matchLabels"]["idp.dev/release"], "hello.prod");
        assert_eq!(canary.body["spec"]["replicas"], 0);
        assert_eq!(canary.hash, content_hash(&canary.body));
    }

    #[test]
    fn a_body_that_is_no_object_is_left_alone() {
        for body in
            [json!(null), json!("x"), json!([1]), json!({"metadata": 1}), json!({"spec": {"template": 3}})]
        {
            let odd = Manifest { body: body.clone(), hash: content_hash(&body), ..workload() };
            assert_eq!(pin(std::slice::from_ref(&odd), &image()).len(), 1);
            let _ = (stamp(&odd, &a_stamp()), canary_of(&odd));
        }
    }
}
