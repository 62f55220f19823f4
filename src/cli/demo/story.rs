//! The story: what is merged, and what is to become of it.

use crate::model::rollout::Outcome;

/// The declaration that every merge of the demo carries.
pub const DECLARATION: &str = r#"service:
  name: checkout
  team: shop
workload:
  port: 8080
  replicas: 4
deploy:
  strategy: canary
  canary:
    - weight: 10
      pause: 3s
    - weight: 50
      pause: 3s
    - weight: 100
      pause: 2s
  healthcheck:
    path: /health
    interval: 1s
    timeout: 900ms
    threshold: 3
  rollback:
    auto: true
    on_error_rate: ">1%"
    on_restarts: ">0"
    min_requests: 50
    window: 2s
"#;

/// One merge.
#[derive(Debug, Clone, Copy)]
pub struct Chapter {
    /// What a person is told.
    pub title: &'static str,
    /// The commit's message.
    pub message: &'static str,
    /// The file that it changes.
    pub path: &'static str,
    /// The file's new content.
    pub content: &'static str,
    /// How the pods of its image behave.
    pub behaviour: &'static str,
    /// How long after the merge CI has pushed the image, in milliseconds; 0: before.
    pub image_after: u64,
    /// What is to become of it; `None`: no rollout at all.
    pub outcome: Option<Outcome>,
}

/// The whole story, in order.
pub const CHAPTERS: [Chapter; 7] = [
    Chapter {
        title: "A first deploy: nothing to compare with, so no canary",
        message: "checkout: the first version",
        path: "src/checkout.txt",
        content: "one",
        behaviour: "healthy",
        image_after: 0,
        outcome: Some(Outcome::Promoted),
    },
    Chapter {
        title: "A good release: canary 10, 50, 100 %, promoted",
        message: "checkout: faster baskets",
        path: "src/checkout.txt",
        content: "two",
        behaviour: "healthy",
        image_after: 0,
        outcome: Some(Outcome::Promoted),
    },
    Chapter {
        title: "A bad release: 5 % of its requests fail",
        message: "checkout: a clever cache",
        path: "src/checkout.txt",
        content: "three",
        behaviour: "errors-5",
        image_after: 0,
        outcome: Some(Outcome::RolledBack),
    },
    Chapter {
        title: "An unrelated commit: the bad version is not tried again",
        message: "docs: how to run it",
        path: "README.md",
        content: "# checkout\n",
        behaviour: "errors-5",
        image_after: 0,
        outcome: None,
    },
    Chapter {
        title: "The revert: stable runs it already, so nothing rolls",
        message: "Revert \"checkout: a clever cache\"",
        path: "src/checkout.txt",
        content: "two",
        behaviour: "healthy",
        image_after: 0,
        outcome: None,
    },
    Chapter {
        title: "A release that crashes as soon as it starts",
        message: "checkout: a new framework",
        path: "src/checkout.txt",
        content: "four",
        behaviour: "crash",
        image_after: 0,
        outcome: Some(Outcome::RolledBack),
    },
    Chapter {
        title: "The fix; the merge comes before CI has pushed its image",
        message: "checkout: the new framework, configured",
        path: "src/checkout.txt",
        content: "five",
        behaviour: "healthy",
        image_after: 700,
        outcome: Some(Outcome::Promoted),
    },
];
