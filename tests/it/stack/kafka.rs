//! A genuine Kafka broker that is its own controller (`KRaft`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use tempfile::TempDir;

use super::build::maven_copy;
use super::cache::Artifact;
use super::kcat::{self, Message};
use super::process::{Process, guarded};
use super::{command, port};

const POM: &str = include_str!("kafka/pom.xml");
const LOGGING: &str = include_str!("kafka/log4j2.properties");

const START_LIMIT: Duration = Duration::from_secs(90);
const FORMAT_LIMIT: Duration = Duration::from_mins(1);

/// For a broker that lives for one test: the first compiler and the simplest collector start sooner and take less memory.
const JAVA: [&str; 3] = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// Sixteen bytes in base64. Each broker is alone, so they may share it; a random one begins with a dash once in a while, which
/// the formatting tool takes for a flag.
const CLUSTER_ID: &str = "aWRwLXRlc3QtY2x1c3Rlcg";

/// A broker without authentication, which makes topics that it does not know.
#[derive(Debug)]
pub struct Kafka {
    /// For `bootstrap.servers`.
    pub bootstrap: String,
    lib: PathBuf,
    running: Option<Process>,
    folder: TempDir,
}

impl Kafka {
    /// Starts a broker of one's own and returns it when it answers for its metadata.
    pub async fn launch() -> anyhow::Result<Self> {
        let lib = jars().await?;
        let folder = TempDir::new()?;
        let bootstrap = format!("127.0.0.1:{}", port::free()?);
        let controller = format!("127.0.0.1:{}", port::free()?);
        let properties = properties(&bootstrap, &controller, &folder.path().join("data"));
        fs::write(folder.path().join("server.properties"), properties)?;
        fs::write(folder.path().join("log4j2.properties"), LOGGING)?;
        let mut kafka = Self { bootstrap, lib, running: None, folder };
        kafka.format().await?;
        kafka.start().await?;
        Ok(kafka)
    }

    /// Ends the broker at once, as a machine does that loses power.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Starts it again, on the same port and with the same data; does nothing while it runs.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let mut java = guarded("java");
        java.args(self.java("kafka.Kafka")).arg("server.properties").current_dir(&self.folder);
        let mut broker = Process::spawn("kafka", java, &self.folder.path().join("kafka.log"))?;
        broker.ready(START_LIMIT, async || kcat::has_broker(&self.bootstrap).await).await?;
        self.running = Some(broker);
        Ok(())
    }

    /// Makes the broker accept connections and answer nothing, until [`Self::thaw`].
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.running.as_ref().context("freeze a stopped broker")?.freeze()
    }

    /// Lets a frozen broker go on.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.running.as_ref().context("thaw a stopped broker")?.thaw()
    }

    /// Makes a topic with this many partitions; one that makes itself has a single one.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create()?;
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for result in admin.create_topics([&topic], &AdminOptions::new()).await? {
            result.map_err(|(topic, code)| anyhow::anyhow!("create topic {topic}: {code}"))?;
        }
        Ok(())
    }

    /// Reads a topic from its beginning to where it ends now, with a client that is not ours.
    pub async fn consume(&self, topic: &str) -> anyhow::Result<Vec<Message>> {
        kcat::consume(&self.bootstrap, topic).await
    }

    /// Writes one message with a client that is not ours.
    pub async fn produce(
        &self,
        topic: &str,
        key: &str,
        headers: &[(&str, &str)],
        value: &str,
    ) -> anyhow::Result<()> {
        kcat::produce(&self.bootstrap, topic, key, headers, value).await
    }

    /// Gives the data folder its cluster id, without which a broker refuses to start.
    async fn format(&self) -> anyhow::Result<()> {
        let mut java = tokio::process::Command::new("java");
        java.args(self.java("kafka.tools.StorageTool"))
            .args(["format", "--cluster-id", CLUSTER_ID, "--config", "server.properties"])
            .current_dir(&self.folder);
        command::run(&mut java, FORMAT_LIMIT).await.map(drop)
    }

    fn java(&self, class: &str) -> Vec<String> {
        let mut args = JAVA.map(String::from).to_vec();
        args.push("-Dlog4j2.configurationFile=log4j2.properties".into());
        // Java itself expands the star.
        args.extend(["-cp".into(), self.lib.join("*").display().to_string(), class.into()]);
        args
    }
}

fn properties(bootstrap: &str, controller: &str, data: &Path) -> String {
    let data = data.display();
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{bootstrap},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{bootstrap}
log.dirs={data}
# A broker that was killed is let in again only when the session of its former self has run out: nine seconds by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# There is one broker to hold a replica, and few messages to spread.
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Nobody else is about to join a consumer group.
group.initial.rebalance.delay.ms=0
"
    )
}

/// Downloads the broker, or finds it downloaded, and returns the folder with its jars.
async fn jars() -> anyhow::Result<PathBuf> {
    let artifact = Artifact {
        name: "kafka",
        version: version()?,
        inputs: &[POM],
        cost: "43 MB from Maven, some seconds",
    };
    Ok(artifact.ensure(async |target| maven_copy("kafka", target).await).await?.join("lib"))
}

fn version() -> anyhow::Result<&'static str> {
    let (_, rest) = POM.split_once("<kafka.version>").context("pom.xml names no kafka.version")?;
    let (version, _) = rest.split_once('<').context("kafka.version does not end")?;
    Ok(version)
}
