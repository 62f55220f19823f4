//! A genuine Prometheus, from the PATH.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use super::process::{Process, guarded};
use super::{http, port};

const START_LIMIT: Duration = Duration::from_mins(1);

/// A Prometheus with one configuration.
#[derive(Debug)]
pub struct Prometheus {
    pub url: String,
    process: Process,
    _folder: TempDir,
}

/// One sample of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Element>),
    Scalar(Point),
}

#[derive(Deserialize)]
struct Element {
    metric: BTreeMap<String, String>,
    value: Point,
}

/// When, and what: a number in a string, since JSON knows neither infinity nor NaN.
#[derive(Deserialize)]
struct Point(#[expect(dead_code, reason = "it is the moment of the query")] f64, String);

impl Prometheus {
    /// Starts a Prometheus with this configuration, where `{{self}}` stands for its own address.
    pub async fn launch(config: &str) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let address = format!("127.0.0.1:{}", port::free()?);
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config.replace("{{self}}", &address))?;
        let mut command = guarded("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::spawn("prometheus", command, &folder.path().join("prometheus.log"))?;
        let mut prometheus = Self { url: format!("http://{address}"), process, _folder: folder };
        let ready = format!("{}/-/ready", prometheus.url);
        prometheus.process.ready(START_LIMIT, async || http::succeeds(&ready).await).await?;
        Ok(prometheus)
    }

    /// Evaluates an expression at this moment; a scalar is one sample without labels.
    pub async fn query(&self, expression: &str) -> anyhow::Result<Vec<Sample>> {
        let url =
            url::Url::parse_with_params(&format!("{}/api/v1/query", self.url), [("query", expression)])?;
        let answer = http::client()?.get(url).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{expression}: {status} {text}");
        let answer: Answer = serde_json::from_str(&text).with_context(|| format!("read {text}"))?;
        match answer.data {
            Data::Vector(elements) => {
                elements.into_iter().map(|element| element.value.into_sample(element.metric)).collect()
            }
            Data::Scalar(point) => Ok(vec![point.into_sample(BTreeMap::new())?]),
        }
    }

    /// Makes Prometheus accept connections and answer nothing, until [`Self::thaw`].
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.process.freeze()
    }

    /// Lets a frozen Prometheus go on.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.process.thaw()
    }
}

impl Point {
    fn into_sample(self, labels: BTreeMap<String, String>) -> anyhow::Result<Sample> {
        // Rust reads NaN, +Inf and -Inf as Prometheus writes them.
        let value = self.1.parse().with_context(|| format!("read the value {}", self.1))?;
        Ok(Sample { labels, value })
    }
}
