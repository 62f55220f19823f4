//! The pass: read, advance, effects, store, apply, report. It never waits, and its only network is the Kubernetes API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::error::{PassError, chain};
use super::memory::{Memories, Memory};
use super::queue::{Next, Queue};
use super::read::Read;
use super::report::Reporter;
use super::slots::Slots;
use super::sources::Sources;
use super::standings::Standings;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::cluster::apply::WriteError;
use crate::cluster::record::Stored;
use crate::cluster::revision::Owner;
use crate::config::Config;
use crate::event::catalogue::EventSource;
use crate::event::outbox;
use crate::evidence::images::Images;
use crate::evidence::observe::Evidence;
use crate::model::desired::{Head, Identity};
use crate::model::image::{ImageRequest, ImageState};
use crate::model::name::{Namespace, ReleaseKey};
use crate::model::object::ObjectKey;
use crate::model::observed::Observed;
use crate::model::record::Record;
use crate::model::rollout::Candidate;
use crate::model::transition::Transition;
use crate::model::write::Write;
use crate::rollout::{self, Advance, Effects, Inputs, view};
use crate::telemetry::metrics::Stage;

/// Acknowledged events are trimmed with the next write of the record, or after this time by a write of its own.
pub(super) const TRIM_AFTER: Duration = Duration::from_secs(30);

/// Everything that a pass needs; one for the daemon.
pub struct Driver {
    /// The configuration.
    pub config: Arc<Config>,
    /// The cluster.
    pub cluster: Cluster,
    /// What is kept between passes.
    pub memories: Memories,
    /// What the sources said last.
    pub sources: Sources,
    /// The queue.
    pub queue: Queue,
    /// The slots.
    pub slots: Slots,
    /// How every release stands.
    pub standings: Standings,
    /// The loop that measures.
    pub evidence: Evidence,
    /// The loop that resolves images.
    pub images: Images,
    /// Where transitions and records go.
    pub reporter: Reporter,
    /// Tells this process's samples from another's.
    pub session: u64,
    /// The time of decisions.
    pub clock: Clock,
    /// The highest epoch above its own that a pass found in a record. Whoever leads under a lower one stands anew.
    pub newer: watch::Sender<u64>,
}

impl Driver {
    /// Runs one pass as the leader of `epoch` and says when the next is due.
    pub async fn pass(&self, release: ReleaseKey, epoch: u64) -> Next {
        let memory = self.memories.of(&release);
        let mut memory = memory.lock().await;
        let begun = Instant::now();
        let answer = Box::pin(self.steps(&release, &mut memory, epoch)).await;
        let metrics = &self.reporter.metrics().queue;
        match answer {
            Ok(next) => {
                metrics.pass("ok", begun.elapsed());
                memory.errors = 0;
                memory.said.clear();
                next
            }
            Err(error) => {
                metrics.pass(error.label(), begun.elapsed());
                Self::failed(&release, &mut memory, &error)
            }
        }
    }

    fn failed(release: &ReleaseKey, memory: &mut Memory, error: &PassError) -> Next {
        let retry = error.retry_in(memory.errors);
        memory.errors = memory.errors.saturating_add(1);
        if matches!(error, PassError::Conflict | PassError::Deposed { .. } | PassError::Record(_)) {
            memory.stored = None;
            memory.working = None;
        }
        let sentence = chain(error);
        if memory.said != sentence && !matches!(error, PassError::Unsynced(_) | PassError::Conflict) {
            tracing::warn!(%release, error = %sentence, retry = ?retry, "a pass ended early");
            memory.said = sentence;
        }
        Next::At(Instant::now() + retry)
    }

