//! What a driver is made of, and what it is told beside its passes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::memory::Memories;
use super::pass::{Driver, TRIM_AFTER};
use super::queue::Queue;
use super::report::Reporter;
use super::slots::Slots;
use super::sources::Sources;
use super::standings::Standings;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::event::publisher::Acked;
use crate::evidence::images::Images;
use crate::evidence::observe::Evidence;
use crate::model::desired::HeadUpdate;
use crate::model::name::{ReleaseKey, SourceName};

/// What differs between a daemon and a simulated one.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// The cluster.
    pub cluster: Cluster,
    /// The queue.
    pub queue: Queue,
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
}

impl Parts {
    /// Makes a driver that remembers nothing and has given no slot away.
    pub fn driver(self) -> Driver {
        let Self { config, cluster, queue, evidence, images, reporter, session, clock } = self;
        let limits: BTreeMap<_, _> =
            config.environments.iter().map(|(name, e)| (name.clone(), e.max_concurrent_rollouts)).collect();
        let sources = Sources::new(config.sources.keys().cloned());
        Driver {
            sources,
            config,
            cluster,
            memories: Memories::default(),
            queue,
            slots: Slots::new(limits),
            standings: Standings::default(),
            evidence,
            images,
            reporter,
            session,
            clock,
            newer: watch::Sender::default(),
        }
    }
}

impl Driver {
    /// Takes over what a source says of its releases, all of it before the first pass looks at what it comes after.
    pub async fn heard(
        &self,
        source: &SourceName,
        heads: impl IntoIterator<Item = (ReleaseKey, HeadUpdate)>,
    ) {
        let mut due = Vec::new();
        for (release, update) in heads {
            let memory = self.memories.of(&release);
            let mut memory = memory.lock().await;
            if memory.note_head(source, update) {
                due.push(release.clone());
            }
            due.extend(self.standings.note_head(&release, &memory.head()));
        }
        for release in &due {
            self.queue.soon(release);
        }
    }

    /// Notes what the broker acknowledged; it is trimmed with the next write of the record, or by a pass of its own.
    pub async fn acknowledged(&self, acked: Acked) {
        let Acked { release, uid, sequence } = acked;
        let memory = self.memories.of(&release);
        let mut memory = memory.lock().await;
        if memory.stored.as_ref().is_none_or(|stored| stored.uid != uid) {
            return;
        }
        let (highest, since) = memory.acknowledged.unwrap_or((0, self.clock.now()));
        if memory.acknowledged.is_none() {
            self.queue.at(release, Instant::now() + TRIM_AFTER);
        }
        memory.acknowledged = Some((highest.max(sequence), since));
    }
}
