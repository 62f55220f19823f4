//! The kinds that the server serves: a table for the built-in ones, registration for the others.

use std::{fmt::Write as _, sync::Arc};

use serde_json::{Value, json};

use super::{
    super::json,
    schema::{Schema, Typed},
};

/// A column of `kubectl get`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `string`, `integer`, `date`, `boolean` or `number`.
    pub kind: String,
    /// A JSON path into the object, such as `.status.phase`.
    pub path: String,
    /// 0 is always shown, more only with `-o wide`.
    pub priority: u32,
}

/// One kind in one version.
#[derive(Debug, Clone)]
pub struct KindSpec {
    /// The API group; empty for core.
    pub group: String,
    /// The version, such as `v1alpha1`.
    pub version: String,
    /// The kind, such as `Release`.
    pub kind: String,
    /// The name in paths, such as `releases`.
    pub plural: String,
    /// The singular name.
    pub singular: String,
    /// Short names that kubectl accepts.
    pub short_names: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether `/status` is a door of its own.
    pub status: bool,
    /// Whether `/scale` is served, over `spec.replicas`.
    pub scale: bool,
    /// Printer columns; none gives name and age.
    pub columns: Vec<Column>,
    /// The schema of a custom resource, for defaults and validation.
    pub(crate) open_api: Option<Arc<Value>>,
    schema: Arc<Schema>,
    root: String,
}

impl KindSpec {
    /// A kind without a schema: any field is kept and owned, lists are single values.
    pub fn free_form(group: &str, version: &str, kind: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            namespaced: true,
            status: false,
            scale: false,
            columns: Vec::new(),
            open_api: None,
            schema: Schema::free(),
            root: String::new(),
        }
    }

    /// The kind that a `CustomResourceDefinition` declares in its first served version; none if it declares none.
    pub fn from_crd(crd: &Value) -> Option<Self> {
        let names = json::at(crd, &["spec", "names"])?;
        let version =
            json::list(crd, &["spec", "versions"]).iter().find(|version| json::flag(version, &["served"]))?;
        let kind = json::text(names, &["kind"]);
        let singular = match json::text(names, &["singular"]) {
            "" => kind.to_lowercase(),
            given => given.to_owned(),
        };
        let open_api = json::at(version, &["schema", "openAPIV3Schema"]);
        Some(Self {
            group: json::text(crd, &["spec", "group"]).to_owned(),
            version: json::text(version, &["name"]).to_owned(),
            kind: kind.to_owned(),
            plural: json::text(names, &["plural"]).to_owned(),
            singular,
            short_names: json::list(names, &["shortNames"])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            namespaced: json::text(crd, &["spec", "scope"]) == "Namespaced",
            status: json::at(version, &["subresources", "status"]).is_some(),
            scale: json::at(version, &["subresources", "scale"]).is_some(),
            columns: json::list(version, &["additionalPrinterColumns"])
                .iter()
                .map(Column::from_crd)
                .collect(),
            open_api: open_api.cloned().map(Arc::new),
            schema: open_api.map_or_else(Schema::free, Schema::from_open_api),
            root: "root".to_owned(),
        })
    }

    /// The type of its objects.
    pub(crate) fn typed(&self) -> Typed<'_> {
        self.schema.typed(&self.root)
    }

    /// `apps/v1`, or `v1` for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`, as messages name it.
    pub(crate) fn qualified(&self) -> String {
        let mut out = self.plural.clone();
        if !self.group.is_empty() {
            let _ = write!(out, ".{}", self.group);
        }
        out
    }

    /// What the genuine server's typed object holds before anything is set: of these parts a creator owns the members
    /// only, not the part itself.
    pub(crate) fn zero(&self) -> Value {
        match (self.group.as_str(), self.kind.as_str()) {
            _ if self.is_custom() => json!({}),
            ("apps", "Deployment") => json!({"metadata": {}, "status": {}, "spec": {
                "selector": null, "strategy": {}, "template": {"metadata": {}, "spec": {"containers": null}},
            }}),
            ("apps", "ReplicaSet") => json!({"metadata": {}, "status": {}, "spec": {
                "selector": null, "template": {"metadata": {}, "spec": {"containers": null}},
            }}),
            ("apps", "StatefulSet" | "DaemonSet") => json!({"metadata": {}, "status": {}, "spec": {
                "selector": null, "updateStrategy": {},
                "template": {"metadata": {}, "spec": {"containers": null}},
            }}),
            ("apps", "ControllerRevision") => json!({"metadata": {}}),
            ("batch", "Job") => json!({"metadata": {}, "status": {}, "spec": {
                "template": {"metadata": {}, "spec": {"containers": null}},
            }}),
            ("batch", "CronJob") => json!({"metadata": {}, "status": {}, "spec": {"jobTemplate": {
                "metadata": {}, "spec": {"template": {"metadata": {}, "spec": {"containers": null}}},
            }}}),
            ("", "Pod") => json!({"metadata": {}, "status": {}, "spec": {"containers": null}}),
            ("", "Service") => json!({"metadata": {}, "spec": {}, "status": {"loadBalancer": {}}}),
            ("", "Event") => json!({"metadata": {}, "involvedObject": {}, "source": {}}),
            ("events.k8s.io", _) => json!({"metadata": {}, "regarding": {}, "deprecatedSource": {}}),
            ("apiextensions.k8s.io", _) => {
                json!({"metadata": {}, "spec": {"names": {}, "versions": null}, "status": {}})
            }
            _ => json!({"metadata": {}, "spec": {}, "status": {}}),
        }
    }

    /// Where objects of the kind are stored. Both APIs of events share one place.
    pub(crate) fn storage(&self) -> (&str, &str) {
        if self.is_events_v1() { ("", "events") } else { (&self.group, &self.plural) }
    }

    /// Whether this is the events.k8s.io view of what is stored as core events.
    pub(crate) fn is_events_v1(&self) -> bool {
        self.group == "events.k8s.io" && self.plural == "events"
    }

    /// Whether it is the built-in kind of that name.
    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Whether it comes from a `CustomResourceDefinition` or a registration.
    pub(crate) fn is_custom(&self) -> bool {
        self.root == "root" || self.root.is_empty()
    }

    /// Whether its objects are made and changed by updates alone, so that no owner of a field of theirs ever stands in anybody's way.
    pub(crate) fn is_never_applied(&self) -> bool {
        matches!(
            (self.group.as_str(), self.kind.as_str()),
            ("", "Namespace" | "Pod" | "Secret" | "Event")
                | ("apps", "ReplicaSet" | "ControllerRevision")
                | ("idp.dev", "Release")
        )
    }

    /// Whether `metadata.generation` counts changes of the spec.
    pub(crate) fn has_generation(&self) -> bool {
        self.is_custom()
            || matches!(
                self.kind.as_str(),
                "Deployment"
                    | "ReplicaSet"
                    | "StatefulSet"
                    | "DaemonSet"
                    | "Pod"
                    | "Job"
                    | "CronJob"
                    | "CustomResourceDefinition"
            )
    }
}

