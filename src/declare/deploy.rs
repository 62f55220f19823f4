//! Reads `deploy`: how a new version is rolled out, and when it is taken back.

use std::time::Duration;

use super::diagnostic::{Code, Diagnostic};
use super::gates;
use super::number;
use super::order;
use super::section::{At, Complaint, Section, cut};
use super::text;
use super::traffic::{cohort, traffic};
use super::tree::{Node, Style, Value};
use super::workload::{port, url_path};
use crate::model::declaration::{Probe, Tier};
use crate::model::desired::Mode;
use crate::model::policy::{
    Amount, CheckKind, HealthCheck, LatencyLimit, OnLowTraffic, OnUnknown, Order, Policy, Quantile, Rollback,
    Step, Strategy,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// Reads `deploy.mode`.
pub(super) fn mode(section: &Section<'_>) -> Mode {
    let known = [("apply", Mode::Apply), ("observe", Mode::Observe)];
    section.choice("mode", &known, &[]).unwrap_or(Mode::Apply)
}

/// Reads the policy of `deploy`, for a workload that serves on `served` in a service of this tier.
pub(super) fn policy(
    file: &Section<'_>,
    section: &Section<'_>,
    image: &Section<'_>,
    served: u16,
    tier: Tier,
) -> Policy {
    let declared = steps(section);
    let known = [Strategy::Rolling, Strategy::Canary, Strategy::BlueGreen, Strategy::Recreate];
    let strategy = section.choice("strategy", &known.map(|strategy| (strategy.name(), strategy)), &[]);
    let default = if section.entry("canary").is_some() { Strategy::Canary } else { Strategy::Rolling };
    let strategy = strategy.unwrap_or(default);
    if strategy == Strategy::Canary && section.entry("canary").is_none() {
        let at = section.entry("strategy").map_or(section.at, |entry| entry.node.at);
        let what = "`deploy.strategy` is canary and there are no steps";
        let fix =
            "write for example canary: [{weight: 10, pause: 5m}, {weight: 50, pause: 10m}, {weight: 100}]";
        section.error(Code::Missing, at, what, fix);
    }
    let (max_surge, max_unavailable) = amounts(section);
    let or = |found: Option<At<Duration>>, default: u64| {
        found.map_or(Duration::from_secs(default), |found| found.value)
    };
    let rollback = rollback(&section.section("rollback"), tier);
    let steps = match strategy {
        Strategy::Canary => declared,
        // The gate before the switch, then the bake with the old set still standing.
        Strategy::BlueGreen => {
            vec![Step::timed(0, Duration::ZERO), Step::timed(100, rollback.window)]
        }
        Strategy::Rolling | Strategy::Recreate | Strategy::Job => Vec::new(),
    };
    Policy {
        strategy,
        steps,
        traffic: traffic(&section.section("traffic")),
        progress_deadline: or(section.duration("progress_deadline", SECOND..=DAY), 600),
        image_wait: or(image.duration("wait", Duration::ZERO..=7 * DAY), 900),
        max_surge,
        max_unavailable,
        health: health(&section.section("healthcheck"), served),
        rollback,
        order: Order::default(),
        gates: gates::gates(section),
        slo: gates::objectives(file),
    }
}

/// Reads the steps of a canary; weights increase, and the last one of 100 is added where it is missing.
fn steps(section: &Section<'_>) -> Vec<Step> {
    let Some(items) = section.list("canary") else { return Vec::new() };
    let mut steps: Vec<Step> = Vec::new();
    let mut clean = true;
    for node in items {
        let step = section.inner(node, section.full("canary[]"));
        if step.entry("weight").is_none() {
            step.missing("weight", "write for example weight: 10");
        }
        let cohort = step.entry("match").and_then(|_| cohort(&step.section("match")));
        // Beside a cohort nobody else need be sent.
        let alone = step.entry("match").is_none();
        let weight = step.number("weight", u64::from(alone)..=100);
        let (pause, manual) = pause(&step);
        let approve = step.entry("approve").map(|_| order::approval(&step.section("approve")));
        let last = steps.last().map_or(0, |step| step.weight);
        let Some((at, weight)) = weight.and_then(|found| Some((found.at, u8::try_from(found.value).ok()?)))
        else {
            clean = false;
            continue;
        };
        if cohort.is_some() && weight == 100 {
            let what = "`match` has no meaning at weight 100: everybody goes to the candidate";
            step.error(Code::Conflict, at, what, "remove it, or write a lower weight");
        }
        if weight < last || weight == last && alone {
            let what = format!("the weight {weight} is not above the step before, which has {last}");
            let said = Diagnostic::error(Code::Weights, at, what).why("a canary only ever grows");
            section.add(said.fix("put the steps in order, from 1 to 100"));
            clean = false;
        }
        steps.push(Step { weight, pause, manual, approve, cohort });
    }
    if items.is_empty() {
        let at = section.node("canary").map_or(section.at, |node| node.at);
        section.error(
            Code::Weights,
            at,
            "`deploy.canary` has no steps",
            "write for example [{weight: 10, pause: 5m}]",
        );
    } else if clean && steps.last().is_some_and(|step| step.weight < 100) {
        let at = items.last().map_or(section.at, |node| node.at);
        let what = "a last step of 100 was added to `deploy.canary`";
        section
            .add(Diagnostic::note(Code::FinalStep, at, what).fix("write - weight: 100 to say so yourself"));
        steps.push(Step::timed(100, Duration::ZERO));
    }
    steps
}

/// Reads `pause`: how long, and whether a person ends it.
fn pause(step: &Section<'_>) -> (Duration, bool) {
    let manual = match step.node("pause").map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.is_empty(),
        Some(Value::Text(text, _)) => text == "manual",
        _ => false,
    };
    if manual {
        return (Duration::ZERO, true);
    }
    let declared = step.duration("pause", Duration::ZERO..=30 * DAY);
    (declared.map_or(Duration::ZERO, |found| found.value), false)
}

