//! Which keys a place of the file knows, taken from the schema: unknown keys are refused with the nearest known one, keys that are not
//! enforced yet are refused at their line and nothing inside them is looked at.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value as Json;

use super::diagnostic::{Code, Diagnostic, Findings};
use super::schema;
use super::tree::{Entry, Node, Value};

/// What one place of the file may hold.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The keys of a map; empty where any is allowed.
    keys: BTreeMap<String, Shape>,
    /// What each value of a map with free keys is.
    values: Option<Box<Shape>>,
    /// What each item of a list is.
    items: Option<Box<Shape>>,
    unsupported: bool,
}

static FILE: LazyLock<Shape> = LazyLock::new(|| Shape::new(&schema::schema()));

impl Shape {
    fn new(schema: &Json) -> Self {
        let mut shape = Self::default();
        shape.take(schema);
        shape
    }

    fn take(&mut self, schema: &Json) {
        let part = |name: &str| schema.get(name).filter(|part| part.is_object());
        self.unsupported |= schema.get("x-unsupported").is_some();
        for (key, inner) in part("properties").and_then(Json::as_object).into_iter().flatten() {
            self.keys.entry(key.clone()).or_default().take(inner);
        }
        if let Some(values) = part("additionalProperties") {
            self.values = Some(Box::new(Self::new(values)));
        }
        if let Some(items) = part("items") {
            self.items = Some(Box::new(Self::new(items)));
        }
        for branch in schema.get("anyOf").and_then(Json::as_array).into_iter().flatten() {
            self.take(branch);
        }
    }

    /// Returns the shape of a key's value, if the key is known here.
    pub(super) fn key(&self, key: &str) -> Option<&Self> {
        self.keys.get(key).or(self.values.as_deref())
    }

    /// Returns the shape of the items of a list.
    pub(super) fn item(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    /// Tells whether something may stand below this place.
    pub(super) fn has_inside(&self) -> bool {
        !self.keys.is_empty() || self.items.is_some() || self.values.is_some()
    }
}

/// Returns what a file may hold.
pub(super) fn file() -> &'static Shape {
    &FILE
}

/// Returns the tree without what may not be in it, which is added to `findings`.
pub(super) fn check(root: &Node, findings: &Findings) -> Node {
    check_node(root, file(), "", findings)
}

fn check_node(node: &Node, shape: &Shape, path: &str, findings: &Findings) -> Node {
    let value = match &node.value {
        Value::Text(..) => return node.clone(),
        Value::List(items) => {
            let item = |node| match shape.item() {
                Some(shape) => check_node(node, shape, &format!("{path}[]"), findings),
                None => node.clone(),
            };
            Value::List(items.iter().map(item).collect())
        }
        Value::Map(entries) => {
            let keep = |entry| check_entry(entry, shape, path, findings);
            Value::Map(entries.iter().filter_map(keep).collect())
        }
    };
    Node { at: node.at, value }
}

fn check_entry(entry: &Entry, shape: &Shape, path: &str, findings: &Findings) -> Option<Entry> {
    let full = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
    match shape.key(&entry.key) {
        Some(inner) if inner.unsupported => {
            findings.add(unsupported(entry, &full));
            None
        }
        Some(inner) => Some(Entry {
            key: entry.key.clone(),
            at: entry.at,
            node: check_node(&entry.node, inner, &full, findings),
        }),
        None if path.is_empty() && entry.key.starts_with("x-") => None,
        // A list or text where a map is wanted has no known keys; that is said when the value is read.
        None if shape.keys.is_empty() => Some(entry.clone()),
        None if findings.is_full() => None,
        None => {
            findings.add(unknown(entry, shape, path));
            None
        }
    }
}

fn unsupported(entry: &Entry, path: &str) -> Diagnostic {
    Diagnostic::error(Code::Unsupported, entry.at, format!("`{path}` is not enforced by this version"))
        .why("a key that is accepted and then ignored would promise what does not happen")
        .fix("remove the key; the running version stays until then")
}

/// Says that a value of version 1 is not enforced yet.
pub(super) fn unsupported_value(node: &Node, path: &str, value: &str, instead: &str) -> Diagnostic {
    Diagnostic::error(
        Code::Unsupported,
        node.at,
        format!("`{path}: {value}` is not enforced by this version"),
    )
    .why("a value that is accepted and then ignored would promise what does not happen")
    .fix(format!("write {instead}; the running version stays until then"))
}

