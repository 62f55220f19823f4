//! The first step of a pass: record, head and cluster, as values. A record that is not there is made or rebuilt here.

use crate::cluster::record::{Contents, Stored};
use crate::cluster::revision::Owner;
use crate::cluster::watched::ROUTES;
use crate::event::outbox;
use crate::model::desired::Head;
use crate::model::name::{Namespace, ReleaseKey};
use crate::model::object::ObjectKey;
use crate::model::observed::{Known, Observed};
use crate::model::record::Record;
use crate::model::traffic::Router;
use crate::render;
use crate::rollout::{self, view};
use crate::telemetry::metrics::Stage;

use super::error::PassError;
use super::memory::Memory;
use super::pass::Driver;
use tokio::time::Instant;

/// What a pass read.
pub(super) struct Read {
    pub namespace: Namespace,
    pub head: Head,
    pub stored: Stored,
    pub observed: Observed,
}

impl Driver {
    /// Reads record, head and cluster; `None` where there is nothing to run.
    pub(super) async fn read(
        &self,
        release: &ReleaseKey,
        memory: &mut Memory,
        epoch: u64,
    ) -> Result<Option<Read>, PassError> {
        let begun = Instant::now();
        let places = self.cluster.view().releases(release);
        let (owner, head) = (memory.owner().cloned(), memory.head());
        let here = places.first().map(|seen| seen.namespace.clone());
        let wanted = head.desired().map(|desired| desired.namespace.clone());
        let namespace = match (here.and_then(|text| text.parse::<Namespace>().ok()), wanted) {
            (Some(here), Some(wanted)) if here != wanted => {
                let sentence = format!(
                    "E_MOVED: its Release is in namespace {here} and its environment's rule now says {wanted}: move it by hand, or put the rule back"
                );
                return Err(PassError::Refused(sentence));
            }
            (Some(namespace), _) | (None, Some(namespace)) => namespace,
            (None, None) => {
                self.forget(release);
                return Ok(None);
            }
        };
        let generation = places.first().map(|seen| seen.generation);
        let fresh = self.refresh(release, memory, &namespace, generation).await?;
        if memory.stored.as_ref().is_none_or(|stored| matches!(stored.contents, Contents::Empty)) {
            let Some(()) = self.found(release, memory, &namespace, &head, epoch).await? else {
                return Ok(None);
            };
        }
        let Some(stored) = memory.stored.clone() else { return Ok(None) };
        // The owner may only now be known, by a record that was made or read here.
        let head = if memory.owner() == owner.as_ref() { head } else { memory.head() };
        let head = self.head_of(release, memory, head);
        let mut keys = wanted_keys(release, &namespace, &head, stored.record());
        let mut observed =
            self.cluster.observe(release, &namespace, &keys).await.map_err(PassError::Unsynced)?;
        let kept = observed
            .revisions
            .values()
            .filter_map(Known::present)
            .flat_map(|revision| revision.objects.iter().map(|manifest| manifest.key.clone()));
        // What a router needs beside them is looked for only where there may be one.
        let is_route = |key: &ObjectKey| rollout::route::dialect(key).is_some();
        let routed = observed.routes.objects.keys().any(is_route) || stored.record().is_some_and(is_routed);
        let tracks = stored
            .record()
            .filter(|_| routed)
            .map(|record| rollout::track_keys(release, namespace.as_str(), record));
        let kept: Vec<ObjectKey> = kept
            .chain(tracks.into_iter().flatten())
            .filter(|key| !observed.objects.contains_key(key))
            .collect();
        if !kept.is_empty() {
            keys.extend(kept);
            observed = self.cluster.observe(release, &namespace, &keys).await.map_err(PassError::Unsynced)?;
        }
        self.cluster.view().keep(release, &keys);
        if let Some(record) = stored.record().filter(|_| !fresh)
            && rollout::newest_epoch(record, release, &observed) > record.epoch
        {
            // Another leader has written since: not a word of what is remembered counts before the record is read again.
            return Err(PassError::Conflict);
        }
        observed.refusals = memory.refusals.clone();
        self.reporter.metrics().queue.stage(Stage::Observe, begun.elapsed());
        Ok(Some(Read { namespace, head, stored, observed }))
    }

    /// The head by which the release is run. What its source does not say, and who else claims it, is noted where people see it.
    fn head_of(&self, release: &ReleaseKey, memory: &Memory, head: Head) -> Head {
        let Some(owner) = memory.owner() else { return head };
        if memory.heads.len() > usize::from(memory.heads.contains_key(owner)) {
            self.sources.refuse(release, owner, memory.claims(owner));
        }
        if memory.heads.contains_key(owner) {
            self.sources.heard(owner, release);
            return head;
        }
        match self.sources.why_silent(owner, release) {
            Some(reason) => Head::None { reason, looked: true },
            None => head,
        }
    }

