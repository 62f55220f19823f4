//! The daemon with exactly the rights of `examples/rbac.yaml`, as a service account of a genuine API server: nothing is forbidden to it, it uses
//! what it has, and what it lacks is said.

use std::collections::BTreeSet;

use anyhow::Context as _;
use idp::cluster::raw::resource;
use idp::model::rollout::Outcome;
use idp::sandbox::gateway::Gateway;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::json;

use super::SOON;
use super::account::{ACCOUNT, Account, granted};
use super::daemon::{Daemon, Setup};
use super::ground::Ground;
use super::routes::define;
use super::service::{NAMESPACE, Service};
use crate::stack::{kafka, require, until};

/// Rights that this story has no use for, and what they are for.
const ELSEWHERE: [(&str, &str); 15] = [
    ("create subjectaccessreviews.authorization.k8s.io", "who asks over HTTP, what that person may do"),
    ("create tokenreviews.authentication.k8s.io", "who asks over HTTP"),
    ("patch releases.idp.dev", "a command over HTTP"),
    ("get pods/proxy", "an environment with probe: proxy"),
    ("patch deployments/scale.apps", "an autoscaled stable that lost pods to a candidate is raised"),
    ("delete configmaps", "config that no kept version names any more"),
    ("get horizontalpodautoscalers.autoscaling", "read anew after a write that was refused or unanswered"),
    ("get cronjobs.batch", "a service of type cron"),
    ("create cronjobs.batch", "the same"),
    ("patch cronjobs.batch", "the same"),
    ("delete cronjobs.batch", "the same"),
    ("get httproutes.gateway.networking.k8s.io", "read anew after a write that was refused or unanswered"),
    ("get virtualservices.networking.istio.io", "the same"),
    ("get secrets", "the same"),
    (
        "update secrets",
        "what was changed directly under a stable version is kept with it before the next one comes",
    ),
];

/// What is taken from the account for a while, and a service whose next version needs it.
const TAKEN: [(&str, &str, &str); 3] =
    [("apps", "deployments", "patch"), ("", "secrets", "create"), ("idp.dev", "releases/status", "patch")];

