//! One literal transition of each kind, for tests.

use std::time::Duration;

use super::*;
use crate::model::change::{Change, Changes, PullRequest, Revision};
use crate::model::desired::Identity;
use crate::model::image::Image;
use crate::model::rollout::{Hold, Outcome, Version};
use crate::model::verdict::{Gate, Numbers, Verdict};

/// The source of the literal transitions.
pub fn source() -> EventSource {
    EventSource {
        release_uid: "6f1c2c1e-9f4b-4f52-8c9a-0d5a4f3f1b11".into(),
        cluster: "test".into(),
        namespace: "hello-production".into(),
    }
}

/// The commit of the stories.
pub fn revision() -> Revision {
    Revision {
        commit: "8f4e2d1c0b9a8f7e6d5c4b3a29181706f5e4d3c2".parse().unwrap(),
        committed_at: "2026-03-01T11:58:30Z".parse().unwrap(),
        author: "Ada Example".into(),
        subject: "answer faster".into(),
        repository: "https://git.example.com/team/hello.git".into(),
        url: Some("https://git.example.com/team/hello/commit/8f4e2d1c0b".into()),
    }
}

/// So many commits, the newest that of the stories and all but it merged by it.
pub fn changes(count: usize) -> Changes {
    let Revision { commit, committed_at, author, subject, .. } = revision();
    let pull_request = Some(PullRequest { number: 12, title: subject });
    let change = |number: usize| Change {
        commit: if number == 0 { commit.clone() } else { format!("{number:040x}").parse().unwrap() },
        author: author.clone(),
        committer: (number > 0).then(|| "Bob Example".into()),
        committed_at,
        merged_at: (number > 0).then_some(committed_at),
        pull_request: pull_request.clone(),
    };
    Changes { commits: (0..count).map(change).collect(), partial: false }
}

/// An image with a digest of this digit.
pub fn image(digit: &str) -> Image {
    Image {
        repository: "registry.example.com/team/hello".into(),
        tag: Some("8f4e2d1".into()),
        digest: format!("sha256:{}", digit.repeat(64)).parse().unwrap(),
    }
}

/// A version with an image of this digit.
pub fn version(digit: &str) -> Version {
    Version {
        identity: Identity(format!("1-{}", digit.repeat(16))),
        revision: revision(),
        image: image(digit),
        platform: "p1".into(),
    }
}

/// A failing verdict with all its numbers.
pub fn failing() -> Verdict {
    Verdict::fail(Gate::ErrorRate, "the candidate fails too many requests").with(Numbers {
        value: Some(0.051),
        limit: Some(0.01),
        samples: Some(1234),
        window_seconds: Some(120),
        provider: None,
    })
}

/// A transition of `hello.production` at noon.
pub fn transition(rollout: Option<u64>, kind: Kind, sentence: &str) -> Transition {
    Transition {
        at: "2026-03-01T12:00:00.123Z".parse().unwrap(),
        release: "hello.production".parse().unwrap(),
        environment: "production".parse().unwrap(),
        team: "team".parse().unwrap(),
        source: "hello".parse().unwrap(),
        rollout,
        kind,
        sentence: sentence.to_owned(),
    }
}

/// The transitions of a rollout that is promoted.
fn good() -> Vec<Transition> {
    let of = |kind, sentence: &str| transition(Some(7), kind, sentence);
    let candidate = version("b");
    let pass = Verdict::pass(Gate::PodState, "all pods are ready");
    let (took, since_commit) = (Duration::from_secs(42), Duration::from_secs(130));
    vec![
        of(
            Kind::ChangeSeen { revision: revision(), changes: changes(2) },
            "commit 8f4e2d1c0b by Ada Example: answer faster",
        ),
        of(Kind::Queued { revision: revision() }, "rollout 7 of version 1-bbbbbbbbbb waits for its image"),
        of(Kind::Started { candidate: candidate.clone(), first: false }, "rollout 7 started"),
        of(
            Kind::Stepped {
                step: 1,
                of: 3,
                asked: 10,
                real: 25,
                verdict: pass,
                candidate: candidate.clone(),
            },
            "step 1 of 3 passed (asked 10 %, got 25 %: 1 of 4 pods)",
        ),
        of(
            Kind::Promoted { version: candidate, previous: Some(version("a")), took, since_commit },
            "hello.production is stable",
        ),
        of(
            Kind::Finished {
                outcome: Outcome::Promoted,
                reason: "hello.production is stable".into(),
                took,
                image: Some(image("b")),
                caught: false,
            },
            "rollout 7 ended: Promoted",
        ),
    ]
}

