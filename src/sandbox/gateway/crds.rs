//! The definitions of the routes' kinds: small and structural, with the fields that are used here, as the public references list them
//! (<https://gateway-api.sigs.k8s.io/reference/spec/>, <https://istio.io/latest/docs/reference/config/networking/>). Whatever else a
//! route holds is kept as it is.

use serde_json::{Value, json};

/// The definitions of `HTTPRoute`, `VirtualService` and `DestinationRule`.
pub fn definitions() -> [Value; 3] {
    [
        definition("gateway.networking.k8s.io", "HTTPRoute", "httproutes", "v1", &http_route()),
        definition("networking.istio.io", "VirtualService", "virtualservices", "v1", &virtual_service()),
        definition("networking.istio.io", "DestinationRule", "destinationrules", "v1", &destination_rule()),
    ]
}

fn definition(group: &str, kind: &str, plural: &str, version: &str, spec: &Value) -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": spec,
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{
                "name": version, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}},
            }],
        },
    });
    if group.ends_with(".k8s.io") {
        // The server lets definitions of this domain in only with a word of their review.
        let reviewed =
            json!({"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/gateway-api"});
        if let Some(metadata) = definition.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("annotations".to_owned(), reviewed);
        }
    }
    definition
}

fn object(fields: &Value) -> Value {
    json!({"type": "object", "properties": fields, "x-kubernetes-preserve-unknown-fields": true})
}

/// A list that one owner writes as a whole.
fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items, "x-kubernetes-list-type": "atomic"})
}

fn weight(most: u32) -> Value {
    json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": most})
}

fn http_route() -> Value {
    let text = json!({"type": "string"});
    let reference = |extra: Value| {
        let mut fields = json!({"group": text, "kind": text, "name": text, "namespace": text, "port": {"type": "integer"}});
        if let (Value::Object(fields), Value::Object(extra)) = (&mut fields, extra) {
            fields.extend(extra);
        }
        object(&fields)
    };
    let mut backend = reference(json!({"weight": weight(1_000_000)}));
    let mut parent = reference(json!({"sectionName": text}));
    for one in [&mut backend, &mut parent] {
        if let Value::Object(schema) = one {
            schema.insert("required".to_owned(), json!(["name"]));
        }
    }
    object(&json!({
        "hostnames": list(&text),
        "parentRefs": list(&parent),
        "rules": list(&object(&json!({"backendRefs": list(&backend)}))),
    }))
}

fn virtual_service() -> Value {
    let destination = object(&json!({"host": {"type": "string"}, "subset": {"type": "string"}}));
    let route =
        list(&object(&json!({"destination": destination, "weight": weight(i32::MAX.unsigned_abs())})));
    let rules = list(&object(&json!({"route": route})));
    object(&json!({
        "hosts": list(&json!({"type": "string"})),
        "gateways": list(&json!({"type": "string"})),
        "http": rules, "tcp": rules, "tls": rules,
    }))
}

fn destination_rule() -> Value {
    let labels = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let subset = object(&json!({"name": {"type": "string"}, "labels": labels}));
    object(&json!({"host": {"type": "string"}, "subsets": list(&subset)}))
}
