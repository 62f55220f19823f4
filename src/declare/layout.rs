//! Bringing a file into its canonical layout before it is read: sections that may stand in several places go to `deploy`, an image that is
//! one text becomes a map, and an environment's overrides are laid over the file. Every value keeps its place.

use super::diagnostic::{Code, Diagnostic, Findings, Place};
use super::tree::{Entry, Node, Style, Value};

/// Where else a section of `deploy` may stand.
const MOVABLE: [(&str, bool); 4] =
    [("healthcheck", true), ("rollback", true), ("gates", true), ("canary", false)];

/// Brings a file into canonical layout. A section that stands in two places is an error.
pub(super) fn canonical(root: &Node, findings: &Findings) -> Node {
    arranged(root, false, findings)
}

/// Brings an environment's overrides into canonical layout. An image that is one text replaces the file's tag and digest too.
pub(super) fn canonical_overrides(root: &Node, findings: &Findings) -> Node {
    arranged(root, true, findings)
}

fn arranged(root: &Node, whole_image: bool, findings: &Findings) -> Node {
    let mut root = root.clone();
    let mut moved: Vec<Entry> = Vec::new();
    for (key, under_service) in MOVABLE {
        let mut found: Vec<Entry> = Vec::new();
        found.extend(root.entry("deploy").and_then(|deploy| deploy.node.entry(key)).cloned());
        if under_service {
            found.extend(take(child_mut(&mut root, "service"), key));
        }
        found.extend(take(Some(&mut root), key));
        if let [first, second, ..] = found.as_slice() {
            findings.add(twice(first, second));
        }
        let canonical = root.entry("deploy").is_some_and(|deploy| deploy.node.entry(key).is_some());
        if !canonical {
            moved.extend(found.into_iter().next());
        }
    }
    if let Some(first) = moved.first() {
        let at = first.at;
        add_to_deploy(&mut root, at, moved);
    }
    if let Some(image) = child_mut(&mut root, "image") {
        split_image(image, whole_image);
    }
    root
}

fn child_mut<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    match &mut node.value {
        Value::Map(entries) => entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node),
        _ => None,
    }
}

/// Takes an entry out of a map.
fn take(node: Option<&mut Node>, key: &str) -> Option<Entry> {
    match &mut node?.value {
        Value::Map(entries) => {
            let index = entries.iter().position(|entry| entry.key == key)?;
            Some(entries.remove(index))
        }
        _ => None,
    }
}

fn add_to_deploy(root: &mut Node, at: Place, moved: Vec<Entry>) {
    let Value::Map(entries) = &mut root.value else { return };
    if !entries.iter().any(|entry| entry.key == "deploy") {
        let node = Node { at, value: Value::Map(Vec::new()) };
        entries.push(Entry { key: "deploy".to_owned(), at, node });
    }
    let Some(deploy) = child_mut(root, "deploy") else { return };
    if deploy.is_null() {
        deploy.value = Value::Map(Vec::new());
    }
    if let Value::Map(entries) = &mut deploy.value {
        entries.extend(moved);
    }
}

fn twice(one: &Entry, other: &Entry) -> Diagnostic {
    let (first, second) = if one.at <= other.at { (one, other) } else { (other, one) };
    let what = format!("`{}` stands here and in line {}", second.key, first.at.line);
    Diagnostic::error(Code::Twice, second.at, what)
        .why("both places mean the same, and one of the two would be ignored")
        .fix(format!(
            "keep one of lines {} and {}; its own place is under `deploy`",
            first.at.line, second.at.line
        ))
}

/// Makes a map of `registry/path:tag@digest`, so that an environment can override one part. `whole`: with null for each absent part.
fn split_image(node: &mut Node, whole: bool) {
    let Value::Text(text, _) = &node.value else { return };
    if node.is_null() {
        return;
    }
    let (rest, digest) =
        text.split_once('@').map_or((text.as_str(), None), |(rest, digest)| (rest, Some(digest)));
    let name = rest.rfind('/').map_or(0, |slash| slash + 1);
    let colon = rest.get(name..).and_then(|last| last.find(':')).map(|at| name + at);
    let (repository, tag) = match colon.and_then(|at| rest.split_at_checked(at)) {
        Some((repository, tag)) => (repository, Some(tag.trim_start_matches(':'))),
        None => (rest, None),
    };
    let parts = [("repository", Some(repository)), ("tag", tag), ("digest", digest)];
    let entry = |(key, text): (&str, Option<&str>)| {
        let value = match text {
            Some(text) => Value::Text(text.to_owned(), Style::Quoted),
            None if whole => Value::Text(String::new(), Style::Plain),
            None => return None,
        };
        Some(Entry { key: key.to_owned(), at: node.at, node: Node { at: node.at, value } })
    };
    node.value = Value::Map(parts.into_iter().filter_map(entry).collect());
}

/// Lays overrides over a file: maps merge, everything else replaces, null removes.
pub(super) fn overlay(base: &Node, over: &Node) -> Node {
    let (Value::Map(below), Value::Map(above)) = (&base.value, &over.value) else { return over.clone() };
    let mut entries: Vec<Entry> = Vec::new();
    for entry in below {
        match above.iter().find(|upper| upper.key == entry.key) {
            None => entries.push(entry.clone()),
            Some(upper) if upper.node.is_null() => {}
            Some(upper) => {
                let node = overlay(&entry.node, &upper.node);
                entries.push(Entry { key: entry.key.clone(), at: upper.at, node });
            }
        }
    }
    let new = |upper: &&Entry| !upper.node.is_null() && !below.iter().any(|entry| entry.key == upper.key);
    entries.extend(above.iter().filter(new).cloned());
    Node { at: base.at, value: Value::Map(entries) }
}
