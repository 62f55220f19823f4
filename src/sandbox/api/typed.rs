//! Walks over typed values: which fields an object sets, what changed between two, one merged into the other, some taken
//! out. A port of structured-merge-diff's walkers over JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    fieldset::{Element, FieldSet, field},
    schema::{Relation, Typed},
};

/// What differs between two values.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) removed: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) added: FieldSet,
}

/// The element by which a list item is known; none if the list is atomic or the item has no key.
pub(crate) fn item_element(of: Typed<'_>, item: &Value) -> Option<Element> {
    match of.relation() {
        Relation::Atomic => None,
        Relation::Set => Some(format!("v:{item}")),
        Relation::Keyed(keys) => {
            let mut found = BTreeMap::new();
            for key in keys {
                if let Some(value) = item.get(key) {
                    found.insert(key.as_str(), value.clone());
                } else if let Some(default) = of.element().key_default(key) {
                    found.insert(key.as_str(), Value::from(default));
                }
            }
            let text = serde_json::to_string(&found).ok()?;
            (!found.is_empty()).then(|| format!("k:{text}"))
        }
    }
}

/// Whether `value` is looked into, item by item, for a type; else it is one leaf.
fn granular_list(of: Typed<'_>) -> bool {
    *of.relation() != Relation::Atomic
}

fn empty_or_null(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    }
}

/// The fields that `value` sets.
pub(crate) fn field_set(of: Typed<'_>, value: &Value) -> FieldSet {
    let mut out = FieldSet::default();
    set_walk(of, value, &mut Vec::new(), &mut out);
    out
}

fn set_walk(of: Typed<'_>, value: &Value, path: &mut Vec<Element>, out: &mut FieldSet) {
    match value {
        Value::Object(map) => {
            if of.atomic_map() {
                out.insert(path);
                return;
            }
            for (key, member) in map {
                path.push(field(key));
                set_walk(of.member_or_free(key), member, path, out);
                let empty = matches!(member, Value::Object(inner) if inner.is_empty());
                if member.is_null() || empty || !of.names(key) {
                    out.insert(path);
                }
                path.pop();
            }
        }
        Value::Array(items) => {
            if !granular_list(of) {
                out.insert(path);
                return;
            }
            for item in items {
                if let Some(element) = item_element(of, item) {
                    path.push(element);
                    set_walk(of.element(), item, path, out);
                    out.insert(path);
                    path.pop();
                }
            }
        }
        Value::Null => {}
        _ => out.insert(path),
    }
}

/// What it takes to get from `left` to `right`, `metadata.managedFields` left out.
pub(crate) fn compare(of: Typed<'_>, left: &Value, right: &Value) -> Comparison {
    let mut out = Comparison::default();
    compare_walk(of, Some(left), Some(right), &mut Vec::new(), &mut out);
    out
}

fn compare_leaf(left: Option<&Value>, right: Option<&Value>, path: &[Element], out: &mut Comparison) {
    match (left, right) {
        (None, _) => out.added.insert(path),
        (_, None) => out.removed.insert(path),
        (left, right) if left != right => out.modified.insert(path),
        _ => {}
    }
}

/// Whether each of the two that is there is of a shape; null is of every shape.
fn both(left: Option<&Value>, right: Option<&Value>, shape: fn(&Value) -> bool) -> bool {
    [left, right].into_iter().flatten().all(|value| value.is_null() || shape(value))
}

