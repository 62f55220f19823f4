//! Prometheus scrapes and answers.

use std::collections::BTreeMap;

use super::super::{Sample, prometheus, require, until};
use super::SOON;

#[tokio::test]
async fn prometheus_scrapes_itself() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let config = "scrape_configs: [{ job_name: self, scrape_interval: 1s, static_configs: [{ targets: ['{{self}}'] }] }]";
    let mut prometheus = prometheus(config).await?;
    let found = until("a first scrape", SOON, async || Ok(prometheus.query("up").await?.pop())).await?;
    let labels =
        [("__name__", "up"), ("instance", prometheus.url.trim_start_matches("http://")), ("job", "self")];
    let labels: BTreeMap<String, String> = labels.map(|(name, value)| (name.into(), value.into())).into();
    assert_eq!(found, Sample { labels, value: 1.0 });
    assert_eq!(
        prometheus.query("scalar(vector(2))").await?,
        [Sample { labels: BTreeMap::new(), value: 2.0 }]
    );
    prometheus.freeze()?;
    prometheus.thaw()
}