impl Column {
    fn from_crd(column: &Value) -> Self {
        Self {
            name: json::text(column, &["name"]).to_owned(),
            kind: json::text(column, &["type"]).to_owned(),
            path: json::text(column, &["jsonPath"]).to_owned(),
            priority: json::int(column, &["priority"]).and_then(|p| u32::try_from(p).ok()).unwrap_or(0),
        }
    }
}

/// group, version, kind, plural, short names, flags: n namespaced, s status, c scale; then the type in `schema.txt`.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const BUILT_IN: &[Row] = &[
    ("", "v1", "Namespace", "namespaces", "ns", "s", "core.v1.Namespace"),
    ("", "v1", "Node", "nodes", "no", "s", "core.v1.Node"),
    ("", "v1", "Pod", "pods", "po", "ns", "core.v1.Pod"),
    ("", "v1", "Event", "events", "ev", "n", "core.v1.Event"),
    ("", "v1", "Service", "services", "svc", "ns", "core.v1.Service"),
    ("", "v1", "ConfigMap", "configmaps", "cm", "n", "core.v1.ConfigMap"),
    ("", "v1", "Secret", "secrets", "", "n", "core.v1.Secret"),
    ("", "v1", "ServiceAccount", "serviceaccounts", "sa", "n", "core.v1.ServiceAccount"),
    ("apps", "v1", "Deployment", "deployments", "deploy", "nsc", "apps.v1.Deployment"),
    ("apps", "v1", "ReplicaSet", "replicasets", "rs", "nsc", "apps.v1.ReplicaSet"),
    (
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "hpa",
        "ns",
        "autoscaling.v2.HorizontalPodAutoscaler",
    ),
    ("apps", "v1", "StatefulSet", "statefulsets", "sts", "nsc", "apps.v1.StatefulSet"),
    ("apps", "v1", "DaemonSet", "daemonsets", "ds", "ns", "apps.v1.DaemonSet"),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", "", "n", "apps.v1.ControllerRevision"),
    ("batch", "v1", "Job", "jobs", "", "ns", "batch.v1.Job"),
    ("batch", "v1", "CronJob", "cronjobs", "cj", "ns", "batch.v1.CronJob"),
    ("coordination.k8s.io", "v1", "Lease", "leases", "", "n", "coordination.v1.Lease"),
    ("events.k8s.io", "v1", "Event", "events", "ev", "n", "events.v1.Event"),
    (
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd,crds",
        "s",
        "-",
    ),
];

/// The built-in kinds.
pub(crate) fn built_in() -> Vec<KindSpec> {
    BUILT_IN
        .iter()
        .map(|&(group, version, kind, plural, short, flags, root)| KindSpec {
            short_names: short.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            namespaced: flags.contains('n'),
            status: flags.contains('s'),
            scale: flags.contains('c'),
            schema: Schema::builtin(),
            root: root.to_owned(),
            ..KindSpec::free_form(group, version, kind, plural)
        })
        .collect()
}