fn compare_walk(
    of: Typed<'_>,
    left: Option<&Value>,
    right: Option<&Value>,
    path: &mut Vec<Element>,
    out: &mut Comparison,
) {
    let sample = right.or(left);
    let looked_into = match sample {
        Some(Value::Object(_)) => !of.atomic_map() && both(left, right, Value::is_object),
        Some(Value::Array(_)) => granular_list(of) && both(left, right, Value::is_array),
        _ => false,
    };
    if !looked_into || (empty_or_null(left) && empty_or_null(right)) {
        compare_leaf(left, right, path, out);
        return;
    }
    if let Some(Value::Object(_)) = sample {
        let of_metadata = path.len() == 1 && path.first().is_some_and(|first| first == "f:metadata");
        for key in left_right_keys(left, right) {
            let (one, two) = (left.and_then(|v| v.get(key)), right.and_then(|v| v.get(key)));
            // Most of an object is as it was, and names nothing.
            if one == two || (of_metadata && key == "managedFields") {
                continue;
            }
            path.push(field(key));
            compare_walk(of.member_or_free(key), one, two, path, out);
            path.pop();
        }
    } else {
        let (one, two) = (keyed_items(of, left), keyed_items(of, right));
        let elements: BTreeSet<&Element> = one.keys().chain(two.keys()).collect();
        for element in elements {
            path.push(element.clone());
            let (one, two) = (one.get(element).copied(), two.get(element).copied());
            compare_walk(of.element(), one, two, path, out);
            path.pop();
        }
    }
    if left.is_none() {
        out.added.insert(path);
    } else if right.is_none() {
        out.removed.insert(path);
    }
}

fn left_right_keys<'a>(left: Option<&'a Value>, right: Option<&'a Value>) -> BTreeSet<&'a str> {
    [left, right]
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect()
}

fn keyed_items<'a>(of: Typed<'_>, list: Option<&'a Value>) -> BTreeMap<Element, &'a Value> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|item| Some((item_element(of, item)?, item)))
        .collect()
}

/// `right` laid over `left`: maps by key, keyed lists by item, everything else replaced.
pub(crate) fn merge(of: Typed<'_>, left: &Value, right: &Value) -> Value {
    match (left, right) {
        (Value::Object(one), Value::Object(two)) if !of.atomic_map() => {
            if one.is_empty() && two.is_empty() {
                return right.clone();
            }
            let mut out = one.clone();
            for (key, new) in two {
                let merged = match one.get(key) {
                    Some(old) => merge(of.member_or_free(key), old, new),
                    None => new.clone(),
                };
                out.insert(key.clone(), merged);
            }
            Value::Object(out)
        }
        (Value::Array(one), Value::Array(two)) if granular_list(of) => {
            if one.is_empty() && two.is_empty() {
                return right.clone();
            }
            Value::Array(merge_items(of, one, two))
        }
        _ => right.clone(),
    }
}

/// Keeps the order of `right` for the items that both have, and the others of `left` where they were.
fn merge_items(of: Typed<'_>, left: &[Value], right: &[Value]) -> Vec<Value> {
    let elements = |items: &[Value]| -> Vec<Element> {
        items.iter().map(|item| item_element(of, item).unwrap_or_default()).collect()
    };
    let (left_elements, right_elements) = (elements(left), elements(right));
    let in_right: BTreeSet<&Element> = right_elements.iter().collect();
    let old =
        |element: &Element| left_elements.iter().position(|one| one == element).and_then(|at| left.get(at));
    let mut out = Vec::new();
    let mut pending = right.iter().zip(&right_elements).peekable();
    for (item, element) in left.iter().zip(&left_elements) {
        if !in_right.contains(element) {
            out.push(item.clone());
            continue;
        }
        // New items of the right go before the shared one that they precede there.
        while let Some((new, at)) = pending.next_if(|(_, at)| old(at).is_none()) {
            let _ = at;
            out.push(new.clone());
        }
        if let Some((new, at)) = pending.next() {
            out.push(old(at).map_or_else(|| new.clone(), |old| merge(of.element(), old, new)));
        }
    }
    for (new, at) in pending {
        out.push(old(at).map_or_else(|| new.clone(), |old| merge(of.element(), old, new)));
    }
    out
}

