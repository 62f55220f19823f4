//! What is counted: `/metrics`, scraped by a genuine Prometheus.

use std::time::Duration;

use super::told;
use crate::stack::{command, require};

#[tokio::test]
async fn prometheus_counts_what_was_told() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let told = told().await?;
    let of = |outcome: &str| {
        let mut samples = told
            .counted
            .iter()
            .filter(|sample| sample.labels.get("outcome").is_some_and(|label| label == outcome));
        samples.next().map(|sample| sample.value)
    };
    assert_eq!((of("Promoted"), of("RolledBack")), (Some(3.0), Some(2.0)), "{:?}", told.counted);
    let [hooks] = told.accepted_hooks.as_slice() else { panic!("one source: {:?}", told.accepted_hooks) };
    assert_eq!(hooks.labels.get("forge").map(String::as_str), Some("gitea"));
    assert!(hooks.value >= 7.0, "each merge was told by a hook: {hooks:?}");
    Ok(())
}

#[tokio::test]
async fn promtool_has_nothing_to_say() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &told().await?.metrics)?;
    let mut promtool = tokio::process::Command::new("sh");
    promtool.args(["-c", "promtool check metrics < \"$1\" 2>&1", "sh"]).arg(file.path());
    let said = command::run(&mut promtool, Duration::from_secs(30)).await?;
    assert_eq!(said, "");
    Ok(())
}
