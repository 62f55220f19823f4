//! Reads `gates` and `slo`: what a team measures beside what is always measured.

use std::collections::BTreeSet;
use std::time::Duration;

use super::diagnostic::Code;
use super::promql;
use super::reference;
use super::section::{At, Complaint, Section, cut};
use super::template;
use super::tree::Node;
use crate::model::gate::{self, Asks, DeclaredGate, JobGate, Measure, Slo, VARIABLES, When};
use crate::model::image::Digest;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
/// What a record has room for.
const GATES: usize = 10;
const OBJECTIVES: usize = 4;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Metric,
    Http,
    Job,
}

/// Reads `gates`.
pub(super) fn gates(deploy: &Section<'_>) -> Vec<DeclaredGate> {
    let mut names = BTreeSet::new();
    let items = items(deploy, "gates", GATES);
    let read = items.iter().filter_map(|node| one(&deploy.inner(node, deploy.full("gates[]")), &mut names));
    read.collect()
}

/// Reads `slo` of the file.
pub(super) fn objectives(file: &Section<'_>) -> Vec<Slo> {
    let mut names = BTreeSet::new();
    let items = items(file, "slo", OBJECTIVES);
    items.iter().filter_map(|node| objective(&file.inner(node, file.full("slo[]")), &mut names)).collect()
}

fn items<'t>(section: &Section<'t>, key: &str, most: usize) -> &'t [Node] {
    let items = section.list(key).unwrap_or_default();
    if let Some(node) = items.get(most) {
        let what = format!("`{}` has more than {most} entries", section.full(key));
        section.error(Code::Limit, node.at, what, "put what belongs together into one query");
    }
    items.get(..most.min(items.len())).unwrap_or_default()
}

fn name_of(section: &Section<'_>, names: &mut BTreeSet<String>) -> Option<String> {
    if section.node("name").is_none() {
        section.missing("name", "write for example name: checkout-success");
    }
    let At { value, at } = section.parsed("name", |text| {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let label = !text.is_empty() && text.len() <= 40 && text.chars().all(fine) && !text.starts_with('-');
        let what =
            format!("{:?} is not the name of a gate: at most 40 lower-case letters, digits and -", cut(text));
        let fix = "write for example checkout-success".to_owned();
        if label { Ok(text.to_owned()) } else { Err(Complaint(Code::Name, what, fix)) }
    })?;
    if !names.insert(value.clone()) {
        section.error(
            Code::Conflict,
            at,
            format!("there is another `{value}`"),
            "give each a name of its own",
        );
    }
    Some(value)
}

fn one(section: &Section<'_>, names: &mut BTreeSet<String>) -> Option<DeclaredGate> {
    let name = name_of(section, names);
    if section.node("type").is_none() {
        section.missing("type", "write type: metric, type: http, or type: job");
    }
    let known = [("metric", Kind::Metric), ("http", Kind::Http), ("job", Kind::Job)];
    let kind = section.choice("type", &known, &["policy", "slo"]);
    let whens = [("before", When::Before), ("during", When::During), ("after", When::After)];
    let when = section.choice("when", &whens, &[]).unwrap_or(When::During);
    let or = |found: Option<At<Duration>>, default| found.map_or(default, |found| found.value);
    let interval = or(section.duration("interval", SECOND..=DAY), 60 * SECOND);
    let timeout = if kind == Some(Kind::Job) {
        or(section.duration("timeout", SECOND..=DAY), 600 * SECOND)
    } else {
        or(section.duration("timeout", SECOND / 10..=600 * SECOND), 30 * SECOND)
    };
    let initial_delay = or(section.duration("initial_delay", Duration::ZERO..=DAY), Duration::ZERO);
    let limit = section.number("failure_limit", 0..=1_000).and_then(|found| u32::try_from(found.value).ok());
    let dry_run = section.flag("dry_run").unwrap_or(false);
    let asks = match kind? {
        Kind::Metric => metric(section).map(Asks::Measured),
        Kind::Http => http(section).map(Asks::Measured),
        Kind::Job => job(section).map(|job| Asks::Run { job }),
    };
    Some(DeclaredGate {
        name: name?,
        asks: asks?,
        when,
        interval,
        failure_limit: limit.unwrap_or(1),
        initial_delay,
        timeout,
        dry_run,
    })
}

/// Says that keys belong to another type.
fn foreign(section: &Section<'_>, keys: &[&str], kind: &str) {
    for key in keys {
        if let Some(entry) = section.entry(key) {
            let what = format!("`{}` has no meaning with type {kind}", section.full(key));
            section.error(Code::Conflict, entry.at, what, "remove it, or write another type");
        }
    }
}

fn metric(section: &Section<'_>) -> Option<Measure> {
    foreign(section, &["url", "command", "image", "retries"], "metric");
    let query = query(section, "query", "write for example query: sum(rate(checkout_ok_total[5m]))");
    let (min, max) = (section.parsed("min", number), section.parsed("max", number));
    match (min, max) {
        (Some(min), Some(max)) if min.value > max.value => {
            let what = format!("`{}` is above max: nothing could ever pass", section.full("min"));
            section.error(Code::Conflict, min.at, what, "write the smaller number as min");
        }
        (None, None) if section.entry("min").is_none() && section.entry("max").is_none() => {
            section.missing("min", "write the least that passes as min, or the most as max");
        }
        _ => {}
    }
    let bound = |found: Option<At<f64>>| found.map(|found| found.value);
    Some(Measure::Metric { query: query?, min: bound(min), max: bound(max) })
}