/// `value` without the members of `gone`; what an item or map loses entirely goes with it.
pub(crate) fn remove(of: Typed<'_>, value: &Value, gone: &FieldSet) -> Option<Value> {
    match value {
        Value::Object(map) if !of.atomic_map() && !map.is_empty() => {
            let mut out = Map::new();
            for (key, member) in map {
                let element = field(key);
                if gone.has_member(&element) {
                    continue;
                }
                match gone.child(&element) {
                    None => {
                        out.insert(key.clone(), member.clone());
                    }
                    Some(inner) => {
                        if let Some(left) = remove(of.member_or_free(key), member, inner) {
                            out.insert(key.clone(), left);
                        }
                    }
                }
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Value::Array(items) if granular_list(of) && !items.is_empty() => {
            let mut out = Vec::new();
            for item in items {
                let element = item_element(of, item).unwrap_or_default();
                if gone.has_member(&element) {
                    continue;
                }
                match gone.child(&element) {
                    None => out.push(item.clone()),
                    Some(inner) => out.extend(remove(of.element(), item, inner)),
                }
            }
            (!out.is_empty()).then_some(Value::Array(out))
        }
        Value::Object(_) | Value::Array(_) => None,
        scalar => Some(scalar.clone()),
    }
}

/// `set` with every named field that has children as a member too, so that removing all of them removes the field.
pub(crate) fn with_named_parents(of: Typed<'_>, set: &FieldSet) -> FieldSet {
    let mut out = FieldSet::default();
    for element in set.members() {
        out.insert_member(element.clone());
    }
    for (element, inner) in set.children() {
        let below = match element.split_once(':') {
            Some(("f", name)) => {
                if of.names(name) {
                    out.insert_member(element.clone());
                }
                of.member_or_free(name)
            }
            _ => of.element(),
        };
        out.insert_child(element.clone(), with_named_parents(below, inner));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::schema::Schema, *};

    fn deployment(containers: &Value) -> Value {
        json!({"spec": {"template": {"spec": {"containers": containers}}}})
    }

    #[test]
    fn containers_merge_by_name() {
        let schema = Schema::builtin();
        let of = schema.typed("apps.v1.Deployment");
        let live = deployment(
            &json!([{"name": "side", "image": "s:1"}, {"name": "app", "image": "a:1", "stdin": true}]),
        );
        let new = deployment(&json!([{"name": "app", "image": "a:2"}, {"name": "extra", "image": "e:1"}]));
        assert_eq!(
            merge(of, &live, &new),
            deployment(&json!([
                {"name": "side", "image": "s:1"},
                {"name": "app", "image": "a:2", "stdin": true},
                {"name": "extra", "image": "e:1"},
            ]))
        );
    }

    #[test]
    fn compare_names_the_leaves() {
        let schema = Schema::builtin();
        let of = schema.typed("apps.v1.Deployment");
        let old = json!({"spec": {"replicas": 1, "paused": true}});
        let new = json!({"spec": {"replicas": 2, "minReadySeconds": 5}});
        let found = compare(of, &old, &new);
        assert_eq!(found.modified.to_fields_v1(), json!({"f:spec": {"f:replicas": {}}}));
        assert_eq!(found.removed.to_fields_v1(), json!({"f:spec": {"f:paused": {}}}));
        assert_eq!(found.added.to_fields_v1(), json!({"f:spec": {"f:minReadySeconds": {}}}));
    }

    #[test]
    fn labels_and_list_items_are_members_themselves() {
        let schema = Schema::builtin();
        let of = schema.typed("apps.v1.Deployment");
        let mut value = deployment(&json!([{"name": "app", "ports": [{"containerPort": 80}]}]));
        value["metadata"] = json!({"labels": {"a": "b"}});
        assert_eq!(
            field_set(of, &value).to_fields_v1(),
            json!({
                "f:metadata": {"f:labels": {"f:a": {}}},
                "f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {
                    ".": {}, "f:name": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                }}}}},
            })
        );
    }
}
