//! Cohorts: a rule of ours before each of the team's that is split, for the requests that go to the candidate whatever its weight.
//!
//! It is a copy of the team's rule, with its matches, filters and timeouts: only the conditions of the cohort are added to each match,
//! and the release's share of its backends is all the candidate's. So it is known again by these two, and taken out as it was put in.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::split::divided;
use super::{Dialect, Names, Part, list};
use crate::model::traffic::Cohort;

/// Returns a route without the rules that were put in for a cohort.
pub fn without<'a>(
    dialect: &dyn Dialect,
    live: &'a Value,
    names: Names<'_>,
    cohort: Option<&Cohort>,
) -> Cow<'a, Value> {
    let Some(cohort) = cohort else { return Cow::Borrowed(live) };
    let (rules, backends) = dialect.rules();
    let mut plain = live.clone();
    if let Some(found) = plain.pointer_mut(rules).and_then(Value::as_array_mut) {
        found.retain(|rule| !(dialect.is_narrowed(rule, cohort) && is_given(dialect, rule, backends, names)));
    }
    Cow::Owned(plain)
}

/// The operations that lead to these backends of a route without a cohort's rules: list by list, or, where such rules are put in or taken
/// out, by the rules as a whole.
pub fn change(
    dialect: &dyn Dialect,
    live: &Value,
    names: Names<'_>,
    (plain, wanted): (Cow<'_, Value>, Vec<(String, Vec<Value>)>),
    cohort: Option<&Cohort>,
) -> Vec<Value> {
    let alone = cohort.is_none() && matches!(plain, Cow::Borrowed(_));
    let (rules, _) = dialect.rules();
    let mut whole = plain.into_owned();
    for (path, backends) in wanted {
        if let Some(found) = whole.pointer_mut(&path) {
            *found = Value::from(backends);
        }
    }
    if let Some(cohort) = cohort {
        insert(dialect, &mut whole, names, cohort);
    }
    let mut paths = dialect.lists(&whole);
    if !alone {
        paths.retain(|path| !path.starts_with(rules));
        paths.push(rules.to_owned());
    }
    let differs = paths.iter().filter_map(|path| {
        let found = whole.pointer(path).filter(|found| live.pointer(path) != Some(*found))?;
        Some(json!({"op": "replace", "path": path, "value": found}))
    });
    differs.collect()
}

/// Puts a rule for a cohort before each rule of a split route that has both tracks and can have such requests.
fn insert(dialect: &dyn Dialect, route: &mut Value, names: Names<'_>, cohort: &Cohort) {
    let (rules, backends) = dialect.rules();
    let Some(found) = route.pointer_mut(rules).and_then(Value::as_array_mut) else { return };
    let mut wanted = Vec::new();
    for rule in found.drain(..) {
        wanted.extend(given(dialect, &rule, backends, names, cohort));
        wanted.push(rule);
    }
    *found = wanted;
}

fn given(
    dialect: &dyn Dialect,
    rule: &Value,
    backends: &str,
    names: Names<'_>,
    cohort: &Cohort,
) -> Option<Value> {
    let split = tracks(dialect, rule, backends, names);
    let both = [Part::Stable, Part::Canary].iter().all(|part| split.iter().any(|(found, _)| found == part));
    if !both {
        return None;
    }
    let mut copy = rule.clone();
    let all = divided(dialect, list(rule, &format!("/{backends}")), names, 100)?;
    let fields = copy.as_object_mut()?;
    fields.insert(backends.to_owned(), Value::from(all));
    // A name is of one rule.
    fields.remove("name");
    // Where the release gets nothing at all, neither does a cohort.
    let served = is_given(dialect, &copy, backends, names);
    (served && dialect.narrow(&mut copy, cohort)).then_some(copy)
}

/// Tells whether a rule gives all of the release's share to the candidate.
fn is_given(dialect: &dyn Dialect, rule: &Value, backends: &str, names: Names<'_>) -> bool {
    let split = tracks(dialect, rule, backends, names);
    let weight = |part: Part| -> Option<u64> {
        let mut of = split.iter().filter(|(found, _)| *found == part).map(|(_, weight)| *weight);
        of.next().map(|first| first + of.sum::<u64>())
    };
    weight(Part::Stable) == Some(0) && weight(Part::Canary).is_some_and(|weight| weight > 0)
}

fn tracks(dialect: &dyn Dialect, rule: &Value, backends: &str, names: Names<'_>) -> Vec<(Part, u64)> {
    let found = list(rule, &format!("/{backends}")).iter();
    let one = |backend: &Value| {
        let weight = backend.get("weight").and_then(Value::as_u64).unwrap_or(1);
        (dialect.part(backend, names), weight)
    };
    found.map(one).collect()
}

/// Returns a regular expression (RE2) of the header `Cookie` that has this one among others.
pub fn cookie(name: &str, value: &str) -> String {
    format!("^(.*; *)?{}={}(;.*)?$", escaped(name), escaped(value))
}

fn escaped(text: &str) -> String {
    let special = |c: char| ".+*?()|[]{}^$\\".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}
