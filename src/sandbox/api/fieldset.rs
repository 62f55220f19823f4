//! Sets of fields: who owns what. A port of structured-merge-diff's `fieldpath.Set`, in and out as `FieldsV1`.
//!
//! A path element is kept as `FieldsV1` writes it (`f:name`, `k:{"name":"x"}`, `v:"x"`), so that reading and writing a
//! set is a walk without parsing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::{Map, Value};

/// One step of a path, as `FieldsV1` writes it.
pub(crate) type Element = String;

/// The element of a named field.
pub(crate) fn field(name: &str) -> Element {
    format!("f:{name}")
}

/// A set of paths. A member may have children that are members too; a child's membership does not imply its parent's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    members: BTreeSet<Element>,
    children: BTreeMap<Element, FieldSet>,
}

impl FieldSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    pub(crate) fn has_member(&self, element: &str) -> bool {
        self.members.contains(element)
    }

    pub(crate) fn child(&self, element: &str) -> Option<&Self> {
        self.children.get(element).filter(|set| !set.is_empty())
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = (&Element, &Self)> {
        self.children.iter()
    }

    pub(crate) fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    /// Adds `element` as a member, beside its children.
    pub(crate) fn insert_member(&mut self, element: Element) {
        self.members.insert(element);
    }

    pub(crate) fn insert_child(&mut self, element: Element, child: Self) {
        if !child.is_empty() {
            self.children.insert(element, child);
        }
    }

    pub(crate) fn members(&self) -> &BTreeSet<Element> {
        &self.members
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (element, set) in &other.children {
            let merged = match out.children.get(element) {
                Some(mine) => mine.union(set),
                None => set.clone(),
            };
            out.children.insert(element.clone(), merged);
        }
        out
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut out = Self {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: BTreeMap::new(),
        };
        for (element, set) in &self.children {
            if let Some(theirs) = other.children.get(element) {
                out.insert_child(element.clone(), set.intersection(theirs));
            }
        }
        out
    }

    /// What is here and not in `other`. A parent there takes no child away here.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let mut out = Self {
            members: self.members.difference(&other.members).cloned().collect(),
            children: BTreeMap::new(),
        };
        for (element, set) in &self.children {
            let left = match other.children.get(element) {
                Some(theirs) => set.difference(theirs),
                None => set.clone(),
            };
            out.insert_child(element.clone(), left);
        }
        out
    }

    /// As [`Self::difference`], in place: it takes as long as `other` is large.
    pub(crate) fn subtract(&mut self, other: &Self) {
        for element in &other.members {
            self.members.remove(element);
        }
        for (element, set) in &other.children {
            let Some(mine) = self.children.get_mut(element) else { continue };
            mine.subtract(set);
            if mine.is_empty() {
                self.children.remove(element);
            }
        }
    }

    /// What is here and neither in `other` nor under a member of it.
    pub(crate) fn recursive_difference(&self, other: &Self) -> Self {
        let mut out = Self {
            members: self.members.difference(&other.members).cloned().collect(),
            children: BTreeMap::new(),
        };
        for (element, set) in &self.children {
            if other.members.contains(element) {
                continue;
            }
            let left = match other.children.get(element) {
                Some(theirs) => set.recursive_difference(theirs),
                None => set.clone(),
            };
            out.insert_child(element.clone(), left);
        }
        out
    }

    /// Every path, in order.
    pub(crate) fn paths(&self) -> Vec<Vec<Element>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
        for element in &self.members {
            let mut path = prefix.clone();
            path.push(element.clone());
            out.push(path);
        }
        for (element, set) in &self.children {
            prefix.push(element.clone());
            set.collect(prefix, out);
            prefix.pop();
        }
    }

    pub(crate) fn to_fields_v1(&self) -> Value {
        let mut out = Map::new();
        for element in &self.members {
            out.insert(element.clone(), Value::Object(Map::new()));
        }
        for (element, set) in &self.children {
            if set.is_empty() {
                continue;
            }
            let mut inner = match set.to_fields_v1() {
                Value::Object(map) => map,
                _ => Map::new(),
            };
            if self.members.contains(element) {
                inner.insert(".".to_owned(), Value::Object(Map::new()));
            }
            out.insert(element.clone(), Value::Object(inner));
        }
        Value::Object(out)
    }

    pub(crate) fn from_fields_v1(value: &Value) -> Self {
        let mut out = Self::default();
        for (element, inner) in value.as_object().into_iter().flatten() {
            if element == "." {
                continue;
            }
            let is_leaf = inner.as_object().is_none_or(Map::is_empty);
            if is_leaf || inner.get(".").is_some() {
                out.members.insert(element.clone());
            }
            out.insert_child(element.clone(), Self::from_fields_v1(inner));
        }
        out
    }
}

/// A path as conflict messages print it: `.spec.containers[name="app"].image`.
pub(crate) fn path_text(path: &[Element]) -> String {
    let mut out = String::new();
    for element in path {
        match element.split_once(':') {
            Some(("f", name)) => {
                out.push('.');
                out.push_str(name);
            }
            Some(("k", keys)) => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(key, v)| format!("{key}={v}")).collect();
                let _ = write!(out, "[{}]", keys.join(","));
            }
            Some(("v", value)) => {
                let _ = write!(out, "[={value}]");
            }
            _ => {
                let _ = write!(out, "[{element}]");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:replicas": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}},
        })
    }

    fn sample_set() -> FieldSet {
        FieldSet::from_fields_v1(&sample())
    }

    #[test]
    fn fields_v1_round_trips() {
        assert_eq!(FieldSet::from_fields_v1(&sample()).to_fields_v1(), sample());
    }

    #[test]
    fn difference_keeps_children_of_a_removed_parent() {
        let set = FieldSet::from_fields_v1(&json!({"f:a": {".": {}, "f:b": {}}}));
        let parent = FieldSet::from_fields_v1(&json!({"f:a": {}}));
        assert_eq!(set.difference(&parent).to_fields_v1(), json!({"f:a": {"f:b": {}}}));
        let mut left = sample_set();
        left.subtract(&FieldSet::from_fields_v1(
            &json!({"f:spec": {"f:replicas": {}}, "f:other": {"f:a": {}}}),
        ));
        assert!(!left.paths().iter().any(|path| path_text(path) == ".spec.replicas"), "{left:?}");
        assert_eq!(left.paths().len() + 1, sample_set().paths().len());
        assert!(set.recursive_difference(&parent).is_empty());
    }

    #[test]
    fn paths_read_as_the_genuine_server_prints_them() {
        let set = FieldSet::from_fields_v1(&sample());
        let texts: Vec<String> = set.paths().iter().map(|path| path_text(path)).collect();
        assert!(texts.contains(&".spec.ports[port=80,protocol=\"TCP\"].port".to_owned()), "{texts:?}");
        assert!(texts.contains(&".spec.replicas".to_owned()));
    }
}
