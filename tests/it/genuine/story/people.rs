//! What people see: commit statuses, the record, Kubernetes events, `kubectl` and `idp`.

use std::collections::BTreeMap;

use idp::model::rollout::{Hold, Outcome};

use super::super::release::{ended, stable};
use super::{Chapter, NAMESPACE, RELEASE, told};
use crate::stack::require;

fn states(chapter: &Chapter) -> Vec<&str> {
    let mut states: Vec<&str> = chapter.statuses.iter().map(|status| status.state.as_str()).collect();
    states.dedup();
    states
}

fn verdict(chapter: &Chapter) -> &str {
    chapter.statuses.last().map_or("", |status| status.description.as_str())
}

#[tokio::test]
async fn the_author_of_each_merge_hears_what_became_of_it() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let told = told().await?;
    for (number, promoted) in [(1, &told.first), (2, &told.good), (5, &told.fix)] {
        assert_eq!(states(promoted), ["pending", "success"]);
        assert_eq!(verdict(promoted), format!("rollout {number} was promoted: the version is stable"));
    }
    assert_eq!(states(&told.bad), ["pending", "failure"]);
    let said = verdict(&told.bad);
    assert!(
        said.starts_with("rolled back: error_rate fail: the candidate fails too many requests (value "),
        "{said}"
    );
    assert_eq!(states(&told.crash), ["pending", "failure"]);
    let said = verdict(&told.crash);
    assert!(said.starts_with("rolled back: pod_state fail: pod checkout-canary-"), "{said}");
    assert!(told.unrelated.statuses.is_empty(), "a commit that moves no service is nobody's news");
    assert_eq!(states(&told.revert), ["success"]);
    assert_eq!(verdict(&told.revert), "nothing to roll out: this version is stable");
    Ok(())
}

#[tokio::test]
async fn the_release_remembers_how_each_rollout_ended() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let told = told().await?;
    for chapter in [&told.first, &told.good, &told.fix] {
        assert_eq!(ended(&chapter.record, &chapter.commit), Some(Outcome::Promoted));
        assert_eq!(stable(&chapter.record), Some(chapter.commit.as_str()));
    }
    for chapter in [&told.bad, &told.unrelated, &told.revert, &told.crash] {
        assert_eq!(stable(&chapter.record), Some(told.good.commit.as_str()), "stable stays");
    }
    for chapter in [&told.bad, &told.unrelated, &told.revert] {
        let held: Vec<_> =
            chapter.record.held.iter().map(|(number, held)| (*number, held.hold, held.released)).collect();
        assert_eq!(held, [(3, Hold::Held, false)]);
        assert_eq!(chapter.record.rollouts, 3, "neither the unrelated commit nor the revert starts anything");
    }
    let end = &told.fix.record;
    assert_eq!(end.held.keys().copied().collect::<Vec<_>>(), [3, 4]);
    assert_eq!((end.rollouts, end.phase.as_str(), end.weight), (5, "Stable", 0));
    Ok(())
}

#[tokio::test]
async fn kubernetes_events_tell_every_transition_once() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let told = told().await?;
    let mut announced: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &told.announced {
        assert_eq!(event.involved_object.uid.as_deref(), Some(told.uid.as_str()));
        *announced.entry(event.reason.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let mut published: BTreeMap<&str, std::collections::BTreeSet<&str>> = BTreeMap::new();
    for event in &told.published {
        let time = event.data["context"]["timestamp"].as_str().unwrap_or_default();
        let _ = published.entry(event.transition()).or_default().insert(time);
    }
    let published: BTreeMap<&str, usize> =
        published.into_iter().map(|(name, times)| (name, times.len())).collect();
    assert_eq!(announced, published, "the same transitions as on the broker");
    for (reason, times) in [
        ("RolloutStarted", 5),
        ("Promoted", 3),
        ("GateFailed", 2),
        ("RolledBack", 2),
        ("Held", 2),
        ("RolloutFinished", 5),
    ] {
        assert_eq!(announced.get(reason), Some(&times), "{reason} in {announced:?}");
    }
    let failed = told.announced.iter().find(|event| event.reason.as_deref() == Some("GateFailed"));
    let failed = failed.expect("it was counted above");
    assert_eq!(failed.type_.as_deref(), Some("Warning"));
    Ok(())
}

#[tokio::test]
async fn kubectl_lists_the_release_with_its_columns() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let told = told().await?;
    let lines: Vec<Vec<&str>> = told.table.lines().map(|line| line.split_whitespace().collect()).collect();
    let [head, row] = lines.as_slice() else { panic!("one release: {}", told.table) };
    let columns =
        ["NAMESPACE", "NAME", "SERVICE", "ENVIRONMENT", "PHASE", "WEIGHT", "REVISION", "HEALTH", "AGE"];
    assert_eq!(head.as_slice(), columns);
    let short = &told.fix.commit[..10];
    let values = [NAMESPACE, "checkout", "checkout", "production", "Stable", "0", short, "Healthy"];
    assert_eq!(row[..8], values);
    Ok(())
}

#[tokio::test]
async fn each_delivery_has_an_outcome() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let told = told().await?;
    let rows = told.deliveries["deliveries"].as_array().expect("a list");
    let became = |event: &str, why: &str| {
        let is = |row: &&serde_json::Value| {
            row["event"] == event && row["why"].as_str().is_some_and(|said| said.starts_with(why))
        };
        rows.iter().find(is).map(|row| (row["outcome"].as_str(), row["id"].is_string()))
    };
    let number = told.abandoned;
    for (what, outcome) in [("labeled", "irrelevant"), ("closed", "irrelevant")] {
        let why = format!("pull request {number} into main: {what}");
        assert_eq!(became("pull_request", &why), Some((Some(outcome), true)), "{why}: {rows:#?}");
    }
    assert_eq!(became("push", "main moved"), Some((Some("accepted"), true)), "{rows:#?}");
    assert!(told.deliveries["refused"].as_array().is_some_and(Vec::is_empty), "{}", told.deliveries);
    Ok(())
}

#[tokio::test]
async fn the_command_line_says_why_it_is_held() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let told = told().await?;
    let row = &told.status["releases"][0];
    assert_eq!(row["release"], RELEASE);
    assert_eq!((&row["phase"], &row["sync"]), (&"Stable".into(), &"OutOfSync".into()), "{row}");
    assert_eq!(row["revision"], told.good.commit[..10]);
    let explanation = &told.explanation;
    let why = explanation["why"].as_str().unwrap_or_default();
    assert!(why.contains("is held and does not start again") && why.contains("error_rate"), "{why}");
    assert_eq!(explanation["held"].as_array().map(Vec::len), Some(1));
    let commands = explanation["commands"].to_string();
    assert!(commands.contains("idp rollout retry checkout.production"), "{commands}");
    Ok(())
}
