//! Reads `deploy.traffic`: what moves a share of traffic to the candidate.

use super::diagnostic::Code;
use super::section::{Complaint, Section, cut};
use crate::model::traffic::{Cohort, Provider, Traffic};

/// The longest name of an object (RFC 1123 subdomain, as Kubernetes takes it).
const NAME: usize = 253;

/// Reads the section. Whether the route is there is seen when a rollout begins.
pub(super) fn traffic(section: &Section<'_>) -> Traffic {
    let known = [
        ("auto", Provider::Auto),
        ("replicas", Provider::Replicas),
        ("gateway_api", Provider::GatewayApi),
        ("istio", Provider::Istio),
    ];
    let provider = section.choice("provider", &known, &["nginx"]).unwrap_or_default();
    let name = |key: &str| section.parsed(key, name).map(|found| found.value);
    let traffic = Traffic { provider, route: name("route"), gateway: name("gateway") };
    if provider == Provider::Replicas {
        for key in ["route", "gateway"] {
            if let Some(entry) = section.entry(key) {
                let what = format!(
                    "`deploy.traffic.{key}` has no meaning with provider replicas: no route moves the traffic"
                );
                let fix = "write provider: auto, or remove it; an environment removes it with null";
                section.error(Code::Conflict, entry.at, what, fix);
            }
        }
    }
    traffic
}

/// Reads `match` of a canary's step.
pub(super) fn cohort(section: &Section<'_>) -> Option<Cohort> {
    let mut cohort = Cohort::default();
    for (entry, found) in section.texts("header") {
        let name = entry.key.to_ascii_lowercase();
        if name == "cookie" {
            let what = "a header match of cookie would have to name all cookies at once";
            section.error(Code::Conflict, entry.at, what, "write cookie: {name: value} beside header");
        } else if !token(&name)
            || !found.value.chars().all(|c| c.is_ascii_graphic() || c == ' ')
            || found.value.is_empty()
        {
            let what = format!("{:?} is not a header with a value", cut(&entry.key));
            section.error(Code::Value, entry.at, what, "write for example x-tester: \"yes\"");
        }
        cohort.header.insert(name, found.value.to_owned());
    }
    for (entry, found) in section.texts("cookie") {
        let octet = |c: char| c.is_ascii_graphic() && !"\",;\\".contains(c);
        if !token(&entry.key) || found.value.is_empty() || !found.value.chars().all(octet) {
            let what = format!("{:?} is not a cookie with a value", cut(&entry.key));
            section.error(Code::Value, entry.at, what, "write for example beta: \"1\"");
        }
        if cohort.cookie.is_some() {
            let what = "one cookie can be asked for, since all of them are in one header";
            section.error(Code::Limit, entry.at, what, "keep one, and ask for a header beside it");
        }
        cohort.cookie = Some((entry.key.clone(), found.value.to_owned()));
    }
    if cohort == Cohort::default() {
        let fix = "write for example match: {header: {x-tester: \"yes\"}}, or remove it";
        section.error(Code::Missing, section.at, format!("`{}` has no condition", section.path), fix);
        return None;
    }
    Some(cohort)
}

/// A token of HTTP (RFC 9110, 5.6.2).
fn token(text: &str) -> bool {
    let of = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.len() <= 256 && text.chars().all(of)
}

/// Parses the name of an object.
pub(super) fn name(text: &str) -> Result<String, Complaint> {
    let label = |label: &str| {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        ends(label.chars().next())
            && ends(label.chars().last())
            && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    if text.len() <= NAME && text.split('.').all(label) {
        return Ok(text.to_owned());
    }
    let what = format!("{:?} is not the name of an object", cut(text));
    Err(Complaint(
        Code::Value,
        what,
        "write its name alone, as in edge: lower case, digits, - and .".to_owned(),
    ))
}
