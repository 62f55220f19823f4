//! Who manages which field: `metadata.managedFields` after an update and after an apply.
//!
//! In: the live object, the new one or the applied configuration, the manager. Out: the merged object with its
//! `managedFields` rewritten, or the conflicts. A port of structured-merge-diff's updater and of the wrappers that the
//! API server puts round it.

use serde_json::{Map, Value, json};

use super::{
    super::json,
    entries::{Entry, Manager, decode, encode},
    error::ApiError,
    fieldset::{Element, FieldSet, field, path_text},
    kinds::KindSpec,
    schema::Typed,
    typed::{compare, field_set, merge, remove, with_named_parents},
};

/// A copy without `managedFields`, as the walkers compare it.
fn bare(object: &Value) -> Value {
    let mut out = object.clone();
    json::remove(&mut out, &["metadata", "managedFields"]);
    out
}

/// Fields that are never owned.
fn never_owned() -> FieldSet {
    let mut out = FieldSet::default();
    for name in ["apiVersion", "kind", "metadata"] {
        out.insert(&[field(name)]);
    }
    for name in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        out.insert(&[field("metadata"), field(name)]);
    }
    out
}

/// Fields that a write through this door cannot set, and so does not own.
fn reset_fields(kind: &KindSpec, subresource: &str) -> FieldSet {
    let mut out = FieldSet::default();
    match subresource {
        "status" => {
            out.insert(&[field("spec")]);
            if kind.is_custom() {
                out.insert(&[field("metadata")]);
            } else {
                out.insert(&[field("metadata"), field("labels")]);
            }
        }
        _ if kind.status => out.insert(&[field("status")]),
        _ => {}
    }
    out
}

/// Rewrites `managedFields` of `new` after a create (`live` is null), an update or a patch.
pub(crate) fn updated(kind: &KindSpec, live: &Value, new: &mut Value, by: &Manager) {
    let of = kind.typed();
    let requested = json::at(new, &["metadata", "managedFields"]).and_then(Value::as_array);
    let reset = requested.is_some_and(|list| match list.as_slice() {
        [] => true,
        [only] => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    });
    let mut entries = match requested {
        _ if reset => Vec::new(),
        Some(_) if by.subresource.is_empty() => {
            let given = decode(new);
            if given.is_empty() { decode(live) } else { given }
        }
        _ => decode(live),
    };
    // An object that nobody manages and that was not just made stays unmanaged.
    if entries.is_empty() && !live.is_null() {
        encode(new, entries);
        return;
    }
    let ignored = reset_fields(kind, &by.subresource);
    let found = if live.is_null() { compare(of, &kind.zero(), new) } else { compare(of, live, new) };
    let removed = found.removed.recursive_difference(&ignored);
    let changed = found.modified.union(&found.added).recursive_difference(&ignored);
    for entry in &mut entries {
        entry.fields.subtract(&changed);
        entry.fields.subtract(&removed);
    }
    let taken = changed.difference(&never_owned());
    if !taken.is_empty() {
        match entries.iter_mut().find(|entry| entry.is(by, false)) {
            Some(mine) => {
                mine.fields = mine.fields.union(&taken);
                mine.time = (by.subresource != "scale").then(|| by.now.clone());
            }
            None => entries.push(Entry::new(by, false, taken)),
        }
    }
    encode(new, entries);
}

/// Lays the configuration `applied` over `live` (null if there is none) for its manager.
///
/// Without `force` the fields that other managers own with other values are conflicts.
pub(crate) fn apply(
    kind: &KindSpec,
    live: &Value,
    applied: &Value,
    by: &Manager,
    force: bool,
) -> Result<Value, ApiError> {
    let of = kind.typed();
    let mut entries = decode(live);
    let old = if live.is_null() { json!({}) } else { bare(live) };
    if entries.is_empty() && !live.is_null() {
        entries.extend(before_first_apply(kind, &old, by));
    }
    let set = field_set(of, applied).recursive_difference(&reset_fields(kind, &by.subresource));
    let last = entries.iter().find(|entry| entry.is(by, true)).map(|entry| entry.fields.clone());
    entries.retain(|entry| !entry.is(by, true));

    let merged = merge(of, &old, applied);
    let new = match &last {
        Some(last) if !last.is_empty() => prune(of, &merged, last, &entries, &set),
        _ => merged,
    };
    take_over(kind, &old, &new, &mut entries, by, force)?;

    let unchanged = new == old;
    let mut mine = Entry::new(by, true, set.difference(&never_owned()));
    if unchanged {
        let before = decode(live).into_iter().find(|entry| entry.is(by, true));
        mine.time = before.map_or(mine.time, |entry| entry.time);
    }
    entries.push(mine);
    let mut new = new;
    encode(&mut new, entries);
    Ok(new)
}

