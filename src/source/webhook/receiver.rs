//! What becomes of a webhook request once its body is here: proof, then duplicate, then meaning, then a hint.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use tokio::time::Instant;

use super::dedupe::Dedupe;
use super::{Event, header, names, parse, verify};
use crate::config::{Config, Forge, Secret, Webhook};
use crate::model::name::SourceName;
use crate::source::{Hint, Hints, Trigger};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookOutcome {
    /// The source is looked at.
    Accepted,
    /// It was here before.
    Duplicate,
    /// It is proven and says nothing that matters: a ping, another event, another branch.
    Irrelevant,
    /// It is not accepted.
    Refused(Refusal),
}

/// Why a request is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No source of this name takes webhooks.
    UnknownSource,
    /// The proof is missing or wrong.
    Unproven,
    /// It is proven and not JSON.
    Malformed,
    /// The body is larger than the source takes.
    TooLarge,
    /// The body did not come in time, or broke off.
    TooSlow,
    /// Too much is being received already.
    Overloaded,
    /// The secret cannot be read.
    NoSecret,
}

impl HookOutcome {
    /// Returns the word for the metric's label `result`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Irrelevant => "irrelevant",
            Self::Refused(refusal) => match refusal {
                Refusal::UnknownSource => "unknown_source",
                Refusal::Unproven => "unproven",
                Refusal::Malformed => "malformed",
                Refusal::TooLarge => "too_large",
                Refusal::TooSlow => "too_slow",
                Refusal::Overloaded => "overloaded",
                Refusal::NoSecret => "no_secret",
            },
        }
    }
}

#[derive(Debug)]
struct Endpoint {
    webhook: Webhook,
    /// The branches whose movement matters.
    branches: Vec<String>,
    hint: Hint,
}

/// The webhook endpoints of all sources.
#[derive(Debug)]
pub struct Hooks {
    endpoints: BTreeMap<SourceName, Endpoint>,
    dedupe: Mutex<Dedupe>,
}

impl Hooks {
    /// Makes an endpoint for each source that has a webhook and a hint.
    pub fn new(config: &Config, hints: &Hints) -> Self {
        let endpoint = |(name, source): (&SourceName, &crate::config::Source)| {
            let (webhook, hint) = (source.webhook.clone()?, hints.get(name)?.clone());
            let claimed = config.environments.values().filter(|e| source.may_claim_environment(&e.name));
            let mut branches: Vec<String> = claimed.filter_map(|e| e.branch.clone()).collect();
            branches.push(source.branch.clone());
            Some((name.clone(), Endpoint { webhook, branches, hint }))
        };
        Self { endpoints: config.sources.iter().filter_map(endpoint).collect(), dedupe: Mutex::default() }
    }

    /// Returns the forge of a source's webhook.
    pub fn forge(&self, source: &SourceName) -> Option<Forge> {
        self.endpoints.get(source).map(|endpoint| endpoint.webhook.forge)
    }

    /// Returns the largest body of a source's webhook, in bytes.
    pub fn max_body(&self, source: &SourceName) -> Option<usize> {
        self.endpoints.get(source).map(|endpoint| endpoint.webhook.max_body)
    }

    /// Tells whether a request brings a proof at all; without one its body need not be read.
    pub fn has_proof(&self, source: &SourceName, headers: &HeaderMap) -> bool {
        self.forge(source).is_some_and(|forge| header(headers, names(forge).signature).is_some())
    }

    /// Takes a whole request.
    pub fn receive(&self, source: &SourceName, headers: &HeaderMap, body: &[u8]) -> HookOutcome {
        let Some(Endpoint { webhook, branches, hint }) = self.endpoints.get(source) else {
            return HookOutcome::Refused(Refusal::UnknownSource);
        };
        let secrets = secrets(source, webhook);
        if secrets.is_empty() {
            return HookOutcome::Refused(Refusal::NoSecret);
        }
        if let Err(error) = verify(webhook.forge, headers, body, &secrets) {
            tracing::warn!(%source, %error, "webhook refused");
            return HookOutcome::Refused(Refusal::Unproven);
        }
        let event = match parse(webhook.forge, headers, body) {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%source, %error, "webhook refused");
                return HookOutcome::Refused(Refusal::Malformed);
            }
        };
        match event {
            Event::Push { branch } | Event::Merged { branch } if branches.contains(&branch) => {
                if !self.first_time(source, headers, webhook.forge) {
                    return HookOutcome::Duplicate;
                }
                hint.send(Trigger::Webhook);
                HookOutcome::Accepted
            }
            _ => HookOutcome::Irrelevant,
        }
    }

    fn first_time(&self, source: &SourceName, headers: &HeaderMap, forge: Forge) -> bool {
        let Some(id) = header(headers, names(forge).delivery) else { return true };
        let mut dedupe = self.dedupe.lock().unwrap_or_else(PoisonError::into_inner);
        dedupe.first_time(source.as_str(), id, Instant::now())
    }
}

/// Reads the active secrets; one that cannot be read is left out and said.
fn secrets(source: &SourceName, webhook: &Webhook) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for secret in std::iter::once(&webhook.secret).chain(&webhook.second_secret) {
        match secret.read() {
            Ok(secret) => secrets.push(secret),
            Err(error) => tracing::warn!(%source, %error, "webhook secret cannot be read"),
        }
    }
    secrets
}