/// Refuses cohorts where no route tells requests apart.
pub(super) fn without_route(section: &Section<'_>) {
    for node in section.list("canary").unwrap_or_default() {
        if let Some(entry) = section.inner(node, section.full("canary[]")).entry("match") {
            let what = "`match` has no meaning with provider replicas: no route tells requests apart";
            section.error(Code::Conflict, entry.at, what, "write provider: auto, or remove it");
        }
    }
}

/// Refuses weights that a candidate cannot have beside an autoscaler where traffic follows pods: it never has more of them than stable.
pub(super) fn beside_autoscaler(section: &Section<'_>) {
    for node in section.list("canary").unwrap_or_default() {
        let step = section.inner(node, section.full("canary[]"));
        let Some(Node { value: Value::Text(text, _), at }) = step.node("weight") else { continue };
        if let Ok(weight @ 51..=99) = text.parse::<u8>() {
            let what = format!("the weight {weight} is not to be had beside an autoscaler without a route");
            let said = Diagnostic::error(Code::Weights, *at, what)
                .why("traffic follows pods, and the candidate has no more of them than the autoscaler gives stable");
            section.add(said.fix(
                "write 50 or less, a route in `deploy.traffic`, or a number of pods in workload.replicas",
            ));
        }
    }
}

/// Reads `max_surge` and `max_unavailable`; Kubernetes refuses both to be none.
fn amounts(section: &Section<'_>) -> (Amount, Amount) {
    let surge = section.parsed("max_surge", amount);
    let unavailable = section.parsed("max_unavailable", amount);
    let none = |amount: Amount| matches!(amount, Amount::Count(0) | Amount::Percent(0));
    let surge_value = surge.map_or(Amount::Percent(25), |found| found.value);
    let unavailable_value = unavailable.map_or(Amount::Count(0), |found| found.value);
    if let (true, true, Some(found)) = (none(surge_value), none(unavailable_value), surge) {
        let what =
            "`deploy.max_surge` and `deploy.max_unavailable` are both 0: no pod could ever be replaced";
        section.error(Code::Conflict, found.at, what, "write max_surge: 1, or max_unavailable: 1");
    }
    (surge_value, unavailable_value)
}

