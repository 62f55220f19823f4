//! Starts every part, merges the pull requests one after the other, and notes what each witness saw.

use std::sync::Arc;

use anyhow::Context as _;
use idp::model::record::Record;
use idp::model::rollout::Outcome;
use idp::sandbox::Load;
use k8s_openapi::api::core::v1::{ConfigMap, Event as KubernetesEvent};
use kube::api::{Api, ListParams};

use super::super::SOON;
use super::super::daemon::{Daemon, Setup};
use super::super::events::until_published;
use super::super::ground::Ground;
use super::super::release::Release;
use super::super::team::Team;
use super::{Chapter, DECLARATION, NAMESPACE, RELEASE, SERVICE, TEAM, TOPIC, Told};
use crate::lease::HOME;
use crate::stack::{self, CommitStatus, Gitea, Kafka, Prometheus, until};

/// Requests a second, over all pods: enough that 5 % errors show within a step.
const RATE: f64 = 250.0;
const HOOK_SECRET: &str = "a secret of forge and daemon";
/// Where the daemon's word about the release stands on a commit.
const CONTEXT: &str = "idp/production/checkout";

struct Teller {
    ground: Ground,
    daemon: Daemon,
    team: Team,
    release: Release,
    kafka: Arc<Kafka>,
    _gitea: Arc<Gitea>,
    prometheus: Prometheus,
    _load: Load,
}

/// Tells the story.
pub async fn tell() -> anyhow::Result<Told> {
    let teller = Teller::start().await?;
    let story = Box::pin(teller.story()).await;
    teller.daemon.explain(story)
}

impl Teller {
    async fn start() -> anyhow::Result<Self> {
        let (ground, gitea, kafka) = tokio::try_join!(Ground::lay(), stack::gitea(), stack::kafka())?;
        ground.restrict(NAMESPACE).await?;
        let team = Team::new(&gitea, "mia", "shop", "web").await?;
        std::fs::write(ground.file("hook-secret"), HOOK_SECRET)?;
        std::fs::write(ground.file("token"), &team.repo.forge.token)?;
        let setup = Setup {
            kubeconfig: &ground.api.kubeconfig,
            sources: source(&team),
            kafka: (&kafka.bootstrap, TOPIC),
            environment: "",
        };
        let daemon = Daemon::prepare(&ground, &setup)?;
        daemon.explain(daemon.start().await)?;
        let hook = format!("{}/hooks/web", daemon.url);
        team.repo.create_webhook(&hook, HOOK_SECRET, &["push", "pull_request", "pull_request_label"]).await?;
        let scrape = format!(
            "scrape_configs: [{{ job_name: idpd, scrape_interval: 1s, static_configs: [{{ targets: ['{}'] }}] }}]",
            daemon.url.trim_start_matches("http://")
        );
        let prometheus = stack::prometheus(&scrape).await?;
        let release = Release::new(&ground.client, NAMESPACE, SERVICE);
        let load = ground.load(NAMESPACE, SERVICE, RATE);
        Ok(Self { ground, daemon, team, release, kafka, _gitea: gitea, prometheus, _load: load })
    }

