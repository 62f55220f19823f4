//! What becomes of a webhook request once its body is here: proof, then meaning, then duplicate, then a hint. Every outcome is noted.
//! Between the proof and the rest whoever calls keeps what no ref can tell later: a pull request that was closed, an approval.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::dedupe::Dedupe;
use super::deliveries::{Deliveries, Delivery, Log, Turned};
use super::event::{Event, Told};
use super::outcome::{HookOutcome, News, Refusal};
use super::{Request, has_proof, parse, verify};
use crate::config::{Config, Follow, Forge, Secret, Webhook};
use crate::model::name::SourceName;
use crate::model::pull::{Action, PullRequest};
use crate::model::suspension::Suspended;
use crate::source::{Hint, Hints, Suspensions, Trigger, now};

#[derive(Debug)]
struct Endpoint {
    webhook: Webhook,
    /// What is followed.
    follows: Vec<Follow>,
    hint: Hint,
    suspended: watch::Receiver<Option<Suspended>>,
}

/// A request that is proven and understood, and of which nothing followed yet.
#[derive(Debug)]
pub struct Proven {
    at: Timestamp,
    told: Told,
}

impl Proven {
    /// Returns what it tells of a pull request, and when it came: to be kept before anything else becomes of it.
    pub fn pull(&self) -> Option<(&PullRequest, Timestamp)> {
        match &self.told.event {
            Event::Pull(pull) => Some((pull, self.at)),
            _ => None,
        }
    }
}

/// The webhook endpoints of all sources.
#[derive(Debug)]
pub struct Hooks {
    endpoints: BTreeMap<SourceName, Endpoint>,
    dedupe: Mutex<Dedupe>,
    deliveries: Deliveries,
}

/// What a request means to a source: an outcome, why, and the names of what is looked at.
struct Meaning {
    outcome: HookOutcome,
    why: String,
    hinted: Vec<String>,
}

impl Meaning {
    /// Means no look.
    fn new(outcome: HookOutcome, why: String) -> Self {
        Self { outcome, why, hinted: Vec::new() }
    }
}

impl Hooks {
    /// Makes an endpoint for each source that has a webhook and a hint.
    pub fn new(config: &Config, hints: &Hints, suspensions: &Suspensions) -> Self {
        let endpoint = |(name, source): (&SourceName, &Arc<crate::config::Source>)| {
            let (webhook, hint) = (source.webhook.clone()?, hints.get(name)?.clone());
            let suspended = suspensions.watch(name)?;
            let claimed = config.environments.values().filter(|e| source.may_claim_environment(&e.name));
            let mut follows: Vec<Follow> = claimed.filter_map(|e| e.follow.clone()).collect();
            follows.push(source.follow.clone());
            follows.sort_by_cached_key(ToString::to_string);
            follows.dedup();
            Some((name.clone(), Endpoint { webhook, follows, hint, suspended }))
        };
        let endpoints = config.sources.iter().filter_map(endpoint).collect();
        Self { endpoints, dedupe: Mutex::default(), deliveries: Deliveries::default() }
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
        let request = Request { headers, body: &[] };
        self.endpoints.get(source).is_some_and(|endpoint| has_proof(&endpoint.webhook, request))
    }

    /// Returns the newest deliveries, of one source or of all, at most `limit`.
    pub fn log(&self, source: Option<&SourceName>, limit: usize) -> Log {
        self.deliveries.log(source, limit)
    }

    /// Takes a whole request of which nothing has to be kept. What it refuses is noted only once [`Self::refused`] is told.
    pub fn receive(&self, source: &SourceName, headers: &HeaderMap, body: &[u8]) -> HookOutcome {
        match self.prove(source, headers, body) {
            Ok(proven) => self.settle(source, proven, Ok(())),
            Err(refusal) => HookOutcome::Refused(refusal),
        }
    }

