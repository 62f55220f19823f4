//! kcat, a consumer and producer that shares no code with this crate's own use of Kafka but librdkafka.

use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tokio::process::Command;

use super::command;
use super::require::kcat_program;

const LIMIT: Duration = Duration::from_mins(1);

/// One message as it lies in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    /// In their order, with repetitions.
    pub headers: Vec<(String, String)>,
    /// `None` for a tombstone.
    pub value: Option<String>,
}

/// What kcat prints for a message with `-J`.
#[derive(Deserialize)]
struct Line {
    partition: i32,
    offset: i64,
    key: Option<String>,
    /// Names and values in turn.
    #[serde(default)]
    headers: Vec<String>,
    payload: Option<String>,
}

impl From<Line> for Message {
    fn from(line: Line) -> Self {
        let Line { partition, offset, key, headers, payload } = line;
        let headers = headers
            .chunks_exact(2)
            .filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone())))
            .collect();
        Self { partition, offset, key, headers, value: payload }
    }
}

/// Reads every partition of a topic from the beginning to its present end.
pub async fn consume(bootstrap: &str, topic: &str) -> anyhow::Result<Vec<Message>> {
    let mut kcat = kcat(bootstrap);
    kcat.args(["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J"]);
    command::run(&mut kcat, LIMIT)
        .await?
        .lines()
        .map(|line| Ok(serde_json::from_str::<Line>(line).with_context(|| format!("read {line}"))?.into()))
        .collect()
}

/// Writes one message and waits until the broker has it.
pub async fn produce(
    bootstrap: &str,
    topic: &str,
    key: &str,
    headers: &[(&str, &str)],
    value: &str,
) -> anyhow::Result<()> {
    // A file given by name is one message, whatever is in it.
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(&file, value)?;
    let mut kcat = kcat(bootstrap);
    kcat.args(["-P", "-t", topic, "-k", key]);
    for (name, value) in headers {
        kcat.args(["-H", &format!("{name}={value}")]);
    }
    kcat.arg(file.path());
    command::run(&mut kcat, LIMIT).await.map(drop)
}

/// Tells whether a broker answers there and knows of itself.
pub async fn has_broker(bootstrap: &str) -> bool {
    let mut kcat = kcat(bootstrap);
    kcat.args(["-L", "-m", "2"]);
    command::run(&mut kcat, LIMIT).await.is_ok_and(|metadata| metadata.contains(" 1 brokers:"))
}

fn kcat(bootstrap: &str) -> Command {
    let mut kcat = Command::new(kcat_program());
    kcat.args(["-b", bootstrap]);
    kcat
}
