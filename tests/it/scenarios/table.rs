//! The scenarios: what a team declares and merges, and what is to become of it.

use idp::model::rollout::Outcome;

/// A service and its changes.
pub struct Scenario {
    /// Its name, which names the scenario too.
    pub service: &'static str,
    /// `deploy.strategy` and what belongs to it, in YAML.
    pub strategy: &'static str,
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

    /// Returns how its rollouts end, in order.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.changes.iter().filter_map(|change| change.outcome).collect()
    }
}

const CANARY: &str = "strategy: canary, canary: [{weight: 50, pause: 1s}, {weight: 100, pause: 1s}]";
const ROLLING: &str = "strategy: rolling";
const BLUE_GREEN: &str = "strategy: blue_green";
const RECREATE: &str = "strategy: recreate";

const fn change(content: &'static str, behaviour: &'static str, outcome: Outcome) -> Change {
    Change { content, behaviour, outcome: Some(outcome) }
}

const fn quiet(content: &'static str, behaviour: &'static str) -> Change {
    Change { content, behaviour, outcome: None }
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario { service: "first", strategy: CANARY, changes: &[change("one", "v1", Outcome::Promoted)] },
    Scenario {
        service: "stillborn",
        strategy: CANARY,
        changes: &[change("one", "v1.crash", Outcome::Failed)],
    },
    Scenario {
        service: "good-canary",
        strategy: CANARY,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-canary",
        strategy: CANARY,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.crash", Outcome::RolledBack)],
    },
    Scenario {
        service: "unhealthy-canary",
        strategy: CANARY,
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2.config-error", Outcome::RolledBack),
        ],
    },
    Scenario {
        service: "good-rolling",
        strategy: ROLLING,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-rolling",
        strategy: ROLLING,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.crash", Outcome::RolledBack)],
    },
    Scenario {
        service: "good-blue-green",
        strategy: BLUE_GREEN,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-blue-green",
        strategy: BLUE_GREEN,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.crash", Outcome::RolledBack)],
    },
    Scenario {
        service: "good-recreate",
        strategy: RECREATE,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2", Outcome::Promoted)],
    },
    Scenario {
        service: "bad-recreate",
        strategy: RECREATE,
        changes: &[change("one", "v1", Outcome::Promoted), change("two", "v2.crash", Outcome::RolledBack)],
    },
    Scenario {
        service: "autoscaled-canary",
        strategy: CANARY,
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2", Outcome::Promoted),
            change("three", "v3.crash", Outcome::RolledBack),
        ],
    },
    Scenario {
        service: "revert",
        strategy: CANARY,
        changes: &[
            change("one", "v1", Outcome::Promoted),
            change("two", "v2.crash", Outcome::RolledBack),
            quiet("one", "v1"),
            quiet("two", "v2.crash"),
            change("three", "v3", Outcome::Promoted),
        ],
    },
];
