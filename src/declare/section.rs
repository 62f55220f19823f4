//! Reading single values out of the tree: each method says what is wrong at the value's place and gives `None`, so that reading goes on
//! and all faults of a file come together.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::diagnostic::{Code, Diagnostic, Findings, Place};
use super::keys;
use super::tree::{Entry, Node, Style, Value};
use crate::model::duration::{self, DurationError};

/// One map of the file, with the path that leads to it.
#[derive(Clone)]
pub(super) struct Section<'t> {
    pub(super) path: String,
    pub(super) at: Place,
    entries: &'t [Entry],
    pub(super) findings: &'t Findings,
}

/// A value with its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: Place,
}

/// Why a text does not parse: the code, what is wrong, how to mend it.
pub(super) struct Complaint(pub(super) Code, pub(super) String, pub(super) String);

impl<'t> Section<'t> {
    /// Takes the whole file.
    pub(super) fn root(node: &'t Node, findings: &'t Findings) -> Self {
        let section = Self { path: String::new(), at: node.at, entries: node.entries(), findings };
        if !matches!(node.value, Value::Map(_)) {
            let said = Diagnostic::error(Code::Type, node.at, "the file is not a map of keys");
            findings.add(said.fix("begin with: service: {name: my-service, team: my-team}"));
        }
        section
    }