    async fn steps(&self, release: &ReleaseKey, memory: &mut Memory, epoch: u64) -> Result<Next, PassError> {
        // 1 read (cluster)
        let Some(read) = self.read(release, memory, epoch).await? else { return Ok(Next::Event) };
        let now = self.clock.now();
        let Some(stored_record) = read.stored.record().cloned() else {
            return Err(PassError::Refused(
                "its record has a later schema; this version only reads it".to_owned(),
            ));
        };
        let newer = stored_record.epoch;
        if newer > epoch {
            self.newer.send_if_modified(|seen| std::mem::replace(seen, newer.max(*seen)) < newer);
            return Err(PassError::Deposed { newer, epoch });
        }
        let before = memory.working.clone().unwrap_or_else(|| stored_record.clone());
        self.want_images(release, &before, &read.head);

        // 2 advance (pure), 3 effects (pure)
        let begun = Instant::now();
        let (mut record, mut transitions, due, effects) =
            self.decide(release, memory, &read, &before, epoch, now);
        self.reporter.metrics().queue.stage(Stage::Plan, begun.elapsed());

        // 4 store (cluster): intent first, events in the outbox
        memory.remember(&read.head, &record);
        let (stored, written) = self
            .store(release, memory, read.stored, &stored_record, &mut record, &mut transitions, now)
            .await?;
        if record.rollouts > before.rollouts {
            self.images.again(release);
        }
        self.want_images(release, &record, &read.head);

        // 5 apply (cluster): fenced, idempotent
        let applied = self.apply(release, memory, &read.namespace, &record, effects).await;

        // 6 report
        self.reporter.report(release, &read.namespace, &stored, &record, &transitions);
        self.assign(release, &read.namespace, &record, &read.observed);
        let wants =
            rollout::order::wants_slot(release, &record, &self.standings.around(release, &record), now);
        let waiting = self.slots.note(release, Some(&record), wants);
        for waiting in waiting.into_iter().chain(self.standings.note(release, Some(&record))) {
            self.queue.soon(&waiting);
        }
        memory.working = Some(record);
        memory.stored = Some(stored);
        if applied? || written {
            self.queue.soon(release);
        }
        // An earlier pass takes the place of a later one in the queue, so each says again when to trim.
        let trim = memory.acknowledged.and_then(|(_, since)| since.checked_add(TRIM_AFTER).ok());
        let due = due.into_iter().chain(trim).min();
        Ok(due.map_or(Next::Event, |at| Next::At(self.clock.instant(at))))
    }

    fn decide(
        &self,
        release: &ReleaseKey,
        memory: &Memory,
        read: &Read,
        before: &Record,
        epoch: u64,
        now: Timestamp,
    ) -> (Record, Vec<Transition>, Option<Timestamp>, Effects) {
        let images = self.known_images(release, before, &read.head);
        let samples = self.evidence.samples(release);
        let around = self.standings.around(release, before);
        let wants = rollout::order::wants_slot(release, before, &around, now);
        let input = Inputs {
            release,
            namespace: &read.namespace,
            head: &read.head,
            waiting: memory.waiting.as_deref(),
            direct: memory.direct.as_deref(),
            images: &images,
            observed: &read.observed,
            samples: samples.as_ref(),
            commands: &read.stored.spec.commands,
            unreadable: &read.stored.spec.unreadable,
            suspended: read.stored.spec.suspend,
            around: &around,
            slot: self.slots.available(release, wants),
            session: self.session,
            epoch,
            now,
        };
        let Advance { mut record, transitions, due } = rollout::advance(before, &input);
        let effects = rollout::effects(&mut record, &input);
        (record, transitions, due, effects)
    }

    /// Stores what is worth a write; true if something was written.
    #[allow(clippy::too_many_arguments)] // Each is one thing that storing rests on.
    async fn store(
        &self,
        release: &ReleaseKey,
        memory: &mut Memory,
        previous: Stored,
        before: &Record,
        record: &mut Record,
        transitions: &mut Vec<Transition>,
        now: Timestamp,
    ) -> Result<(Stored, bool), PassError> {
        let source = self.event_source(&previous, &previous.namespace);
        let dropped: Vec<Transition> = transitions
            .iter()
            .filter_map(|transition| outbox::outbox_push(record, &source, transition))
            .collect();
        transitions.extend(dropped);
        let waited =
            memory.acknowledged.is_some_and(|(_, since)| rollout::gates::elapsed(since, now) >= TRIM_AFTER);
        if !rollout::must_store(before, record) && !waited {
            return Ok((previous, false));
        }
        if let Some((sequence, _)) = memory.acknowledged.take() {
            outbox::outbox_trim(record, sequence);
        }
        let begun = Instant::now();
        let stored = self.cluster.store_record(release, &previous, record).await?;
        self.reporter.metrics().queue.stage(Stage::Record, begun.elapsed());
        // What the server took without a change is no reason to look again.
        let written = stored.resource_version != previous.resource_version;
        let moved = written && rollout::must_store(before, record);
        Ok((stored, moved))
    }

