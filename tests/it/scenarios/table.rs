//! The scenarios: what a team declares and merges, and what is to become of it.

use idp::model::rollout::Outcome;

/// A service and its changes.
pub struct Scenario {
    /// Its name, which names the scenario too.
    pub service: &'static str,
    /// `deploy.strategy` and what belongs to it, in YAML.
    pub strategy: &'static str,
    /// The team's own manifests, in which SERVICE stands for its name; `None`: the platform's Deployment.
    pub manifests: Option<&'static str>,
    pub changes: &'static [Change],
}

/// A merged change.
pub struct Change {
    /// The content of the service's one file: the same content is the same version.
    pub content: &'static str,
    /// How the pods of its image behave.
    pub behaviour: &'static str,
    /// How its rollout ends; `None`: there is none.
    pub outcome: Option<Outcome>,
}

impl Scenario {
    /// Returns the pods that its file asks for: a number, or bounds where its name says so.
    pub fn replicas(&self) -> &'static str {
        if self.is_autoscaled() { "{min: 2, max: 5, cpu: 70}" } else { "2" }
    }

    /// Tells whether somebody else says how many pods there are.
    pub fn is_autoscaled(&self) -> bool {
        self.service.starts_with("autoscaled")
    }

    /// Tells whether its versions run to their end.
    pub fn is_job(&self) -> bool {
        matches!(self.strategy, JOB | CRON)
    }

    /// Returns how its rollouts end, in order.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.changes.iter().filter_map(|change| change.outcome).collect()
    }
}

const CANARY: &str = "strategy: canary, canary: [{weight: 50, pause: 1s}, {weight: 100, pause: 1s}]";
const ROLLING: &str = "strategy: rolling";
const BLUE_GREEN: &str = "strategy: blue_green";
const RECREATE: &str = "strategy: recreate";

const GATED: &str = "strategy: canary\n  gates: [{name: check, type: job, when: before, command: [/check], timeout: 1m}], canary: [{weight: 50, pause: 1s}, {weight: 100, pause: 1s}]";

/// A service that is a job.
pub const JOB: &str = "type: job";
/// One that runs again at times that do not come while a test lasts.
pub const CRON: &str = "type: cron";

const fn change(content: &'static str, behaviour: &'static str, outcome: Outcome) -> Change {
    Change { content, behaviour, outcome: Some(outcome) }
}

const fn quiet(content: &'static str, behaviour: &'static str) -> Change {
    Change { content, behaviour, outcome: None }
}

/// A StatefulSet of two pods with its headless Service and config that the pods read.
const STATEFUL: &str = r"
apiVersion: v1
kind: Service
metadata: {name: SERVICE}
spec: {clusterIP: None, selector: {app: SERVICE}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: SERVICE-conf}
data: {mode: fast}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: SERVICE}
spec:
  replicas: 2
  serviceName: SERVICE
  selector: {matchLabels: {app: SERVICE}}
  template:
    metadata: {labels: {app: SERVICE}}
    spec:
      containers:
        - name: app
          ports: [{containerPort: 8080}]
          envFrom: [{configMapRef: {name: SERVICE-conf}}]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
";

/// A DaemonSet, which has a pod on each of the two nodes, with config that the pods read.
const BY_NODE: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: SERVICE-conf}
data: {mode: fast}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: SERVICE}
spec:
  selector: {matchLabels: {app: SERVICE}}
  template:
    metadata: {labels: {app: SERVICE}}
    spec:
      containers:
        - name: app
          ports: [{containerPort: 8080}]
          envFrom: [{configMapRef: {name: SERVICE-conf}}]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
";

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        service: "first",
        strategy: CANARY,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted)],
    },
    Scenario {
        service: "stillborn",
        strategy: CANARY,
        manifests: None,
        changes: &[change("one", "v1.crash", Outcome::Failed)],
    },
    Scenario {
        service: "good-canary",
        strategy: CANARY,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-canary",
        strategy: CANARY,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.crash", Outcome::RolledBack)],
    },
    Scenario {
        service: "unhealthy-canary",
        strategy: CANARY,
        manifests: None,
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2.config-error", Outcome::RolledBack),
        ],
    },
    Scenario {
        service: "good-rolling",
        strategy: ROLLING,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-rolling",
        strategy: ROLLING,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.crash", Outcome::RolledBack)],
    },
    Scenario {
        service: "good-blue-green",
        strategy: BLUE_GREEN,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-blue-green",
        strategy: BLUE_GREEN,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.crash", Outcome::RolledBack)],
    },
    Scenario {
        service: "good-recreate",
        strategy: RECREATE,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-recreate",
        strategy: RECREATE,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.crash", Outcome::RolledBack)],
    },
    Scenario {
        service: "autoscaled-canary",
        strategy: CANARY,
        manifests: None,
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2", Outcome::Promoted),
            change("three", "v3.crash", Outcome::RolledBack),
        ],
    },
    Scenario {
        service: "good-stateful",
        strategy: CANARY,
        manifests: Some(STATEFUL),
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-stateful",
        strategy: CANARY,
        manifests: Some(STATEFUL),
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2.crash", Outcome::RolledBack),
            change("three", "v3", Outcome::Promoted),
        ],
    },
    Scenario {
        service: "good-by-node",
        strategy: CANARY,
        manifests: Some(BY_NODE),
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-by-node",
        strategy: CANARY,
        manifests: Some(BY_NODE),
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2.crash", Outcome::RolledBack),
            change("three", "v3", Outcome::Promoted),
        ],
    },
    Scenario {
        service: "rolling-by-node",
        strategy: ROLLING,
        manifests: Some(BY_NODE),
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.crash", Outcome::RolledBack)],
    },
    Scenario {
        service: "good-gate-job",
        strategy: GATED,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-gate-job",
        strategy: GATED,
        manifests: None,
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2.exit-3", Outcome::Failed),
            change("three", "v3", Outcome::Promoted),
        ],
    },
    Scenario {
        service: "left-gate-job",
        strategy: GATED,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.exit-3", Outcome::Failed)],
    },
    Scenario {
        service: "good-job",
        strategy: JOB,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.runs-1s", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-job",
        strategy: JOB,
        manifests: None,
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2.exit-3", Outcome::RolledBack),
            change("three", "v3", Outcome::Promoted),
        ],
    },
    Scenario {
        service: "lost-job",
        strategy: JOB,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.exit-3", Outcome::RolledBack)],
    },
    Scenario {
        service: "good-cron",
        strategy: CRON,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-cron",
        strategy: CRON,
        manifests: None,
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2.exit-3", Outcome::RolledBack),
            change("three", "v3", Outcome::Promoted),
        ],
    },
    Scenario {
        service: "left-cron",
        strategy: CRON,
        manifests: None,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.exit-3", Outcome::RolledBack)],
    },
    Scenario {
        service: "revert",
        strategy: CANARY,
        manifests: None,
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2.crash", Outcome::RolledBack),
            quiet("one", "v1"),
            quiet("two", "v2.crash"),
            change("three", "v3", Outcome::Promoted),
        ],
    },
];
