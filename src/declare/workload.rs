//! Reads `image` and `workload`: what ends in a pod, as the team wrote it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::diagnostic::{Code, Diagnostic, Place};
use super::keys;
use super::number::{self, Quantity};
use super::reference;
use super::section::{At, Complaint, Section, cut};
use super::template;
use super::tree::Value;
use crate::model::autoscale::{Autoscale, DEFAULT_CPU};
use crate::model::declaration::{ImageSource, Probe, RunAs, Workload};
use crate::model::policy::CheckKind;

/// Pods that one service can have.
const MOST_PODS: u64 = 10_000;

/// Reads `image` but its `wait`.
pub(super) fn image(section: &Section<'_>) -> ImageSource {
    let complaint = |what: String, fix: &str| Complaint(Code::Value, what, fix.to_owned());
    let repository = section.parsed("repository", |text| {
        let sample = sample(text);
        let (_, tag) = reference::split(&sample);
        if tag.is_some() || !reference::is_repository(&sample) {
            let what = format!("{:?} is not a repository", cut(text));
            return Err(complaint(what, "write for example registry.example.com/team/app, the tag in `tag`"));
        }
        Ok(text.to_owned())
    });
    let tag = section.parsed("tag", |text| {
        if reference::is_tag(&sample(text)) {
            return Ok(text.to_owned());
        }
        let what = format!("{:?} is not a tag", cut(text));
        Err(complaint(what, "write at most 128 letters, digits, '_', '.' and '-', or \"{{commit.sha}}\""))
    });
    let digest = section.parsed("digest", |text| {
        text.parse().map_err(|_| {
            let what = format!("{:?} is not a digest", cut(text));
            complaint(what, "write sha256: and 64 hexadecimal digits in lower case")
        })
    });
    for key in ["repository", "tag"] {
        if let Some(found) = section.text(key) {
            templates(section, key, found);
        }
    }
    if let (Some(tag), Some(digest)) = (&tag, &digest) {
        let what = "`image` names a tag and a digest";
        section.add(
            Diagnostic::error(Code::Conflict, tag.at.max(digest.at), what)
                .why("the digest alone decides what runs, and the tag would be ignored")
                .fix("keep one of the two; an environment removes the other with null"),
        );
    }
    ImageSource {
        repository: repository.map(|found| found.value),
        tag: tag.map(|found| found.value),
        digest: digest.map(|found| found.value),
    }
}

/// A text with values in the place of its templates, to check what will become of it.
fn sample(text: &str) -> String {
    let commit = "0123456789012345678901234567890123456789";
    let values =
        template::Values { commit: Some(commit), environment: "env", service: "service", team: "team" };
    template::fill(text, values)
}

/// Checks that all templates of a value are filled in.
fn templates(section: &Section<'_>, key: &str, found: At<&str>) {
    let path = section.full(key);
    let unsupported = |what: String| {
        Diagnostic::error(Code::Unsupported, found.at, what)
            .why("the text would reach the pod as it stands")
            .fix("remove it; the running version stays until then")
    };
    for name in template::variables(found.value) {
        if template::UNSUPPORTED.contains(&name) {
            section.add(unsupported(format!("`{path}`: {{{{{name}}}}} is not enforced by this version")));
        } else if !template::KNOWN.contains(&name) {
            let known: Vec<String> = template::KNOWN.iter().map(|known| (*known).to_owned()).collect();
            let near = keys::nearest(name, known.iter());
            let fix = near.map_or_else(
                || {
                    let known = "known are {{commit.sha}}, {{env}} and {{service.name}}";
                    format!("{known}; a text that needs braces of its own can stand in workload.files")
                },
                |near| format!("did you mean {{{{{near}}}}}?"),
            );
            let what = format!("`{path}`: nothing fills in {{{{{name}}}}}");
            section.error(Code::Template, found.at, what, fix);
        }
    }
    if found.value.contains("${resources.") {
        section
            .add(unsupported(format!("`{path}`: references to resources are not enforced by this version")));
    }
}

/// Reads `workload`. The probe falls back to the declared health check's question.
pub(super) fn workload(section: &Section<'_>, health: Option<Probe>) -> Workload {
    let limits = section.section("limits");
    let cpu = section.parsed("cpu", number::cpu);
    let cpu_limit = limits.parsed("cpu", number::cpu);
    let memory = section.parsed("memory", number::memory);
    let memory_limit = limits.parsed("memory", number::memory);
    below(section, "cpu", cpu.as_ref(), cpu_limit.as_ref());
    below(section, "memory", memory.as_ref(), memory_limit.as_ref());
    let text = |found: Option<At<Quantity>>| found.map(|found| found.value.text);
    Workload {
        port: port(section),
        cpu: text(cpu),
        memory: text(memory),
        cpu_limit: text(cpu_limit),
        memory_limit: text(memory_limit),
        command: words(section, "command"),
        args: words(section, "args"),
        env: env(section),
        files: files(section),
        run_as: run_as(section),
        termination_grace: grace(section),
        probe: probe(&section.section("probe")).or(health),
    }
}

/// Reads a port.
pub(super) fn port(section: &Section<'_>) -> Option<u16> {
    let found = section.number("port", 1..=u64::from(u16::MAX))?;
    u16::try_from(found.value).ok()
}