fn amount(text: &str) -> Result<Amount, Complaint> {
    let parsed = match text.strip_suffix('%') {
        Some(number) => number.trim().parse().ok().filter(|percent| *percent <= 100).map(Amount::Percent),
        None => text.parse().ok().filter(|count| *count <= 10_000).map(Amount::Count),
    };
    parsed.ok_or_else(|| {
        let what = format!("{:?} is neither a number of pods nor a share of them", cut(text));
        Complaint(Code::Value, what, "write for example 1 or 25%".to_owned())
    })
}

/// Reads `healthcheck`.
fn health(section: &Section<'_>, served: u16) -> HealthCheck {
    let kind = check_kind(section);
    let ms = Duration::from_millis;
    let interval = section.duration("interval", ms(100)..=DAY);
    let interval_value = interval.map_or(10 * SECOND, |found| found.value);
    let timeout = section.duration("timeout", ms(10)..=DAY);
    let timeout_value = timeout.map_or((2 * SECOND).min(interval_value / 2), |found| found.value);
    if let Some(found) = timeout
        && found.value >= interval_value
    {
        let what = "`healthcheck.timeout` is not shorter than the interval";
        section.error(Code::Conflict, found.at, what, "write a shorter timeout, or a longer interval");
    }
    section.choice("target", &[("canary_pods", ())], &["service"]);
    let times = |key| section.number(key, 1..=100).and_then(|found| u32::try_from(found.value).ok());
    HealthCheck {
        kind,
        port: port(section).unwrap_or(served),
        interval: interval_value,
        timeout: timeout_value,
        threshold: times("threshold").unwrap_or(3),
        success_threshold: times("success_threshold").unwrap_or(1),
        initial_delay: section
            .duration("initial_delay", Duration::ZERO..=DAY)
            .map_or(Duration::ZERO, |found| found.value),
    }
}

/// Returns what kubelet asks where the workload does not say: the declared health check's question. `None`: nothing was declared, or
/// nothing but TCP on the workload's port.
pub(super) fn declared_probe(section: &Section<'_>) -> Option<Probe> {
    let port = section.entry("port").and_then(|_| port(section));
    let kind = check_kind(section);
    (kind != CheckKind::Tcp || port.is_some()).then_some(Probe { kind, port })
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Http,
    Grpc,
    Tcp,
    None,
}

fn check_kind(section: &Section<'_>) -> CheckKind {
    let known = [("http", Kind::Http), ("grpc", Kind::Grpc), ("tcp", Kind::Tcp), ("none", Kind::None)];
    let path = section.parsed("path", url_path);
    let default = if section.entry("path").is_some() { Kind::Http } else { Kind::Tcp };
    let kind = section.choice("type", &known, &[]).unwrap_or(default);
    let tls = section.choice("scheme", &[("http", false), ("https", true)], &[]);
    let status = section.parsed("status", statuses);
    match kind {
        Kind::None => CheckKind::None,
        Kind::Tcp => {
            only_http(section, "tcp");
            CheckKind::Tcp
        }
        Kind::Grpc => {
            only_http(section, "grpc");
            CheckKind::Grpc
        }
        Kind::Http => {
            if section.entry("path").is_none() {
                section.missing("path", "write for example path: /health");
            }
            CheckKind::Http {
                path: path.map_or_else(|| "/".to_owned(), |found| found.value),
                tls: tls.unwrap_or(false),
                status: status.map_or_else(|| vec![(200, 399)], |found| found.value),
            }
        }
    }
}