/// What an object that nobody managed held before its first apply belongs to a manager of that name.
fn before_first_apply(kind: &KindSpec, old: &Value, by: &Manager) -> Option<Entry> {
    let found = compare(kind.typed(), &kind.zero(), old);
    let fields = found
        .added
        .union(&found.modified)
        .recursive_difference(&reset_fields(kind, &by.subresource))
        .difference(&never_owned());
    (!fields.is_empty()).then(|| Entry {
        name: "before-first-apply".to_owned(),
        applied: false,
        api_version: by.api_version.clone(),
        subresource: String::new(),
        time: Some(by.now.clone()),
        fields,
    })
}

/// Removes what the manager applied last time, not this time, and nobody else owns.
fn prune(of: Typed<'_>, merged: &Value, last: &FieldSet, others: &[Entry], now: &FieldSet) -> Value {
    let full = |set: &FieldSet| with_named_parents(of, set);
    let take = |gone: &FieldSet| remove(of, merged, gone).unwrap_or_else(|| json!({}));

    let pruned = take(&full(last));
    let owned = others.iter().fold(now.clone(), |all, entry| all.union(&entry.fields));
    let merged_set = full(&field_set(of, merged));
    let kept = full(&field_set(of, &pruned)).union(&full(&owned));
    let pruned = take(&merged_set.difference(&kept));
    // Only what this manager applied before may go; what nobody owns stays.
    let pruned_set = full(&field_set(of, &pruned));
    let gone = merged_set.difference(&pruned_set).intersection(&full(last));
    take(&gone)
}

/// Takes the changed fields from the other managers, or refuses with the conflicts.
fn take_over(
    kind: &KindSpec,
    old: &Value,
    new: &Value,
    entries: &mut [Entry],
    by: &Manager,
    force: bool,
) -> Result<(), ApiError> {
    let ignored = reset_fields(kind, &by.subresource);
    let found = compare(kind.typed(), old, new);
    let changed = found.modified.union(&found.added).recursive_difference(&ignored);
    let removed = found.removed.recursive_difference(&ignored);
    let conflicts: Vec<(String, Vec<Vec<Element>>)> = entries
        .iter()
        .map(|entry| {
            let paths = entry.fields.intersection(&changed).paths();
            (entry.label(), paths)
        })
        .filter(|(_, paths)| !paths.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflict_error(conflicts));
    }
    for entry in entries {
        entry.fields.subtract(&changed);
        entry.fields.subtract(&removed);
    }
    Ok(())
}

fn conflict_error(mut conflicts: Vec<(String, Vec<Vec<Element>>)>) -> ApiError {
    conflicts.sort();
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for (label, paths) in &conflicts {
        lines.push(format!("conflicts with {label}:"));
        for path in paths {
            let path = path_text(path);
            lines.push(format!("- {path}"));
            causes.push(json!({
                "reason": "FieldManagerConflict", "message": format!("conflict with {label}"), "field": path,
            }));
        }
    }
    let message = match (count, conflicts.first()) {
        (1, Some((label, paths))) => {
            let path = paths.first().map(|path| path_text(path)).unwrap_or_default();
            format!("Apply failed with 1 conflict: conflict with {label}: {path}")
        }
        _ => format!("Apply failed with {count} conflicts: {}", lines.join("\n")),
    };
    ApiError::new(409, "Conflict", message).with_causes(causes)
}

/// Whether two objects are the same but for the times in `managedFields`.
pub(crate) fn same_but_for_times(one: &Value, two: &Value) -> bool {
    same_but_for(one, two, &["metadata", "managedFields"])
}