    /// Reads the record where it is not known, or where people changed its `spec`; tells whether it did.
    async fn refresh(
        &self,
        release: &ReleaseKey,
        memory: &mut Memory,
        namespace: &Namespace,
        generation: Option<u64>,
    ) -> Result<bool, PassError> {
        let known = memory.stored.as_ref().map(|stored| stored.generation);
        let gone = generation.is_none() && known.is_some();
        if known.is_some() && !gone && known >= generation {
            return Ok(false);
        }
        if known.is_some() && !gone {
            // Somebody asks for something: what stood in the way may be gone.
            self.cluster.view().forget_outside(release);
        }
        let stored = self.cluster.read_record(release, namespace).await?;
        let same = match (&stored, &memory.stored) {
            (Some(new), Some(old)) => new.uid == old.uid && new.raw_status == old.raw_status,
            _ => false,
        };
        if !same {
            memory.working = None;
        }
        memory.stored = stored;
        Ok(true)
    }

    /// There is no record: a first deploy, or a record that was lost.
    async fn found(
        &self,
        release: &ReleaseKey,
        memory: &mut Memory,
        namespace: &Namespace,
        head: &Head,
        epoch: u64,
    ) -> Result<Option<()>, PassError> {
        let Head::Known(desired) = head else { return Ok(None) };
        let keys = wanted_keys(release, namespace, head, None);
        let observed = self.cluster.observe(release, namespace, &keys).await.map_err(PassError::Unsynced)?;
        match observed.namespace {
            Known::Present(()) => {}
            Known::Unknown => {
                return Err(PassError::Refused(format!("namespace {namespace} could not be read")));
            }
            Known::Absent => self.make_namespace(release, namespace).await?,
        }
        let owner = Owner { release, namespace, team: &desired.team };
        let rebuilt = rollout::rebuild(release, desired, &observed, epoch, self.clock.now());
        if let Some(keep) = &rebuilt.keep {
            self.cluster.execute(owner, keep).await.map_err(|error| PassError::Write(Box::new(error)))?;
        }
        let stored = self.cluster.create_record(owner).await?;
        let mut record = rebuilt.record;
        let source = self.event_source(&stored, namespace);
        for transition in &rebuilt.transitions {
            outbox::outbox_push(&mut record, &source, transition);
        }
        let stored = self.cluster.store_record(release, &stored, &record).await?;
        self.reporter.report(release, namespace, &stored, &record, &rebuilt.transitions);
        memory.working = None;
        memory.stored = Some(stored);
        Ok(Some(()))
    }

    pub(super) async fn make_namespace(
        &self,
        release: &ReleaseKey,
        namespace: &Namespace,
    ) -> Result<(), PassError> {
        let environment = self.config.environments.get(&release.environment);
        if environment.is_some_and(|environment| environment.create_namespace) {
            let made = self.cluster.ensure_namespace(namespace).await;
            return made.map_err(|error| {
                PassError::Refused(format!("namespace {namespace} could not be created: {error}"))
            });
        }
        Err(PassError::Refused(format!(
            "namespace {namespace} does not exist: create it, or set create_namespace for environment {}",
            release.environment
        )))
    }

    /// Neither a source nor the cluster knows the release any more.
    fn forget(&self, release: &ReleaseKey) {
        self.evidence.assign(release, None);
        self.images.want(release, &[]);
        self.reporter.forget(release);
        let waiting = self.slots.note(release, None, false);
        for waiting in waiting.into_iter().chain(self.standings.note(release, None)) {
            self.queue.soon(&waiting);
        }
    }
}

fn is_routed(record: &Record) -> bool {
    record.rollout.as_ref().or(record.serving.as_deref()).is_some_and(|rollout| rollout.router.is_some())
}

/// The routes that a pass must know about, whatever they name: the one of the running rollout, and the one that the file names.
fn routes(namespace: &Namespace, head: &Head, record: Option<&Record>) -> Vec<ObjectKey> {
    let running = record.and_then(|record| record.rollout.as_ref().or(record.serving.as_deref()));
    let router = running.and_then(|rollout| rollout.router.as_ref());
    let policies =
        running.map(|rollout| &rollout.policy).into_iter().chain(head.desired().map(|d| &d.policy));
    let named = policies.filter_map(|policy| policy.traffic.route.as_ref());
    let named = named.flat_map(|name| {
        ROUTES.map(|(api_version, kind)| ObjectKey {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_string(),
            name: name.clone(),
        })
    });
    router.and_then(Router::route).cloned().into_iter().chain(named).collect()
}

/// The objects that a pass must know about: what the inventory has, what the head asks for, and the two Deployments.
fn wanted_keys(
    release: &ReleaseKey,
    namespace: &Namespace,
    head: &Head,
    record: Option<&Record>,
) -> Vec<ObjectKey> {
    let target = record.and_then(|record| record.target.as_ref());
    let mut keys = vec![
        view::stable_key(target, release, namespace.as_str()),
        view::canary_key(target, release, namespace.as_str()),
    ];
    keys.push(render::autoscaler_key(release.service.as_str(), namespace.as_str()));
    keys.extend(record.into_iter().flat_map(|record| record.inventory.keys().cloned()));
    keys.extend(record.into_iter().flat_map(|record| rollout::job_keys(release, namespace.as_str(), record)));
    keys.extend(routes(namespace, head, record));
    keys.extend(
        head.desired()
            .into_iter()
            .flat_map(|desired| desired.objects.iter().map(|manifest| manifest.key.clone())),
    );
    keys.sort();
    keys.dedup();
    keys
}