/// Says that keys belong to a check over HTTP.
fn only_http(section: &Section<'_>, kind: &str) {
    for key in ["path", "scheme", "status"] {
        if let Some(entry) = section.entry(key) {
            let what = format!("`healthcheck.{key}` has no meaning with type {kind}");
            let fix = "write type: http, or remove it; an environment removes it with null";
            section.error(Code::Conflict, entry.at, what, fix);
        }
    }
}

/// Parses accepted statuses: `200-399`, `200,204`.
fn statuses(text: &str) -> Result<Vec<(u16, u16)>, Complaint> {
    let wrong = || {
        let what = format!("{:?} are not statuses of HTTP", cut(text));
        Complaint(Code::Value, what, "write for example 200-399 or 200,204, within 100 to 599".to_owned())
    };
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (u16, u16) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        (100 <= low && low <= high && high <= 599).then_some((low, high))
    };
    let ranges: Option<Vec<_>> = text.split(',').take(33).map(range).collect();
    ranges.filter(|ranges| ranges.len() <= 32).ok_or_else(wrong)
}

fn rollback(section: &Section<'_>, tier: Tier) -> Rollback {
    let low_traffic =
        [("pass", OnLowTraffic::Pass), ("hold", OnLowTraffic::Hold), ("rollback", OnLowTraffic::Rollback)];
    let unknown =
        [("hold", OnUnknown::Hold), ("rollback", OnUnknown::Rollback), ("continue", OnUnknown::Continue)];
    let tier_default = if tier == Tier::Critical { OnLowTraffic::Hold } else { OnLowTraffic::Pass };
    section.choice("git", &[("status", ())], &["none", "revert_pr"]);
    let duration = |key, range, default: u64| {
        section.duration(key, range).map_or(Duration::from_secs(default), |found: At<Duration>| found.value)
    };
    let history = section.number("history", 0..=50).and_then(|found| u32::try_from(found.value).ok());
    Rollback {
        auto: section.flag("auto").unwrap_or(true),
        max_error_rate: Some(threshold(section, "on_error_rate", number::share).unwrap_or(0.01)),
        max_latency: latency(&section.section("on_latency")),
        max_restarts: threshold(section, "on_restarts", number::count).unwrap_or(2),
        min_requests: section.number("min_requests", 0..=1_000_000_000).map_or(100, |found| found.value),
        window: duration("window", SECOND..=DAY, 120),
        on_low_traffic: section.choice("on_low_traffic", &low_traffic, &[]).unwrap_or(tier_default),
        on_unknown: section.choice("on_unknown", &unknown, &[]).unwrap_or(OnUnknown::Hold),
        unknown_timeout: duration("unknown_timeout", SECOND..=7 * DAY, 3_600),
        hold: section.flag("hold").unwrap_or(true),
        history: history.unwrap_or(10),
    }
}

/// Reads `on_latency`; the limits in the order of their quantiles.
fn latency(section: &Section<'_>) -> Vec<LatencyLimit> {
    let limit = |quantile: Quantile| {
        let most = threshold(section, quantile.name(), number::latency)?;
        Some(LatencyLimit { quantile, most })
    };
    [Quantile::P50, Quantile::P95, Quantile::P99].into_iter().filter_map(limit).collect()
}

/// Reads a threshold; `>2` without quotes is YAML for a block of text and is recognised as what was meant.
fn threshold<T>(
    section: &Section<'_>,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, Complaint>,
) -> Option<T> {
    let entry = section.entry(key)?;
    if let Value::Text(_, Style::Block) = entry.node.value {
        let default = match key {
            "on_restarts" => ">2",
            "on_error_rate" => ">1%",
            _ => ">500ms",
        };
        section.add(text::block_scalar(entry.at, key, default));
        return None;
    }
    section.parsed(key, parse).map(|found| found.value)
}