/// Objects of every kind that a team may bring, around a StatefulSet.
const OWN: &str = r"
apiVersion: v1
kind: Service
metadata: {name: shelf}
spec: {clusterIP: None, selector: {app: shelf}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: shelf-conf}
data: {mode: fast}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: shelf}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: shelf}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: shelf}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shelf}
spec: {podSelector: {matchLabels: {app: shelf}}, policyTypes: [Egress], egress: [{}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shelf}
spec: {defaultBackend: {service: {name: shelf, port: {number: 8080}}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: shelf-agent}
spec:
  selector: {matchLabels: {app: shelf-agent}}
  template:
    metadata: {labels: {app: shelf-agent}}
    spec: {containers: [{name: agent, image: agent}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: shelf-index}
spec:
  replicas: 1
  serviceName: shelf
  selector: {matchLabels: {app: shelf-index}}
  template:
    metadata: {labels: {app: shelf-index}}
    spec: {containers: [{name: index, image: index}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: shelf}
spec:
  replicas: 2
  serviceName: shelf
  selector: {matchLabels: {app: shelf}}
  template:
    metadata: {labels: {app: shelf}}
    spec:
      containers:
        - name: app
          ports: [{containerPort: 8080}]
          envFrom: [{configMapRef: {name: shelf-conf}}]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
";

/// A declaration with this in place of `workload`, of a canary.
fn canary(name: &str, what: &str, gates: &str) -> String {
    format!(
        r#"service: {{name: {name}, team: shop}}
{what}
deploy:
  strategy: canary
  canary:
    - {{weight: 50, pause: 1s}}
    - {{weight: 100, pause: 1s}}
  healthcheck: {{path: /healthz, interval: 500ms, timeout: 450ms, threshold: 30}}
  rollback: {{on_restarts: ">0", window: 1s, history: 1}}
{gates}"#
    )
}

/// It runs the candidate's image.
const GATE: &str = "  gates: [{name: check, type: job, when: before, command: [/check], timeout: 1m}]\n";

#[tokio::test]
async fn the_rights_of_the_example_are_what_the_daemon_needs() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let (ground, kafka) = tokio::try_join!(Ground::lay(), kafka())?;
    define(&ground.client).await?;
    let account = Account::make(&ground).await?;
    let names = ["books", "films", "shelf", "press", "wide"];
    let mut services = Vec::new();
    for name in names {
        services.push(Service::create(&ground, name).await?);
    }
    let setup = Setup {
        kubeconfig: &account.kubeconfig,
        sources: services.iter().map(Service::source).collect(),
        kafka: (&kafka.bootstrap, "rights"),
        environment: "",
    };
    let daemon = Daemon::prepare(&ground, &setup)?;
    let story = Story { ground: &ground, services: &services, account: &account, daemon: &daemon };
    daemon.explain(story.play().await)
}

struct Story<'a> {
    ground: &'a Ground,
    services: &'a [Service],
    account: &'a Account,
    daemon: &'a Daemon,
}

impl Story<'_> {
    async fn play(&self) -> anyhow::Result<()> {
        let [books, films, bookshelf, press, wide] = self.services else { anyhow::bail!("five services") };
        let by_route = canary("books", "workload: {replicas: 2}", "");
        let by_mesh = canary("films", "workload: {replicas: 2}", "");
        let own = canary(
            "shelf",
            "source: {manifests: [./k8s/*.yaml], target: {kind: StatefulSet, name: shelf}}",
            "",
        );
        let job = "service: {name: press, team: shop, type: job}\nworkload: {timeout: 1m}\n";
        let scaled = canary("wide", "workload: {replicas: {min: 2, max: 3, cpu: 70}}", GATE);
        let numbered = canary("wide", "workload: {replicas: 2}", GATE);
        let own_files = [("k8s/all.yaml", OWN)];

        let first = books.merge_as("one", "v1", &by_route).await?;
        films.merge_as("one", "v1", &by_mesh).await?;
        bookshelf.merge_with("one", "v1", &own, &own_files).await?;
        press.merge_as("one", "v1", job).await?;
        wide.merge_as("one", "v1", &scaled).await?;
        self.daemon.start().await?;
        for service in self.services {
            service
                .release
                .until(&format!("{} to stand", service.name), |record| {
                    record.stable.is_some() && record.rollout.is_none()
                })
                .await?;
        }
        books.release.until_ended(&first, Outcome::Promoted).await?;
        let _gateway = self.routes().await?;

        let commits = [
            books.merge_as("two", "v2", &by_route).await?,
            films.merge_as("two", "v2", &by_mesh).await?,
            bookshelf.merge_with("two", "v2", &own, &own_files).await?,
            press.merge_as("two", "v2", job).await?,
            wide.merge_as("two", "v2", &scaled).await?,
        ];
        for (service, commit) in self.services.iter().zip(&commits) {
            service.release.until_ended(commit, Outcome::Promoted).await.context(service.name)?;
        }
        let commits = [
            (books, books.merge_as("three", "v3.crash", &by_route).await?),
            (films, films.merge_as("three", "v3.crash", &by_mesh).await?),
            (bookshelf, bookshelf.merge_with("three", "v3.crash", &own, &own_files).await?),
        ];
        for (service, commit) in &commits {
            service.release.until_ended(commit, Outcome::RolledBack).await.context(service.name)?;
        }
        // Without bounds the autoscaler goes; without the rest of the manifests, that goes.
        wide.merge_as("two", "v2", &numbered).await?;
        let fewer = OWN.split("---").filter(|one| is_kept(one)).collect::<Vec<_>>().join("---");
        bookshelf.merge_with("two", "v2", &own, &[("k8s/all.yaml", &fewer)]).await?;
        until("what left the manifests to be gone", SOON, async || {
            Ok(self.left().await?.is_empty().then_some(()))
        })
        .await
        .context("what left the manifests")?;
        let commit = wide.merge_as("three", "v3", &numbered).await?;
        wide.release.until_ended(&commit, Outcome::Promoted).await?;
        self.compare()?;
        self.lacking(books, &by_route).await?;
        self.daemon.stop().await
    }

    /// Routes to two of the services, and a gateway that obeys them.
    async fn routes(&self) -> anyhow::Result<Gateway> {
        let route = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "books"},
            "spec": {"parentRefs": [{"name": "gate"}], "rules": [{"backendRefs": [{"name": "books", "port": 8080}]}]}});
        let mesh = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "films"},
            "spec": {"hosts": ["films"], "http": [{"route": [{"destination": {"host": "films"}}]}]}});
        for body in [route, mesh] {
            let (version, kind) = (body["apiVersion"].as_str().unwrap(), body["kind"].as_str().unwrap());
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.ground.client.clone(), NAMESPACE, &resource(version, kind));
            api.create(&PostParams::default(), &serde_json::from_value(body.clone())?).await?;
        }
        Ok(Gateway::start(&self.ground.client, Some(std::time::Duration::ZERO)))
    }

    /// Names what is still there of what was taken away.
    async fn left(&self) -> anyhow::Result<Vec<&'static str>> {
        let mut left = Vec::new();
        for (version, kind, name) in [
            ("autoscaling/v2", "HorizontalPodAutoscaler", "wide"),
            ("v1", "ServiceAccount", "shelf"),
            ("policy/v1", "PodDisruptionBudget", "shelf"),
            ("networking.k8s.io/v1", "NetworkPolicy", "shelf"),
            ("networking.k8s.io/v1", "Ingress", "shelf"),
            ("apps/v1", "DaemonSet", "shelf-agent"),
            ("apps/v1", "StatefulSet", "shelf-index"),
        ] {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.ground.client.clone(), NAMESPACE, &resource(version, kind));
            if api.get_opt(name).await?.is_some() {
                left.push(kind);
            }
        }
        Ok(left)
    }

    /// What was used is what is given, what only others need apart.
    fn compare(&self) -> anyhow::Result<()> {
        let (used, granted) = (self.account.used()?, granted()?);
        let spare: BTreeSet<String> = granted.difference(&used).map(ToString::to_string).collect();
        let known: BTreeSet<String> = ELSEWHERE.iter().map(|(right, _)| (*right).to_owned()).collect();
        assert_eq!(spare, known, "given and not used here, and those that have a reason");
        Ok(())
    }

    /// Takes rights away one by one: which is missing is said, and with it the next version goes on.
    async fn lacking(&self, service: &Service, declaration: &str) -> anyhow::Result<()> {
        let roles: Api<ClusterRole> = Api::all(self.ground.client.clone());
        for (number, (group, resource, verb)) in TAKEN.into_iter().enumerate() {
            let whole = roles.get("idpd").await?;
            let mut less = whole.clone();
            for rule in less.rules.iter_mut().flatten() {
                let of =
                    |list: &Option<Vec<String>>, one: &str| list.iter().flatten().any(|text| text == one);
                if of(&rule.api_groups, group) && of(&rule.resources, resource) {
                    rule.verbs.retain(|one| one != verb);
                }
            }
            less.rules.iter_mut().for_each(|rules| rules.retain(|rule| !rule.verbs.is_empty()));
            let before = roles.replace("idpd", &PostParams::default(), &less).await?;
            self.may(verb, group, resource, "no").await?;
            let commit = service.merge_as(&format!("without {number}"), "v4", declaration).await?;
            let wanted = format!("cannot {verb} resource \\\"{resource}\\\"");
            let plain = wanted.replace('\\', "");
            until("the daemon to say what it lacks", SOON, async || {
                let log = self.daemon.said()?;
                let said = log.lines().any(|line| {
                    (line.contains(&wanted) || line.contains(&plain)) && line.contains("examples/rbac.yaml")
                });
                Ok(said.then_some(()))
            })
            .await
            .with_context(|| format!("without {verb} {resource}"))?;
            let again = ClusterRole { metadata: before.metadata, ..whole };
            roles.replace("idpd", &PostParams::default(), &again).await?;
            self.may(verb, group, resource, "yes").await?;
            let context = || format!("with {verb} {resource} again");
            service.release.until_ended(&commit, Outcome::Promoted).await.with_context(context)?;
        }
        Ok(())
    }

    /// Waits until the server knows what the account may do.
    async fn may(&self, verb: &str, group: &str, resource: &str, wanted: &str) -> anyhow::Result<()> {
        let (name, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let named = if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") };
        let user = format!("--as={ACCOUNT}");
        let subresource = format!("--subresource={sub}");
        let args = ["auth", "can-i", verb, &named, &user, &subresource, "--namespace", NAMESPACE];
        until("the server to know", SOON, async || {
            let answer = self.ground.api.kubectl(&args).await?;
            Ok((String::from_utf8_lossy(&answer.stdout).trim() == wanted).then_some(()))
        })
        .await
    }
}

/// Tells whether an object stays in the manifests to the end.
fn is_kept(object: &str) -> bool {
    ["kind: Service\n", "kind: ConfigMap", "name: shelf}\nspec:\n  replicas: 2"]
        .iter()
        .any(|part| object.contains(part))
}
