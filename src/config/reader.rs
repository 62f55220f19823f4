//! Takes values out of the tree and collects every problem on the way: a wrong type, a value out of range, a missing or an unknown
//! field. A reader never stops at the first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::{Place, Problem};
use super::node::{Key, Node, Value};
use crate::model::duration;

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// Adds one.
    pub(super) fn add(&self, at: Place, field: impl Into<String>, message: impl Into<String>) {
        self.0.borrow_mut().push(Problem::new(at, field, message));
    }

    /// Returns them all.
    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// One map of the file; the fields that nobody asked for are reported by [`Section::finish`].
pub(super) struct Section<'a> {
    pub(super) at: Place,
    path: String,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
    pub(super) problems: &'a Problems,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) at: Place,
    pub(super) value: T,
}

impl<'a> Section<'a> {
    /// Opens a map; anything else is a problem and yields an empty one.
    pub(super) fn open(node: &'a Node, path: impl Into<String>, problems: &'a Problems) -> Self {
        let path = path.into();
        let entries: &[(Key, Node)] = match &node.value {
            Value::Map(entries) => entries,
            other => {
                let message = format!("here stands {}; a map of fields belongs here", other.kind());
                problems.add(node.at, path.clone(), message);
                &[]
            }
        };
        Self { at: node.at, path, entries, asked: Vec::new(), problems }
    }

    /// Returns the full name of a field of this map.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Adds a problem at a field of this map.
    pub(super) fn problem(&self, at: Place, name: &str, message: impl Into<String>) {
        self.problems.add(at, self.path_of(name), message);
    }

    /// Returns a field that is there and not null.
    pub(super) fn node(&mut self, name: &'static str) -> Option<&'a Node> {
        if !self.asked.contains(&name) {
            self.asked.push(name);
        }
        let found = self.entries.iter().find(|(key, _)| key.name == name)?;
        (found.1.value != Value::Null).then_some(&found.1)
    }

    /// Reports that a field is missing.
    pub(super) fn missing(&self, name: &str, fix: &str) {
        self.problem(self.at, name, format!("this field is required: {fix}"));
    }

    fn wrong(&self, node: &Node, name: &str, wanted: &str) {
        self.problem(node.at, name, format!("here stands {}; {wanted} belongs here", node.value.kind()));
    }

    /// Returns text.
    pub(super) fn text(&mut self, name: &'static str) -> Option<At<String>> {
        let node = self.node(name)?;
        if let Value::Text(text) = &node.value {
            return Some(At { at: node.at, value: text.clone() });
        }
        let hint = if matches!(node.value, Value::Int(_) | Value::Float(_) | Value::Bool(_)) {
            "text (put it in quotes)"
        } else {
            "text"
        };
        self.wrong(node, name, hint);
        None
    }

    /// Returns text, parsed; what does not parse is a problem with the parser's sentence.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        let text = self.text(name)?;
        match parse(&text.value) {
            Ok(value) => Some(At { at: text.at, value }),
            Err(error) => {
                self.problem(text.at, name, error.to_string());
                None
            }
        }
    }

    /// Returns required text, parsed.
    pub(super) fn required<T, E: Display>(
        &mut self,
        name: &'static str,
        fix: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        if self.node(name).is_none() {
            self.missing(name, fix);
            return None;
        }
        self.parsed(name, parse)
    }