fn number(text: &str) -> Result<f64, Complaint> {
    let parsed = text.parse::<f64>().ok().filter(|value| value.is_finite());
    parsed.ok_or_else(|| {
        let what = format!("{:?} is not a number", cut(text));
        Complaint(Code::Value, what, "write for example 0.995".to_owned())
    })
}

/// Reads a query; what a server would refuse for sure is refused here.
fn query(section: &Section<'_>, key: &str, fix: &str) -> Option<String> {
    if section.node(key).is_none() {
        section.missing(key, fix);
    }
    let found = section.parsed(key, |text| {
        promql::check(text).map(|()| text.to_owned()).map_err(|(what, fix)| {
            Complaint(Code::Value, format!("this is no query: {what}"), fix.to_owned())
        })
    })?;
    templates(section, key, &found);
    Some(found.value)
}

/// Says which templates nobody fills in.
fn templates(section: &Section<'_>, key: &str, found: &At<String>) {
    for name in template::variables(&found.value) {
        if !VARIABLES.contains(&name) {
            let what = format!("`{}`: nothing fills in {{{{{name}}}}}", section.full(key));
            let fix = "known are {{version}}, {{commit.sha}}, {{env}} and {{service.name}}";
            section.error(Code::Template, found.at, what, fix);
        }
    }
}

fn http(section: &Section<'_>) -> Option<Measure> {
    foreign(section, &["query", "min", "max", "command", "image", "retries"], "http");
    if section.node("url").is_none() {
        section
            .missing("url", "write for example url: https://pact.example.com/can-i-deploy?v={{commit.sha}}");
    }
    let found = section.parsed("url", |text| {
        let wrong = |why: &str| {
            let what = format!("{:?} is not an address to ask: {why}", cut(text));
            Complaint(Code::Value, what, "write for example https://pact.example.com/can-i-deploy".to_owned())
        };
        if text.len() > 2_000 {
            return Err(wrong("it is longer than 2,000 characters"));
        }
        let filled = gate::fill(text, |name| VARIABLES.contains(&name).then(|| "x".to_owned()));
        let url = url::Url::parse(&filled).map_err(|_| wrong("it does not parse"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong("it needs https:// or http:// and a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("no credentials belong into a file that everybody reads"));
        }
        Ok(text.to_owned())
    })?;
    templates(section, "url", &found);
    Some(Measure::Http { url: found.value })
}

/// What a Job runs, once a stage: what is said of measurements that are made again has no meaning.
fn job(section: &Section<'_>) -> Option<JobGate> {
    let measured = ["url", "query", "min", "max", "interval", "failure_limit", "initial_delay"];
    foreign(section, &measured, "job");
    let command = section.text_list("command");
    if section.node("command").is_none() {
        section.missing("command", "write for example command: [/app/check, --dry-run]");
    } else if let (Some(entry), Some([])) = (section.entry("command"), command.as_deref()) {
        let what = format!("`{}` is empty: nothing would run", section.full("command"));
        section.error(Code::Value, entry.at, what, "write for example [/app/check, --dry-run]");
    }
    let command = command.filter(|words| !words.is_empty())?;
    for word in &command {
        templates(section, "command", &At { value: word.value.to_owned(), at: word.at });
    }
    let image = section.parsed("image", image);
    let named = section.entry("image").is_some();
    let retries = section.number("retries", 0..=10).and_then(|found| u32::try_from(found.value).ok());
    if named && image.is_none() {
        return None;
    }
    if let Some(image) = &image {
        templates(section, "image", image);
    }
    Some(JobGate {
        command: command.into_iter().map(|word| word.value.to_owned()).collect(),
        image: image.map(|found| found.value),
        retries: retries.unwrap_or(0),
    })
}

/// Checks a reference to an image, with its templates filled in by anything.
fn image(text: &str) -> Result<String, Complaint> {
    let filled = gate::fill(text, |name| VARIABLES.contains(&name).then(|| "x".to_owned()));
    let (name, digest) = match filled.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (filled.as_str(), None),
    };
    let (repository, tag) = reference::split(name);
    let fine = reference::is_repository(repository)
        && tag.is_none_or(reference::is_tag)
        && digest.is_none_or(|digest| digest.parse::<Digest>().is_ok());
    let what = || format!("{:?} is no reference to an image", cut(text));
    let fix = || "write for example registry.example.com/team/checks:1.4".to_owned();
    if fine { Ok(text.to_owned()) } else { Err(Complaint(Code::Value, what(), fix())) }
}

fn objective(section: &Section<'_>, names: &mut BTreeSet<String>) -> Option<Slo> {
    let name = name_of(section, names);
    if section.node("objective").is_none() {
        section.missing("objective", "write for example objective: 99.9");
    }
    let share = section.parsed("objective", |text| {
        let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
        let what = format!("{:?} is not a share of good events above 0 and below 100", cut(text));
        let complaint = || Complaint(Code::Value, what, "write for example 99.9".to_owned());
        number.filter(|number| *number > 0.0 && *number < 100.0).ok_or_else(complaint)
    });
    let window = section.duration("window", 60 * 60 * SECOND..=90 * DAY);
    let good = query(section, "good", "write the rate of good events");
    let total = query(section, "total", "write the rate of all events");
    let least = section.parsed("min_budget", |text| {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let what = format!("{:?} is not a share of the budget from 0% to 100%", cut(text));
        let complaint = || Complaint(Code::Threshold, what, "write for example 20%".to_owned());
        number.filter(|number| (0.0..=100.0).contains(number)).ok_or_else(complaint)
    });
    let measure = Measure::Budget {
        good: good?,
        total: total?,
        objective: share?.value / 100.0,
        window: window.map_or(30 * DAY, |found| found.value),
        min: least.map_or(0.0, |found| found.value / 100.0),
    };
    Some(Slo { name: name?, measure })
}