    async fn story(&self) -> anyhow::Result<Told> {
        let files = [(".idp/deploy.yaml", DECLARATION), ("app.txt", "one")];
        let first = self.rollout("The first version", &files, "v1", Outcome::Promoted).await?;
        let good = self.rollout("Faster", &[("app.txt", "two")], "v2", Outcome::Promoted).await?;
        let bad = self
            .rollout("A clever cache", &[("app.txt", "three")], "v3.errors-5", Outcome::RolledBack)
            .await?;
        let unrelated = self.unrelated("How to run it", &[("README.md", "Just do.")]).await?;
        let status = self.ground.idp(&["status"]).await?;
        let explanation = self.ground.idp(&["explain", RELEASE]).await?;
        let revert = self.revert("Revert \"A clever cache\"", &[("app.txt", "two")]).await?;
        let crash =
            self.rollout("A new framework", &[("app.txt", "four")], "v4.crash", Outcome::RolledBack).await?;
        let fix = self.rollout("It starts now", &[("app.txt", "five")], "v5", Outcome::Promoted).await?;
        let (uid, record) = self.release.read().await?.context("read the release")?;
        let abandoned = self.team.abandon("An idea", &[("app.txt", "six")]).await?;
        let deliveries = self.until_told(abandoned).await?;
        let published = until_published(&self.kafka, TOPIC, RELEASE, (&uid, record.sequence)).await?;
        Ok(Told {
            uid,
            first,
            good,
            bad,
            unrelated,
            revert,
            crash,
            fix,
            status,
            explanation,
            deliveries,
            abandoned,
            table: self.table().await?,
            announced: self.announced(&record).await?,
            published,
            metrics: stack::http_client()?
                .get(format!("{}/metrics", self.daemon.url))
                .send()
                .await?
                .text()
                .await?,
            counted: self.counted().await?,
            accepted_hooks: self.prometheus.query(r#"idp_webhook_requests_total{result="accepted"}"#).await?,
        })
    }

    /// Merges a change that rolls out. Its image is pushed only when the daemon has said that it waits for it, as CI does that is
    /// slower than the hook.
    async fn rollout(
        &self,
        title: &str,
        files: &[(&str, &str)],
        behaviour: &str,
        outcome: Outcome,
    ) -> anyhow::Result<Chapter> {
        let commit = self.team.merge(title, files).await?;
        self.until_said(&commit, |status| status.state == "pending").await?;
        self.ground.registry.push_as(&format!("{TEAM}/{SERVICE}"), &commit, behaviour);
        let record = self.release.until_ended(&commit, outcome).await?;
        self.chapter(commit, record).await
    }

    /// Merges a change of nothing that the service watches: its release does not even hear of it, so the source tells when it was seen.
    async fn unrelated(&self, title: &str, files: &[(&str, &str)]) -> anyhow::Result<Chapter> {
        let commit = self.team.merge(title, files).await?;
        let maps: Api<ConfigMap> = Api::namespaced(self.ground.client.clone(), HOME);
        until("the source to show the commit", SOON, async || {
            let map = maps.get("idp-source-web").await?;
            Ok(map.data.and_then(|data| data.get("status.json")?.contains(&commit).then_some(())))
        })
        .await?;
        let (_, record) = self.release.read().await?.context("read the release")?;
        Ok(Chapter { statuses: self.team.repo.statuses(&commit).await?, commit, record })
    }

    /// Merges a change back to what is stable.
    async fn revert(&self, title: &str, files: &[(&str, &str)]) -> anyhow::Result<Chapter> {
        let commit = self.team.merge(title, files).await?;
        let record = self.release.until_seen(&commit).await?;
        self.chapter(commit, record).await
    }

    async fn chapter(&self, commit: String, record: Record) -> anyhow::Result<Chapter> {
        let last = |status: &CommitStatus| {
            status.state != "pending" && !status.description.contains("is being taken back")
        };
        let statuses = self.until_said(&commit, last).await?;
        Ok(Chapter { commit, statuses, record })
    }

    /// Waits until the newest word about a commit is as wanted, and returns all, the oldest first.
    async fn until_said(
        &self,
        commit: &str,
        wanted: impl Fn(&CommitStatus) -> bool,
    ) -> anyhow::Result<Vec<CommitStatus>> {
        until(&format!("the forge to show what became of {commit}"), SOON, async || {
            let mut statuses = self.team.repo.statuses(commit).await?;
            statuses.retain(|status| status.context == CONTEXT);
            statuses.reverse();
            Ok(statuses.last().is_some_and(&wanted).then_some(statuses))
        })
        .await
    }

    /// Waits until the forge has told that a pull request is closed, and returns what became of the last deliveries.
    async fn until_told(&self, number: u64) -> anyhow::Result<serde_json::Value> {
        let closed = format!("pull request {number} into main: closed");
        until(&format!("the forge to tell that pull request {number} is closed"), SOON, async || {
            let deliveries = self.ground.idp(&["deliveries", "--daemon", &self.daemon.url]).await?;
            Ok(deliveries.to_string().contains(&closed).then_some(deliveries))
        })
        .await
    }

    async fn table(&self) -> anyhow::Result<String> {
        let output = self.ground.api.kubectl(&["get", "releases", "--all-namespaces"]).await?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Returns the Kubernetes events once there are as many as transitions: they are sent after the record is written.
    async fn announced(&self, record: &Record) -> anyhow::Result<Vec<KubernetesEvent>> {
        let events: Api<KubernetesEvent> = Api::namespaced(self.ground.client.clone(), NAMESPACE);
        let transitions = usize::try_from(record.sequence)?;
        until("the Kubernetes events", SOON, async || {
            let params = ListParams::default().fields("involvedObject.kind=Release");
            let found = events.list(&params).await?.items;
            Ok((found.len() >= transitions).then_some(found))
        })
        .await
    }

    /// Returns how many rollouts ended how, once a scrape has seen the last one.
    async fn counted(&self) -> anyhow::Result<Vec<crate::stack::Sample>> {
        let query = "sum by (outcome) (idp_rollouts_total)";
        until("a scrape that has seen all rollouts", SOON, async || {
            let samples = self.prometheus.query(query).await?;
            let all: f64 = samples.iter().map(|sample| sample.value).sum();
            Ok((all >= 5.0).then_some(samples))
        })
        .await
    }
}

fn source(team: &Team) -> String {
    let repo = &team.repo;
    format!(
        r"  - name: web
    url: {}/{}/{}.git
    credentials: {{token_file: token}}
    # What is seen in time is seen by a hook.
    poll: 24h
    webhook: {{forge: gitea, secret_file: hook-secret}}
    status: {{token_file: token}}
",
        repo.forge.url, repo.owner, repo.name
    )
}