    /// Returns a required identifier: a whole number, or text of letters, digits, '.', '_' and '-'.
    pub(super) fn identifier(&mut self, name: &'static str, fix: &str) -> Option<String> {
        let text = match self.node(name) {
            Some(Node { value: Value::Int(number), .. }) if *number > 0 => return Some(number.to_string()),
            Some(_) => self.text(name)?,
            None => {
                self.missing(name, fix);
                return None;
            }
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !text.value.is_empty() && text.value.len() <= 64 && text.value.chars().all(allowed) {
            return Some(text.value);
        }
        self.problem(text.at, name, format!("this is no identifier: {fix}"));
        None
    }

    /// Returns `true` or `false`, or the default.
    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> bool {
        match self.node(name) {
            None => default,
            Some(Node { value: Value::Bool(value), .. }) => *value,
            Some(node) => {
                self.wrong(node, name, "true or false");
                default
            }
        }
    }

    /// Returns a whole number within a range, or the default.
    pub(super) fn number(&mut self, name: &'static str, range: RangeInclusive<u32>, default: u32) -> u32 {
        let Some(node) = self.node(name) else { return default };
        let Value::Int(value) = node.value else {
            self.wrong(node, name, "a whole number");
            return default;
        };
        if let Some(value) = u32::try_from(value).ok().filter(|value| range.contains(value)) {
            return value;
        }
        let (low, high) = (range.start(), range.end());
        self.problem(node.at, name, format!("{value} is outside of {low} to {high}"));
        default
    }

    /// Returns a duration within a range, or the default.
    pub(super) fn duration(
        &mut self,
        name: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let in_range = |text: &str| {
            let value = duration::parse(text).map_err(|error| error.to_string())?;
            if range.contains(&value) {
                return Ok(value);
            }
            let (low, high) = (duration::format(*range.start()), duration::format(*range.end()));
            Err(format!("{text} is outside of {low} to {high}"))
        };
        if let Some(Node { at, value: Value::Int(number) }) = self.node(name) {
            self.problem(
                *at,
                name,
                format!("{number} has no unit: write for example {number}s or {number}m"),
            );
            return default;
        }
        self.parsed(name, in_range).map_or(default, |found| found.value)
    }

    /// Returns the items of a list; an absent list is empty.
    pub(super) fn list(&mut self, name: &'static str) -> &'a [Node] {
        match self.node(name) {
            None => &[],
            Some(Node { value: Value::Seq(items), .. }) => items,
            Some(node) => {
                self.wrong(node, name, "a list");
                &[]
            }
        }
    }

    /// Returns the texts of a list, each parsed.
    pub(super) fn texts<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<At<T>> {
        let mut found = Vec::new();
        for (index, node) in self.list(name).iter().enumerate() {
            let field = format!("{name}[{index}]");
            match &node.value {
                Value::Text(text) => match parse(text) {
                    Ok(value) => found.push(At { at: node.at, value }),
                    Err(error) => self.problem(node.at, &field, error.to_string()),
                },
                _ => self.wrong(node, &field, "text"),
            }
        }
        found
    }

    /// Returns a map of scalars as text, with the place of each key.
    pub(super) fn scalars(&mut self, name: &'static str) -> BTreeMap<String, At<String>> {
        let Some(node) = self.node(name) else { return BTreeMap::new() };
        let Value::Map(entries) = &node.value else {
            self.wrong(node, name, "a map");
            return BTreeMap::new();
        };
        let mut found = BTreeMap::new();
        for (key, node) in entries {
            let text = match &node.value {
                Value::Text(text) => text.clone(),
                Value::Bool(value) => value.to_string(),
                Value::Int(value) => value.to_string(),
                Value::Float(value) => value.to_string(),
                _ => {
                    self.wrong(node, &format!("{name}.{}", key.name), "text or a number");
                    continue;
                }
            };
            found.insert(key.name.clone(), At { at: key.at, value: text });
        }
        found
    }

    /// Opens a map that is a field of this one.
    pub(super) fn section(&mut self, name: &'static str) -> Option<Section<'a>> {
        let path = self.path_of(name);
        self.node(name).map(|node| Section::open(node, path, self.problems))
    }

    /// Opens each map of a list.
    pub(super) fn sections(&mut self, name: &'static str) -> Vec<Section<'a>> {
        let path = self.path_of(name);
        let items = self.list(name).iter().enumerate();
        items.map(|(index, node)| Section::open(node, format!("{path}[{index}]"), self.problems)).collect()
    }

    /// Reports every field that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.entries {
            if self.asked.contains(&key.name.as_str()) {
                continue;
            }
            let message = match nearest(&key.name, &self.asked) {
                Some(near) => format!("there is no such field; did you mean {near}?"),
                None => format!("there is no such field; the fields here are {}", self.asked.join(", ")),
            };
            self.problem(key.at, &key.name, message);
        }
    }
}

/// Returns the nearest known name within two edits.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|candidate| (distance(name, candidate), *candidate));
    scored.filter(|(edits, _)| *edits <= 2).min().map(|(_, candidate)| candidate)
}

/// Levenshtein's distance; names longer than 64 characters count as far away.
fn distance(left: &str, right: &str) -> usize {
    if left.len() > 64 || right.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, pair), left_cost) in right.chars().zip(row.windows(2)).zip(1_usize..) {
            let [diagonal, above] = pair else { continue };
            let before = next.get(left_cost - 1).copied().unwrap_or(usize::MAX - 1);
            next.push((diagonal + usize::from(a != b)).min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
