//! The registry as a whole: names, text, what a release leaves behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::event::catalogue::stories::{failing, stories, transition, version};
use crate::event::outbox::tests::record;
use crate::event::status::tests::rollout;
use crate::model::name::ReleaseKey;
use crate::model::record::{Record, Totals};
use crate::model::rollout::Outcome;
use crate::model::transition::Kind;

/// Compares the generated part of a document, between `<!-- generated -->` and `<!-- end -->`, with what the code says; with
/// `IDP_UPDATE_DOCS=1` writes it instead.
pub fn check_document(path: &str, generated: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("<!-- generated -->\n").unwrap();
    let (found, after) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var("IDP_UPDATE_DOCS").is_ok() {
        let new = format!("{before}<!-- generated -->\n{generated}<!-- end -->{after}");
        std::fs::write(&file, new).unwrap();
    } else {
        assert_eq!(
            found, generated,
            "{path} does not say what the code does: run the test with IDP_UPDATE_DOCS=1"
        );
    }
}

fn key() -> ReleaseKey {
    "hello.production".parse().unwrap()
}

/// A registry in which every metric has a series.
fn filled() -> Metrics {
    let metrics = Metrics::register().unwrap();
    for story in stories() {
        metrics.releases.transition(&story);
    }
    metrics.releases.record(&key(), &Record { rollout: Some(rollout()), ..totals() });
    let (second, source) = (Duration::from_secs(1), "hello".parse().unwrap());
    metrics.releases.push_to_applied(&key().environment, second);
    metrics.sources.succeeded(&source, "changed", 1000, jiff::Timestamp::UNIX_EPOCH);
    metrics.sources.failed(&source);
    let at = Some(jiff::Timestamp::UNIX_EPOCH);
    let stands = SourceStands {
        last_look: at,
        last_change: at,
        last_webhook: at,
        problems: Some(0),
        interval: Some(60),
        ..SourceStands::default()
    };
    metrics.sources.stand([(&source, stands)]);
    metrics.sources.cached(&source, 1000);
    metrics.hooks.request(Some(&source), "gitea", "accepted");
    metrics.queue.depth(3);
    metrics.queue.late(second);
    metrics.queue.pass("ok", second);
    metrics.queue.stage(Stage::Fetch, second);
    metrics.cluster.request("get", "Release", Answered::Status(200), second);
    metrics.cluster.leader(true);
    metrics.events.published("dev.cdevents.service.upgraded.0.3.0", second);
    metrics.events.failed("nonsense", "timeout");
    metrics.events.unsendable("nonsense");
    metrics.events.status("sent");
    metrics
}

fn totals() -> Record {
    let mut record = record();
    record.totals.rollouts.insert(Totals::rollout_key(Outcome::Promoted, false), 8);
    record.totals.rollouts.insert(Totals::rollout_key(Outcome::RolledBack, false), 3);
    record.totals.rollouts.insert(Totals::rollout_key(Outcome::RolledBack, true), 2);
    record.totals.rollouts.insert("Nonsense".into(), 99);
    record.totals.rollbacks.insert("error_rate".into(), 5);
    record.totals.verdicts.insert("error_rate/fail".into(), 5);
    record
}

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.render();
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn every_registered_metric_has_a_series_and_a_line_in_the_document() {
    let metrics = filled();
    let text = metrics.render();
    for described in metrics.described() {
        assert!(
            text.contains(&format!("# TYPE {} {}\n", described.name, described.kind)),
            "{}",
            described.name
        );
    }
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
    let head = "| name | type | labels | what it tells |\n|---|---|---|---|\n".to_owned();
    let rows = metrics.described().iter().map(|Described { name, kind, labels, help }| {
        format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "))
    });
    let process =
        "| `process_*` | | | CPU seconds, open files and their limit, memory, start time and threads. |\n"
            .to_owned();
    let table: String = std::iter::once(head).chain(rows).chain([process]).collect();
    check_document("docs/metrics.md", &table);
}

