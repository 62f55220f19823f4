//! Reads `deploy.traffic`: what moves a share of traffic to the candidate.

use super::diagnostic::Code;
use super::section::{Complaint, Section, cut};
use crate::model::traffic::{Provider, Traffic};

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

fn name(text: &str) -> Result<String, Complaint> {
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