    /// Returns the path of a key for sentences.
    pub(super) fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'t Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(super) fn node(&self, key: &str) -> Option<&'t Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(super) fn entries(&self) -> &'t [Entry] {
        self.entries
    }

    /// Returns the map below a key; an absent or empty one has no entries.
    pub(super) fn section(&self, key: &str) -> Self {
        let at = self.entry(key).map_or(self.at, |entry| entry.at);
        let empty = Self { path: self.full(key), at, entries: &[], findings: self.findings };
        match self.node(key) {
            None => empty,
            Some(node) => Self { entries: self.map(node, &self.full(key)), ..empty },
        }
    }

    /// Takes a node as a map of its own, as the items of a list are.
    pub(super) fn inner(&self, node: &'t Node, path: String) -> Self {
        Self { entries: self.map(node, &path), at: node.at, path, findings: self.findings }
    }

    fn map(&self, node: &'t Node, path: &str) -> &'t [Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            _ if node.is_null() => &[],
            _ => {
                self.wrong_type(node, path, "a map of keys");
                &[]
            }
        }
    }

    /// Returns the items below a key; an absent list and an empty one are different.
    pub(super) fn list(&self, key: &str) -> Option<&'t [Node]> {
        let node = self.node(key)?;
        let Value::List(items) = &node.value else {
            self.wrong_type(node, &self.full(key), "a list");
            return None;
        };
        Some(items)
    }

    pub(super) fn add(&self, finding: Diagnostic) {
        self.findings.add(finding);
    }

    /// Adds an error about a key.
    pub(super) fn error(&self, code: Code, at: Place, what: impl Into<String>, fix: impl Into<String>) {
        self.add(Diagnostic::error(code, at, what).fix(fix));
    }

    fn wrong_type(&self, node: &Node, path: &str, wanted: &str) {
        let found = match &node.value {
            _ if node.is_null() => "nothing",
            Value::Text(..) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map of keys",
        };
        let fix = if node.is_null() { "write a value, or remove the key" } else { "write it as wanted" };
        self.error(Code::Type, node.at, format!("`{path}` wants {wanted} and has {found}"), fix);
    }

    /// Says that a required key is missing.
    pub(super) fn missing(&self, key: &str, fix: &str) {
        let what = format!("`{}` is missing", self.full(key));
        self.error(Code::Missing, self.at, what, fix);
    }

    /// Returns a single value as it is written. `yes` and `no` without quotes are refused: YAML reads them in two ways.
    pub(super) fn scalar(&self, node: &'t Node, path: &str) -> Option<At<&'t str>> {
        let Value::Text(text, style) = &node.value else {
            self.wrong_type(node, path, "a single value");
            return None;
        };
        if node.is_null() {
            self.wrong_type(node, path, "a single value");
            return None;
        }
        let word = text.to_ascii_lowercase();
        if *style == Style::Plain && matches!(word.as_str(), "yes" | "no" | "on" | "off") {
            let said =
                Diagnostic::error(Code::YesNo, node.at, format!("`{path}: {text}` can mean two things"));
            let said = said.why("YAML 1.1 reads it as true or false, YAML 1.2 as a text");
            self.add(said.fix(format!("write true or false, or quote it: \"{text}\"")));
            return None;
        }
        Some(At { value: text, at: node.at })
    }

    /// Returns a text.
    pub(super) fn text(&self, key: &str) -> Option<At<&'t str>> {
        self.scalar(self.node(key)?, &self.full(key))
    }

    /// Parses a text.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<At<T>> {
        let At { value, at } = self.text(key)?;
        self.accept(&self.full(key), at, parse(value)).map(|value| At { value, at })
    }

    /// Takes what was parsed at a place, or says what is wrong there.
    pub(super) fn accept<T>(&self, path: &str, at: Place, parsed: Result<T, Complaint>) -> Option<T> {
        parsed
            .map_err(|Complaint(code, what, fix)| self.error(code, at, format!("`{path}`: {what}"), fix))
            .ok()
    }

    /// Returns true or false.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let flag = |text: &str| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Complaint(
                Code::Type,
                format!("{:?} is neither true nor false", cut(text)),
                "write true or false".into(),
            )),
        };
        self.parsed(key, flag).map(|found| found.value)
    }

    /// Returns a whole number within a range.
    pub(super) fn number(&self, key: &str, range: RangeInclusive<u64>) -> Option<At<u64>> {
        let (low, high) = (*range.start(), *range.end());
        self.parsed(key, |text| match text.parse::<u64>() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(Complaint(
                Code::Value,
                format!("{:?} is not a whole number from {low} to {high}", cut(text)),
                format!("write a number from {low} to {high}"),
            )),
        })
    }

    /// Returns a duration within a range.
    pub(super) fn duration(&self, key: &str, range: RangeInclusive<Duration>) -> Option<At<Duration>> {
        self.parsed(key, |text| {
            let found = duration::parse(text).map_err(|error| {
                let fix = match &error {
                    DurationError::NoUnit(_) => {
                        format!("write {0}s for seconds or {0}m for minutes", cut(text))
                    }
                    _ => "write for example 30s, 5m, 1h30m or 7d".to_owned(),
                };
                Complaint(Code::Duration, error.to_string(), fix)
            })?;
            if range.contains(&found) {
                return Ok(found);
            }
            let (low, high) = (duration::format(*range.start()), duration::format(*range.end()));
            let what = format!("{} is outside {low} to {high}", duration::format(found));
            Err(Complaint(Code::Duration, what, format!("write a duration from {low} to {high}")))
        })
    }

    /// Returns one of a few words. Words of version 1 that are not enforced yet are said to be so.
    pub(super) fn choice<T: Copy>(&self, key: &str, known: &[(&str, T)], unsupported: &[&str]) -> Option<T> {
        let At { value, at } = self.text(key)?;
        if let Some((_, choice)) = known.iter().find(|(word, _)| *word == value) {
            return Some(*choice);
        }
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let words = words.join(" or ");
        if unsupported.contains(&value) {
            if let Some(node) = self.node(key) {
                self.add(keys::unsupported_value(node, &self.full(key), value, &words));
            }
        } else {
            let what = format!("`{}`: {:?} is not known", self.full(key), cut(value));
            self.error(Code::Value, at, what, format!("write {words}"));
        }
        None
    }

    /// Returns a map of texts; the keys are checked by the caller.
    pub(super) fn texts(&self, key: &str) -> Vec<(&'t Entry, At<&'t str>)> {
        let section = self.section(key);
        let text = |entry: &'t Entry| Some((entry, section.scalar(&entry.node, &section.full(&entry.key))?));
        section.entries().iter().filter_map(text).collect()
    }

    /// Returns a list of texts.
    pub(super) fn text_list(&self, key: &str) -> Option<Vec<At<&'t str>>> {
        let path = self.full(key);
        Some(self.list(key)?.iter().filter_map(|node| self.scalar(node, &path)).collect())
    }
}

/// Cuts a text for a sentence.
pub(super) fn cut(text: &str) -> String {
    if text.chars().count() <= 60 {
        text.to_owned()
    } else {
        text.chars().take(57).chain("...".chars()).collect()
    }
}