/// Reads `replicas`: the pods to begin with, and the bounds where it is the form for an autoscaler.
pub(super) fn replicas(section: &Section<'_>) -> (Option<u32>, Option<Autoscale>) {
    let Some(node) = section.node("replicas") else { return (None, None) };
    if let Value::Map(_) = node.value {
        let bounds = autoscale(&section.section("replicas"));
        return (bounds.map(|bounds| bounds.min), bounds);
    }
    (count(section, "replicas", 0..=MOST_PODS), None)
}

fn count(section: &Section<'_>, key: &str, range: RangeInclusive<u64>) -> Option<u32> {
    section.number(key, range).and_then(|found| u32::try_from(found.value).ok())
}

fn autoscale(section: &Section<'_>) -> Option<Autoscale> {
    for (key, fix) in [("min", "write for example min: 2"), ("max", "write for example max: 10")] {
        if section.node(key).is_none() {
            section.missing(key, fix);
        }
    }
    let (min, max) = (count(section, "min", 1..=MOST_PODS), count(section, "max", 1..=MOST_PODS));
    let cpu = count(section, "cpu", 1..=1_000).unwrap_or(DEFAULT_CPU);
    let (min, max) = (min?, max?);
    if min > max {
        let at = section.node("min").map_or(section.at, |node| node.at);
        let what = format!("`{}` is {min}, above `max`, which is {max}", section.full("min"));
        section.error(Code::Conflict, at, what, format!("write a min of at most {max}, or a larger max"));
        return None;
    }
    Some(Autoscale { min, max, cpu })
}

fn below(section: &Section<'_>, key: &str, request: Option<&At<Quantity>>, limit: Option<&At<Quantity>>) {
    if let (Some(request), Some(limit)) = (request, limit)
        && request.value.amount > limit.value.amount
    {
        let what = format!("`{}` is more than its limit", section.full(key));
        let fix = format!("write a {key} of at most {}", limit.value.text);
        section.error(Code::Conflict, request.at, what, fix);
    }
}

fn words(section: &Section<'_>, key: &str) -> Option<Vec<String>> {
    let found = section.text_list(key)?;
    for word in &found {
        templates(section, key, *word);
    }
    Some(found.into_iter().map(|word| word.value.to_owned()).collect())
}

fn env(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (entry, found) in section.texts("env") {
        let first = |c: char| c.is_ascii_alphabetic() || "_-.".contains(c);
        let name = entry.key.as_str();
        if !name.starts_with(first) || !name.chars().all(|c| first(c) || c.is_ascii_digit()) {
            let what = format!("{:?} is not the name of an environment variable", cut(name));
            section.error(Code::Name, entry.at, what, "write letters, digits and '_', no digit first");
        }
        templates(section, &format!("env.{}", cut(name)), found);
        env.insert(name.to_owned(), found.value.to_owned());
    }
    env
}

/// Reads `files`: absolute path and content. In the content only known templates are filled in, everything else is the file's own.
fn files(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut last: Vec<(&str, Place)> = Vec::new();
    for (entry, found) in section.texts("files") {
        let path = entry.key.as_str();
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
        let bad = |c: char| c == ':' || c.is_control();
        if path.len() > 500 || path.chars().any(bad) || parts.is_none_or(|mut parts| parts.any(odd)) {
            let what = format!("{:?} is not the path of a file in the container", cut(path));
            section.error(Code::Value, entry.at, what, "write for example /etc/my-service/config.yaml");
        }
        last.push((path, entry.at));
        files.insert(path.to_owned(), found.value.to_owned());
    }
    last.sort_unstable();
    for pair in last.windows(2) {
        if let [(folder, _), (path, at)] = pair
            && path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
        {
            let what = format!("{:?} lies in {:?}, which is a file itself", cut(path), cut(folder));
            section.error(Code::Conflict, *at, what, "give one of the two another path");
        }
    }
    files
}

fn run_as(section: &Section<'_>) -> Option<RunAs> {
    let parse = |text: &str| match text.parse::<u32>() {
        _ if text == "image" => Ok(RunAs::Image),
        Ok(uid) if uid > 0 && i32::try_from(uid).is_ok() => Ok(RunAs::Uid(uid)),
        Ok(0) => Err(Complaint(
            Code::Value,
            "0 is root, and pods are *restricted*".to_owned(),
            "write a user id from 1 that can read what the image brings".to_owned(),
        )),
        _ => Err(Complaint(
            Code::Value,
            format!("{:?} is neither a user id nor `image`", cut(text)),
            "write a number from 1, or image".to_owned(),
        )),
    };
    section.parsed("run_as", parse).map(|found| found.value)
}

fn grace(section: &Section<'_>) -> Option<Duration> {
    let longest = Duration::from_hours(1);
    section.duration("termination_grace", Duration::from_secs(1)..=longest).map(|found| found.value)
}

fn probe(section: &Section<'_>) -> Option<Probe> {
    let port = port(section);
    let kind = section.parsed("path", url_path).map(|found| CheckKind::Http {
        path: found.value,
        tls: false,
        status: vec![(200, 399)],
    });
    (kind.is_some() || port.is_some()).then(|| Probe { kind: kind.unwrap_or(CheckKind::Tcp), port })
}

/// Parses the path of a request.
pub(super) fn url_path(text: &str) -> Result<String, Complaint> {
    if text.starts_with('/') && text.len() <= 1_000 && text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    let what = format!("{:?} is not the path of a request", cut(text));
    Err(Complaint(Code::Value, what, "write for example /health, beginning with /".to_owned()))
}