/// The transitions of a rollout that is taken back, and of what comes after.
fn bad() -> Vec<Transition> {
    let of = |kind, sentence: &str| transition(Some(8), kind, sentence);
    let sentence = failing().to_string();
    vec![
        of(Kind::GateFailed { verdict: failing(), image: Some(image("c")) }, &sentence),
        of(
            Kind::HoldSet {
                hold: Hold::Held,
                identity: "1-cccccccccc".into(),
                revision: revision(),
                verdict: failing(),
            },
            "version 1-cccccccccc is held",
        ),
        of(
            Kind::RolledBack {
                verdict: failing(),
                candidate: Some(version("c")),
                running: Some(version("b")),
                took: Duration::from_secs(3),
            },
            "rolled back",
        ),
        of(
            Kind::Finished {
                outcome: Outcome::RolledBack,
                reason: sentence.clone(),
                took: Duration::from_secs(20),
                image: Some(image("c")),
                caught: true,
            },
            "rollout 8 ended: RolledBack",
        ),
        transition(None, Kind::HealthyAgain { version: version("b") }, "healthy again"),
    ]
}

/// One transition of each kind and then some, in an order that could be.
pub fn stories() -> Vec<Transition> {
    let alone = |kind, sentence: &str| transition(None, kind, sentence);
    let mut all = good();
    all.extend(bad());
    let absent = Verdict::unknown(Gate::Image, "no tag answers");
    let first = Kind::Promoted {
        version: version("a"),
        previous: None,
        took: Duration::ZERO,
        since_commit: Duration::ZERO,
    };
    let gone =
        Kind::RolledBack { verdict: failing(), candidate: None, running: None, took: Duration::from_secs(1) };
    all.extend([
        transition(Some(1), first, "the first version is stable"),
        transition(Some(2), gone, "taken back, nothing runs"),
        transition(
            Some(9),
            Kind::GateFailed { verdict: absent, image: None },
            "image unknown: no tag answers",
        ),
        alone(
            Kind::HoldReleased { identity: "1-cccccccccc".into(), by: "ada".into() },
            "version 1-cccccccccc may start again: ada",
        ),
        alone(
            Kind::DriftCorrected { objects: vec!["Deployment/hello".into(), "Service/hello".into()] },
            "put back what somebody else changed",
        ),
        alone(Kind::Applied { revision: revision() }, "commit 8f4e2d1c0b applied without a rollout"),
        alone(Kind::RecordRebuilt { phase: "Stable".into() }, "the record was lost and rebuilt"),
        alone(
            Kind::CommandAnswered {
                verb: "retry".into(),
                who: "ada".into(),
                why: "fixed upstream".into(),
                accepted: true,
            },
            "retry by ada accepted",
        ),
        transition(
            Some(9),
            Kind::ApprovalRequested { what: "2 of 2 approvals by sre".into() },
            "rollout 9 waits for 2 of 2 approvals by sre, for 4h at most",
        ),
        alone(Kind::EventsDropped { from: 3, to: 9, count: 6 }, "the outbox was full"),
    ]);
    all
}

/// The events of all stories, as a record would number them.
pub fn published() -> Vec<RenderedEvent> {
    let mut tail: Option<ChainTail> = None;
    let mut events = Vec::new();
    for (sequence, story) in (1..).zip(stories()) {
        let entry = entry(&source(), sequence, &story, tail.as_ref());
        tail = tail_after(&source(), &story, &entry, tail.as_ref());
        events.extend(entry.events);
    }
    events
}