fn unknown(entry: &Entry, shape: &Shape, path: &str) -> Diagnostic {
    let key: String = entry.key.chars().take(60).collect();
    let place = if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") };
    if let Some(special) = special(entry, path) {
        return special;
    }
    let said = Diagnostic::error(Code::UnknownKey, entry.at, format!("{place} has no key `{key}`"))
        .why("a key that nobody reads would be ignored in silence");
    if let Some(near) = nearest(&key, shape.keys.keys()) {
        return said.fix(format!("did you mean `{near}`?"));
    }
    let mut elsewhere = Vec::new();
    find(file(), &key, "", &mut elsewhere);
    if let Some(full) = elsewhere.first() {
        return said.fix(format!("did you mean `{full}`?"));
    }
    let known: Vec<&str> = shape.keys.keys().map(String::as_str).collect();
    let own = if path.is_empty() { "; notes of your own may stand in keys that begin with x-" } else { "" };
    said.fix(format!("remove it; known here: {}{own}", known.join(", ")))
}

/// Keys that are somebody else's to set.
fn special(entry: &Entry, path: &str) -> Option<Diagnostic> {
    let key = entry.key.as_str();
    let mut parts = path.split('.');
    if parts.next() != Some("environments") {
        return None;
    }
    let depth = parts.count();
    if depth == 1 && ["namespace", "cluster", "branch"].contains(&key) {
        let what = format!("the {key} of an environment is the platform's to set");
        let why = "where an environment lives is one rule for all services, in the platform's configuration";
        let said = Diagnostic::error(Code::Platform, entry.at, what).why(why);
        return Some(said.fix("remove the key, or ask the platform's team for another environment"));
    }
    if depth == 2 && ["service", "environments", "apiVersion", "extends", "preview"].contains(&key) {
        let what = format!("`{key}` cannot differ between environments");
        let why = "it says what the service is, wherever it runs";
        let said = Diagnostic::error(Code::Override, entry.at, what).why(why);
        return Some(said.fix("set it at the top of the file"));
    }
    None
}

/// Finds a key of this name anywhere in the file's shape, the shortest path first.
fn find(shape: &Shape, key: &str, path: &str, found: &mut Vec<String>) {
    for (name, inner) in &shape.keys {
        let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if name == key {
            found.push(full.clone());
        }
        if path.split('.').count() < 3 {
            find(inner, key, &full, found);
        }
    }
    found.sort_by_key(|path| (path.starts_with("environments"), path.matches('.').count()));
}

/// Returns the candidate that a text most likely means: few letters changed, or the same without `_`, `-` and capitals.
pub(super) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let plain = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let text = plain(text);
    let allowed = (text.chars().count() / 3).clamp(1, 3);
    let distances = candidates.map(|candidate| (distance(&text, &plain(candidate)), candidate));
    distances
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// The letters to insert, remove or change; two neighbours that changed places count once.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(60).collect(), b.chars().take(60).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let change = at(&last, j) + usize::from(x != y);
            let mut best = change.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        let known: Vec<String> =
            ["strategy", "canary", "max_surge", "port", "progress_deadline"].map(str::to_owned).into();
        for (typed, meant) in [
            ("stratgy", Some("strategy")),
            ("maxSurge", Some("max_surge")),
            ("prot", Some("port")),
            ("progressDeadline", Some("progress_deadline")),
            ("kanary", Some("canary")),
            ("volumes", None),
            ("xx", None),
        ] {
            assert_eq!(nearest(typed, known.iter()).map(String::as_str), meant, "{typed}");
        }
    }

    #[test]
    fn the_shape_knows_what_the_schema_says() {
        let deploy = file().key("deploy").unwrap();
        assert!(deploy.key("hooks").unwrap().unsupported);
        assert!(deploy.key("traffic").unwrap().key("route").is_some());
        assert!(deploy.key("canary").unwrap().item().unwrap().key("weight").is_some());
        assert!(deploy.key("canary").unwrap().item().unwrap().key("replicas").unwrap().unsupported);
        let overrides = file().key("environments").unwrap().key("staging").unwrap().key("overrides").unwrap();
        assert!(overrides.key("workload").unwrap().key("ingress").unwrap().unsupported);
        assert!(file().key("image").unwrap().key("digest").is_some());
        assert!(file().key("nonsense").is_none());
    }
}