    /// Executes the writes in order. A refusal is kept for the next decision; what another time may mend ends the pass.
    async fn apply(
        &self,
        release: &ReleaseKey,
        memory: &mut Memory,
        namespace: &Namespace,
        record: &Record,
        effects: Effects,
    ) -> Result<bool, PassError> {
        let begun = Instant::now();
        if effects.namespace_missing {
            self.make_namespace(release, namespace).await?;
            return Ok(true);
        }
        let owner = Owner { release, namespace, team: &record.team };
        let mut applied = false;
        for write in &effects.writes {
            match self.cluster.execute(owner, write).await {
                Ok(_) => {
                    // That a pod goes is seen when the watch shows it, and not before.
                    applied |= !matches!(write, Write::ReplacePod { .. });
                    if let Some(key) = key_of(write) {
                        memory.refusals.remove(key);
                    }
                }
                Err(error) => match (error.refusal(), key_of(write)) {
                    (Some(refusal), Some(key)) => {
                        tracing::warn!(%release, object = %key, verb = write.verb(), %refusal, "a write was refused");
                        memory.refusals.insert(key.clone(), refusal);
                        return Err(PassError::Write(Box::new(error)));
                    }
                    _ if matches!(error, WriteError::Conflict { .. }) => return Err(PassError::Conflict),
                    _ => return Err(PassError::Write(Box::new(error))),
                },
            }
        }
        if applied {
            self.reporter.metrics().queue.stage(Stage::Apply, begun.elapsed());
        }
        Ok(applied)
    }

    fn assign(&self, release: &ReleaseKey, namespace: &Namespace, record: &Record, observed: &Observed) {
        let view = view::View::new(record, release, namespace.as_str(), observed);
        self.evidence.assign(release, rollout::assignment(record, release, namespace, &view, observed));
    }

    /// Asks for the images of the head and of the waiting candidate; nothing where stable runs what the head asks for.
    fn want_images(&self, release: &ReleaseKey, record: &Record, head: &Head) {
        let mut wanted: Vec<(Identity, ImageRequest)> = Vec::new();
        if let Some(Candidate::Waiting { identity, image, .. }) =
            record.rollout.as_ref().map(|rollout| &rollout.candidate)
        {
            wanted.push((identity.clone(), image.clone()));
        }
        if let Head::Known(desired) = head {
            let stable =
                record.stable.as_ref().is_some_and(|stable| stable.version.identity == desired.identity);
            let running = record.rollout.as_ref().and_then(|rollout| rollout.candidate.version());
            let pinned = running.is_some_and(|version| version.identity == desired.identity);
            let already = wanted.iter().any(|(identity, _)| *identity == desired.identity);
            if !stable && !pinned && !already {
                wanted.push((desired.identity.clone(), desired.image.clone()));
            }
        }
        self.images.want(release, &wanted);
    }

    fn known_images(
        &self,
        release: &ReleaseKey,
        record: &Record,
        head: &Head,
    ) -> BTreeMap<Identity, ImageState> {
        let candidate = record.rollout.as_ref().map(|rollout| rollout.candidate.identity());
        let head = head.desired().map(|desired| &desired.identity);
        let known = candidate.into_iter().chain(head);
        known.map(|identity| (identity.clone(), self.images.state_of(release, identity))).collect()
    }

    pub(super) fn event_source(&self, stored: &Stored, namespace: &Namespace) -> EventSource {
        EventSource {
            release_uid: stored.uid.clone(),
            cluster: self.config.cluster.name.clone(),
            namespace: namespace.to_string(),
        }
    }
}

fn key_of(write: &Write) -> Option<&ObjectKey> {
    match write {
        Write::Apply { manifest, .. } => Some(&manifest.key),
        Write::Scale { key, .. }
        | Write::Raise { key, .. }
        | Write::Start { key, .. }
        | Write::Route { key, .. }
        | Write::Delete { key, .. }
        | Write::ReplacePod { key, .. } => Some(key),
        Write::SaveRevision { .. } | Write::MarkRevision { .. } | Write::DropRevision { .. } => None,
    }
}