#[test]
fn promtool_finds_nothing_to_say() {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        let required = std::env::var("IDP_REQUIRE_STACK").is_ok_and(|value| value == "1");
        assert!(!required, "promtool is required and not on the PATH");
        eprintln!("SKIPPED: no promtool on the PATH");
        return;
    };
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), filled().render().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn counters_go_on_where_the_process_before_stopped() {
    let metrics = Metrics::register().unwrap();
    metrics.releases.record(&key(), &totals());
    let promoted =
        r#"idp_rollouts_total{environment="production",outcome="Promoted",service="hello",stage="full"}"#;
    let failures = r#"idp_change_failures_total{environment="production",service="hello",team="team"}"#;
    let deployments = r#"idp_deployments_total{environment="production",service="hello",team="team"}"#;
    assert_eq!(value(&metrics, promoted), Some(8.0));
    assert_eq!(value(&metrics, deployments), Some(8.0));
    // What a canary caught is none.
    assert_eq!(value(&metrics, failures), Some(3.0));
    assert!(!metrics.render().contains("Nonsense"));
    // A transition counts once, whether the record that has it comes after it or not.
    for story in stories().iter().take(6) {
        metrics.releases.transition(story);
    }
    let mut record = totals();
    *record.totals.rollouts.get_mut("Promoted/full").unwrap() += 1;
    metrics.releases.record(&key(), &record);
    metrics.releases.record(&key(), &record);
    assert_eq!(value(&metrics, promoted), Some(9.0));
    assert_eq!(value(&metrics, deployments), Some(9.0));
}

#[test]
fn series_vanish_when_a_release_does() {
    let metrics = Metrics::register().unwrap();
    let other: ReleaseKey = "hello.staging".parse().unwrap();
    for release in [key(), other] {
        metrics.releases.record(&release, &totals());
    }
    for story in stories() {
        metrics.releases.transition(&story);
    }
    metrics.releases.remove(&key());
    let text = metrics.render();
    assert!(!text.contains(r#"environment="production",service="hello""#), "{text}");
    assert!(
        text.contains(r#"environment="staging",health="Healthy",phase="Stable",service="hello""#),
        "{text}"
    );
}

#[test]
fn a_release_has_one_info_series_whatever_it_went_through() {
    let metrics = Metrics::register().unwrap();
    let mut record = totals();
    for phase in ["Stable", "Preparing", "Progressing", "RollingBack", "Stable"] {
        record.phase = phase.into();
        metrics.releases.record(&key(), &record);
    }
    let text = metrics.render();
    let series: Vec<&str> = text.lines().filter(|line| line.starts_with("idp_release_info{")).collect();
    assert_eq!(series.len(), 1, "{series:?}");
    assert!(series[0].contains(r#"phase="Stable""#), "{series:?}");
}

#[test]
fn recovery_is_measured_from_the_failed_verdict() {
    let metrics = Metrics::register().unwrap();
    let mut failed = transition(Some(8), Kind::GateFailed { verdict: failing(), image: None }, "failed");
    let healthy = transition(None, Kind::HealthyAgain { version: version("a") }, "healthy again");
    failed.at = healthy.at - jiff::SignedDuration::from_secs(30);
    for story in [&healthy, &failed, &healthy, &healthy] {
        metrics.releases.transition(story);
    }
    assert_eq!(value(&metrics, r#"idp_recovery_seconds_sum{environment="production"}"#), Some(30.0));
    assert_eq!(value(&metrics, r#"idp_recovery_seconds_count{environment="production"}"#), Some(1.0));
}

#[test]
fn ten_thousand_series_fit_a_megabyte() {
    let metrics = Metrics::register().unwrap();
    for number in 0..500 {
        metrics.releases.record(&format!("service-{number}.production").parse().unwrap(), &totals());
    }
    let text = metrics.render();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series > 5_000, "{series}");
    assert!(text.len() / series <= 100, "{} bytes a series", text.len() / series);
}