    /// Checks and reads a whole request.
    pub fn prove(&self, source: &SourceName, headers: &HeaderMap, body: &[u8]) -> Result<Proven, Refusal> {
        let Some(Endpoint { webhook, .. }) = self.endpoints.get(source) else {
            return Err(Refusal::UnknownSource);
        };
        let request = Request { headers, body };
        let secrets = secrets(source, webhook);
        if secrets.is_empty() {
            return Err(Refusal::NoSecret);
        }
        let at = now();
        verify(webhook, request, &secrets, at).map_err(Refusal::Unproven)?;
        parse(webhook.forge, request).map(|told| Proven { at, told }).map_err(|error| {
            tracing::warn!(%source, %error, "webhook refused");
            let meaning = Meaning::new(HookOutcome::Refused(Refusal::Malformed), error.to_string());
            self.note(source, webhook.forge, (at, String::new(), None), meaning);
            Refusal::Malformed
        })
    }

    /// Lets follow what follows from a proven request. `kept` says whether what it tells of a pull request was kept, or why not: then it
    /// is refused and not remembered, so that it can come again. A look costs nothing and follows all the same.
    pub fn settle(&self, source: &SourceName, proven: Proven, kept: Result<(), String>) -> HookOutcome {
        let Some(endpoint) = self.endpoints.get(source) else {
            return HookOutcome::Refused(Refusal::UnknownSource);
        };
        let Proven { at, told } = proven;
        let mut meaning = meaning(&told.event, &endpoint.follows);
        if let Some(suspended) = &*endpoint.suspended.borrow()
            && matches!(meaning.outcome, HookOutcome::Accepted(_))
        {
            let why = format!("{}; the source is {}", meaning.why, suspended.sentence(source.as_str()));
            meaning = Meaning::new(HookOutcome::Suspended, why);
        }
        let looks = matches!(meaning.outcome, HookOutcome::Accepted(_));
        let meaning = match kept {
            Err(why) => {
                tracing::warn!(%source, %why, "what a webhook tells of a pull request could not be kept");
                let refused = HookOutcome::Refused(Refusal::NotKept);
                Meaning { outcome: refused, why: format!("{}: not kept: {why}", meaning.why), ..meaning }
            }
            Ok(()) if looks => self.judge(source, meaning, told.id.as_deref()),
            Ok(()) => meaning,
        };
        let outcome = meaning.outcome.clone();
        if looks && outcome != HookOutcome::Duplicate {
            endpoint.hint.send(Trigger::Webhook);
        }
        self.note(source, endpoint.webhook.forge, (at, told.name, told.id), meaning);
        outcome
    }

    /// Keeps what became of a proven request, for people.
    fn note(
        &self,
        source: &SourceName,
        forge: Forge,
        (at, event, id): (Timestamp, String, Option<String>),
        Meaning { outcome, why, hinted }: Meaning,
    ) {
        let refused = matches!(outcome, HookOutcome::Refused(_));
        let delivery = Delivery {
            at,
            source: source.to_string(),
            forge: forge.name().to_owned(),
            event,
            id,
            outcome: if refused { "refused" } else { outcome.name() }.to_owned(),
            why,
            hinted,
        };
        self.deliveries.note(source, delivery);
    }

    /// Notes a request that was refused; what was proven is noted already.
    pub fn refused(&self, source: Option<&SourceName>, refusal: Refusal) {
        if matches!(refusal, Refusal::Malformed | Refusal::NotKept) {
            return;
        }
        let forge = source.and_then(|source| self.forge(source)).map(|forge| forge.name().to_owned());
        let turned = Turned {
            source: source.map(ToString::to_string),
            forge,
            reason: refusal.name().to_owned(),
            why: refusal.to_string(),
            count: 1,
            latest: now(),
        };
        let count = self.deliveries.turn(source, refusal.name(), turned);
        let source = source.map_or("unknown", SourceName::as_str);
        // Strangers may send as many as they like; a log is not theirs to fill.
        if count == 1 {
            tracing::warn!(source, why = %refusal, "a webhook was refused; more of its kind are only counted");
        } else {
            tracing::debug!(source, why = %refusal, count, "a webhook was refused");
        }
    }

    /// Finds out whether what would make the source be looked at was here before.
    fn judge(&self, source: &SourceName, meaning: Meaning, id: Option<&str>) -> Meaning {
        let Some(id) = id else { return meaning };
        // With the branches, since GitLab gives one id to all that one request causes.
        let key = format!("{id} {}", meaning.hinted.join(" "));
        let mut dedupe = self.dedupe.lock().unwrap_or_else(PoisonError::into_inner);
        if dedupe.first_time(source.as_str(), &key, Instant::now()) {
            return meaning;
        }
        Meaning::new(HookOutcome::Duplicate, "a delivery of this id came within the last 24 hours".to_owned())
    }
}