/// Whether two values are the same but for the times of the list at `path`.
fn same_but_for(one: &Value, two: &Value, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        let (one, two) = (one.as_array(), two.as_array());
        let (one, two) = (one.map_or(&[][..], Vec::as_slice), two.map_or(&[][..], Vec::as_slice));
        return one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same_entry(one, two));
    };
    let (Value::Object(left), Value::Object(right)) = (one, two) else { return one == two };
    let others = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key(*first));
    let inner = match (left.get(*first), right.get(*first)) {
        (Some(one), Some(two)) => same_but_for(one, two, rest),
        (one, two) => one.is_none() && two.is_none(),
    };
    inner
        && others(left) == others(right)
        && left.iter().all(|(key, value)| key == first || right.get(key) == Some(value))
}

/// Whether two entries of `managedFields` are the same but for their time.
fn same_entry(one: &Value, two: &Value) -> bool {
    let (Value::Object(one), Value::Object(two)) = (one, two) else { return one == two };
    let timeless = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key("time"));
    timeless(one) == timeless(two)
        && one.iter().all(|(key, value)| key == "time" || two.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(name: &str) -> Manager {
        Manager {
            name: name.to_owned(),
            api_version: "apps/v1".to_owned(),
            subresource: String::new(),
            now: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    fn web(spec: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    }

    fn run(live: &Value, spec: &Value, name: &str, force: bool) -> Result<Value, ApiError> {
        let kinds = super::super::kinds::built_in();
        let kind = kinds.iter().find(|kind| kind.kind == "Deployment").unwrap();
        apply(kind, live, &web(spec), &by(name), force)
    }

    #[test]
    fn a_second_manager_conflicts_until_it_forces() {
        let live = run(&Value::Null, &json!({"replicas": 0, "paused": false}), "idp", false).unwrap();
        let refused = run(&live, &json!({"replicas": 3}), "idp-rollout", false).unwrap_err();
        assert_eq!(refused.code, 409);
        assert_eq!(
            json::text(&refused.status, &["message"]),
            "Apply failed with 1 conflict: conflict with \"idp\": .spec.replicas"
        );
        let taken = run(&live, &json!({"replicas": 3}), "idp-rollout", true).unwrap();
        let after = run(&taken, &json!({"paused": false}), "idp", false).unwrap();
        assert_eq!(json::int(&after, &["spec", "replicas"]), Some(3));
    }

    #[test]
    fn a_field_that_its_only_owner_stops_applying_goes() {
        let live = run(&Value::Null, &json!({"replicas": 3, "paused": true}), "idp", false).unwrap();
        let after = run(&live, &json!({"replicas": 3}), "idp", false).unwrap();
        assert_eq!(json::at(&after, &["spec"]), Some(&json!({"replicas": 3})));
    }

    #[test]
    fn only_a_time_makes_no_difference() {
        let object = |time: &str, manager: &str, replicas: u32| json!({"metadata": {"name": "web", "managedFields": [{"manager": manager, "time": time}]}, "spec": {"replicas": replicas}});
        assert!(same_but_for_times(&object("1", "idp", 3), &object("2", "idp", 3)));
        assert!(!same_but_for_times(&object("1", "idp", 3), &object("1", "other", 3)));
        assert!(!same_but_for_times(&object("1", "idp", 3), &object("1", "idp", 4)));
        assert!(!same_but_for_times(
            &object("1", "idp", 3),
            &json!({"metadata": {"name": "web"}, "spec": {"replicas": 3}})
        ));
    }

    #[test]
    fn a_shared_field_stays_until_its_last_owner_leaves() {
        let live = run(&Value::Null, &json!({"replicas": 3, "paused": true}), "one", false).unwrap();
        let live = run(&live, &json!({"replicas": 3}), "two", false).unwrap();
        let live = run(&live, &json!({"paused": true}), "one", false).unwrap();
        assert_eq!(json::int(&live, &["spec", "replicas"]), Some(3));
        let live = run(&live, &json!({"paused": true}), "two", false).unwrap();
        assert_eq!(json::int(&live, &["spec", "replicas"]), None);
    }
}
