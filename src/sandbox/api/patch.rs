//! Merge patch, strategic merge patch and JSON patch.

use serde_json::{Map, Value};

use super::{
    super::json,
    error::ApiError,
    schema::{Relation, Typed},
    typed::item_element,
};

/// RFC 7386.
pub(crate) fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let map = json::as_map(target);
    for (key, change) in patch {
        if change.is_null() {
            map.remove(key);
        } else {
            merge_patch(map.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

/// A strategic merge patch: lists with keys merge by item, `$patch: delete|replace` and
/// `$deleteFromPrimitiveList` are obeyed, `$setElementOrder` and `$retainKeys` are read as hints and dropped.
pub(crate) fn strategic_patch(of: Typed<'_>, target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if json::text_opt(&Value::Object(patch.clone()), &["$patch"]) == Some("replace") {
        let mut new = patch.clone();
        new.remove("$patch");
        *target = Value::Object(new);
        return;
    }
    let map = json::as_map(target);
    for (key, change) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            remove_primitives(map, list, change);
            continue;
        }
        if key.starts_with('$') {
            continue;
        }
        let below = of.member_or_free(key);
        match change {
            Value::Null => {
                map.remove(key);
            }
            Value::Array(items) if *below.relation() != Relation::Atomic => {
                patch_list(below, json::list_mut(map, key), items);
            }
            // Nothing to merge into in an indivisible map of ours; the patch still merges, as its Go struct does.
            Value::Object(_) => {
                strategic_patch(below, map.entry(key.clone()).or_insert(Value::Null), change);
            }
            other => {
                map.insert(key.clone(), other.clone());
            }
        }
    }
}

fn remove_primitives(map: &mut Map<String, Value>, key: &str, gone: &Value) {
    if let (Some(Value::Array(items)), Some(gone)) = (map.get_mut(key), gone.as_array()) {
        items.retain(|item| !gone.contains(item));
    }
}

fn patch_list(of: Typed<'_>, items: &mut Vec<Value>, patch: &[Value]) {
    if patch.iter().any(|one| json::text(one, &["$patch"]) == "replace") {
        items.clear();
    }
    let before = items.clone();
    let place = |item: &Value| {
        let wanted = patch_key(of, item);
        before.iter().position(|one| wanted.is_some() && patch_key(of, one) == wanted)
    };
    // What the patch names, in its order; an item that it deletes is named and gone.
    let mut named = Vec::new();
    let mut touched = Vec::new();
    for change in patch {
        let verb = json::text(change, &["$patch"]);
        if verb == "replace" {
            continue;
        }
        let at = place(change);
        touched.extend(at);
        if verb == "delete" {
            continue;
        }
        let mut item = at.and_then(|at| before.get(at)).cloned().unwrap_or(Value::Null);
        match at {
            Some(_) => strategic_patch(of.element(), &mut item, change),
            None => item = change.clone(),
        }
        named.push((at, item));
    }
    *items = Vec::new();
    let mut named = named.into_iter().peekable();
    for (at, item) in before.iter().enumerate().filter(|(at, _)| !touched.contains(at)) {
        // An item that stays comes first only before a named one that stood after it; new ones go ahead.
        while let Some((_, new)) = named.next_if(|(place, _)| place.is_none_or(|place| place < at)) {
            items.push(new);
        }
        items.push(item.clone());
    }
    items.extend(named.map(|(_, item)| item));
}

/// A strategic patch knows an item by the first of its keys alone (`containerPort` without `protocol`).
fn patch_key(of: Typed<'_>, item: &Value) -> Option<String> {
    match of.relation() {
        Relation::Keyed(keys) => keys.first().and_then(|key| item.get(key)).map(ToString::to_string),
        _ => item_element(of, item),
    }
}

/// RFC 6902.
pub(crate) fn json_patch(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    let Some(operations) = patch.as_array() else {
        return Err(ApiError::bad_request("a JSON patch is a list of operations"));
    };
    for operation in operations {
        step(target, operation)?;
    }
    Ok(())
}