/// Says what an event means to a source that follows this.
fn meaning(event: &Event, followed: &[Follow]) -> Meaning {
    let look = |news: News, why: String, hinted: Vec<String>| Meaning {
        outcome: HookOutcome::Accepted(news),
        why,
        hinted,
    };
    let irrelevant = |why: String| Meaning::new(HookOutcome::Irrelevant, why);
    match event {
        Event::Push(pushed) => {
            let moved = |follow: &&Follow| match follow {
                Follow::Branch(name) => pushed.branches.contains(name),
                Follow::Tags(range) => pushed.tags.iter().any(|tag| range.version(tag).is_some()),
                Follow::Commit(_) => false,
            };
            let hinted: Vec<String> = followed.iter().filter(moved).map(Follow::to_string).collect();
            match (pushed.branches.first().or(pushed.tags.first()), hinted.is_empty()) {
                (_, false) => look(News::Commit, format!("{} moved", hinted.join(", ")), hinted),
                (None, true) => irrelevant("no branch and no tag moved".to_owned()),
                (Some(other), true) => irrelevant(not_followed(other, followed)),
            }
        }
        Event::Pull(pull) if pull.action == Action::Merged => {
            if followed.iter().any(|follow| follow.branch() == Some(&pull.base)) {
                let why = format!("pull request {} was merged into {}", pull.number, pull.base);
                return look(News::Commit, why, vec![pull.base.clone()]);
            }
            irrelevant(format!("pull request {}: {}", pull.number, not_followed(&pull.base, followed)))
        }
        Event::Pull(pull) => {
            let what = format!("pull request {} into {}: {}", pull.number, clip(&pull.base), pull.action);
            irrelevant(format!("{what}; it is kept, and only a merge moves a branch"))
        }
        Event::Moved => look(News::Commit, "something moved".to_owned(), names(followed)),
        Event::Published { artifact } => {
            let why = format!("{} was published", clip(artifact));
            look(News::Artifact(artifact.clone()), why, names(followed))
        }
        Event::Ping => irrelevant("the forge tried the hook out".to_owned()),
        Event::Other => irrelevant("this event moves no branch".to_owned()),
    }
}

fn not_followed(name: &str, followed: &[Follow]) -> String {
    format!("{} is not followed; {} is", clip(name), names(followed).join(", "))
}

fn names(follows: &[Follow]) -> Vec<String> {
    follows.iter().map(Follow::to_string).collect()
}

/// Cuts a name of others to what a sentence can bear.
fn clip(text: &str) -> String {
    text.chars().take(100).collect()
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

#[cfg(test)]
mod tests {
    use super::super::tests::pushed_refs;
    use super::*;

    #[test]
    fn a_push_hints_what_is_followed() {
        let text = "cluster: {in_cluster: true}\nenvironments: [{name: p, namespace: p, ref: {semver: \"1.x\", tags: \"pay/v*\"}}]\n\
            sources: [{name: a, url: x, ref: main}]";
        let config = crate::config::parse(text, std::path::Path::new("/")).unwrap();
        let source = config.sources.values().next().unwrap().follow.clone();
        let environment = config.environments.values().next().unwrap().follow.clone();
        let follows = [vec![source], environment.into_iter().collect()].concat();
        for (branches, tags, hinted) in [
            (&["main"][..], &[][..], &["main"][..]),
            (&[], &["pay/v2.0.0"], &["tags pay/v* 1.x"]),
            (&["main"], &["pay/v1.0.0"], &["main", "tags pay/v* 1.x"]),
            (&["other"], &["v1.0.0", "pay/latest"], &[]),
            (&[], &[], &[]),
        ] {
            let Meaning { outcome, why, hinted: names } = meaning(&pushed_refs(branches, tags), &follows);
            assert_eq!(names, hinted, "{branches:?} {tags:?}: {why}");
            assert_eq!(matches!(outcome, HookOutcome::Accepted(_)), !hinted.is_empty());
        }
    }
}
