//! A release as its record shows it.

use anyhow::Context as _;
use idp::cli::connect::releases_in;
use idp::model::record::Record;
use idp::model::rollout::Outcome;

use super::SOON;
use crate::stack::until;

/// One `Release` object.
#[derive(Clone)]
pub struct Release {
    client: kube::Client,
    pub namespace: String,
    pub service: String,
}

impl Release {
    pub fn new(client: &kube::Client, namespace: &str, service: &str) -> Self {
        Self { client: client.clone(), namespace: namespace.to_owned(), service: service.to_owned() }
    }

    /// Returns the object's UID and the record in it, where there is one.
    pub async fn read(&self) -> anyhow::Result<Option<(String, Record)>> {
        let api = releases_in(&self.client, &self.namespace);
        let object = match api.get_opt(&self.service).await {
            Ok(object) => object,
            // Before the daemon has installed the definition there is no such path.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => return Err(error.into()),
        };
        let Some(object) = object else { return Ok(None) };
        let Some(status) = object.data.get("status") else { return Ok(None) };
        let record = serde_json::from_value(status.clone()).with_context(|| format!("read {status}"))?;
        Ok(Some((object.metadata.uid.unwrap_or_default(), record)))
    }

    /// Waits until the record is as wanted and returns it.
    pub async fn until(&self, what: &str, holds: impl Fn(&Record) -> bool) -> anyhow::Result<Record> {
        let mut last = None;
        let found = until(what, SOON, async || {
            last = self.read().await?.map(|(_, record)| record);
            Ok(last.clone().filter(|record| holds(record)))
        })
        .await;
        found.with_context(|| format!("the record of {}: {}", self.service, shown(last.as_ref())))
    }

    /// Waits until the rollout of this commit has ended as said and nothing runs; returns the record.
    pub async fn until_ended(&self, commit: &str, outcome: Outcome) -> anyhow::Result<Record> {
        let what = format!("the rollout of {commit} to end as {}", outcome.name());
        let record =
            self.until(&what, |record| record.rollout.is_none() && ended(record, commit).is_some()).await?;
        anyhow::ensure!(ended(&record, commit) == Some(outcome), "{what}, and: {}", shown(Some(&record)));
        Ok(record)
    }

    /// Waits until the daemon has seen this commit as the head.
    pub async fn until_seen(&self, commit: &str) -> anyhow::Result<Record> {
        let what = format!("{commit} to be seen");
        self.until(&what, |record| record.head.as_ref().is_some_and(|head| head.commit == commit)).await
    }
}

/// Returns how the rollout of a commit ended, where it did.
pub fn ended(record: &Record, commit: &str) -> Option<Outcome> {
    let summaries = record.history.values().rev();
    let mut of_commit = summaries.filter(|summary| summary.revision.commit.as_str() == commit);
    of_commit.next().map(|summary| summary.outcome)
}

/// Returns the commit that is stable.
pub fn stable(record: &Record) -> Option<&str> {
    record.stable.as_ref().map(|stable| stable.version.revision.commit.as_str())
}

/// Describes a record for an error.
pub fn shown(record: Option<&Record>) -> String {
    let Some(record) = record else { return "none".to_owned() };
    let rollout = record.rollout.as_ref().map(|rollout| &rollout.stage);
    let verdicts = rollout.map(|stage| stage.verdicts.values().map(ToString::to_string).collect::<Vec<_>>());
    let history = record
        .history
        .iter()
        .map(|(number, summary)| format!("{number}: {:?}, {}", summary.outcome, summary.verdict));
    format!(
        "{} ({}), verdicts {verdicts:?}, history {:?}",
        record.phase,
        record.message,
        history.collect::<Vec<_>>()
    )
}