fn step(target: &mut Value, operation: &Value) -> Result<(), ApiError> {
    let path = json::text(operation, &["path"]);
    let refused = || {
        let message = "the server rejected our request due to an error in our request";
        let mut error = ApiError::new(422, "Invalid", message);
        json::set(&mut error.status, &["details"], serde_json::json!({}));
        error
    };
    let given = || operation.get("value").cloned().unwrap_or(Value::Null);
    let from = json::text(operation, &["from"]);
    match json::text(operation, &["op"]) {
        "add" => add(target, path, given()).ok_or_else(refused),
        "remove" => take(target, path).map(|_| ()).ok_or_else(refused),
        "replace" => match target.pointer_mut(path) {
            Some(slot) => {
                *slot = given();
                Ok(())
            }
            None => Err(refused()),
        },
        "move" => {
            let moved = take(target, from).ok_or_else(refused)?;
            add(target, path, moved).ok_or_else(refused)
        }
        "copy" => {
            let copied = target.pointer(from).cloned().ok_or_else(refused)?;
            add(target, path, copied).ok_or_else(refused)
        }
        "test" if target.pointer(path) == operation.get("value") => Ok(()),
        "test" => Err(refused()),
        other => Err(ApiError::bad_request(format!("unknown operation {other:?}"))),
    }
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, key) = path.rsplit_once('/')?;
    Some((parent, key.replace("~1", "/").replace("~0", "~")))
}

fn add(target: &mut Value, path: &str, new: Value) -> Option<()> {
    if path.is_empty() {
        *target = new;
        return Some(());
    }
    let (parent, key) = split(path)?;
    match target.pointer_mut(parent)? {
        Value::Object(map) => {
            map.insert(key, new);
            Some(())
        }
        Value::Array(items) if key == "-" => {
            items.push(new);
            Some(())
        }
        Value::Array(items) => {
            let at: usize = key.parse().ok()?;
            (at <= items.len()).then(|| items.insert(at, new))
        }
        _ => None,
    }
}

fn take(target: &mut Value, path: &str) -> Option<Value> {
    let (parent, key) = split(path)?;
    match target.pointer_mut(parent)? {
        Value::Object(map) => map.remove(&key),
        Value::Array(items) => {
            let at: usize = key.parse().ok()?;
            (at < items.len()).then(|| items.remove(at))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::schema::Schema, *};

    #[test]
    fn strategic_patch_merges_containers_by_name() {
        let schema = Schema::builtin();
        let mut live = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "app", "image": "a:1", "env": [{"name": "A", "value": "1"}]},
            {"name": "side", "image": "s:1"},
        ]}}}});
        let patch = json!({"spec": {"template": {"spec": {
            "$setElementOrder/containers": [{"name": "app"}],
            "containers": [{"name": "app", "image": "a:2"}, {"name": "side", "$patch": "delete"}],
        }}}});
        strategic_patch(schema.typed("apps.v1.Deployment"), &mut live, &patch);
        assert_eq!(
            live,
            json!({"spec": {"template": {"spec": {"containers": [
                {"name": "app", "image": "a:2", "env": [{"name": "A", "value": "1"}]},
            ]}}}})
        );
    }

    #[test]
    fn json_patch_tests_and_moves() {
        let mut live = json!({"a": {"b": [1, 2]}});
        let patch = json!([
            {"op": "test", "path": "/a/b/0", "value": 1},
            {"op": "add", "path": "/a/b/1", "value": 9},
            {"op": "move", "from": "/a/b", "path": "/c~1d"},
        ]);
        json_patch(&mut live, &patch).unwrap();
        assert_eq!(live, json!({"a": {}, "c/d": [1, 9, 2]}));
        assert!(json_patch(&mut live, &json!([{"op": "test", "path": "/a", "value": 1}])).is_err());
    }
}
