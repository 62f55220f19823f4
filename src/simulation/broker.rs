//! The broker of a simulation: it takes what outboxes offer, acknowledges after a while or never, and remembers every event that ever
//! reached it.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::event::publisher::{Acked, Outgoing};
use crate::model::name::ReleaseKey;

/// What the world was told under one id.
pub(super) struct Told {
    pub(super) kind: String,
    pub(super) bytes: String,
}

/// Events by the UID of their record, then in order.
pub(super) type Topic = BTreeMap<(ReleaseKey, String), BTreeMap<u64, Vec<Told>>>;

/// See the module.
#[derive(Default)]
pub(super) struct Broker {
    pub(super) topic: Topic,
    /// Acknowledgements on their way, each for the daemon that offered.
    acks: BTreeMap<(Instant, u64), (u64, Acked)>,
    counter: u64,
    away_until: Option<Instant>,
    /// What publishers hold until it is back.
    held: Vec<(u64, Outgoing)>,
    /// An event came twice with other bytes: its id.
    pub(super) contradiction: Option<String>,
}

impl Broker {
    /// Takes nothing until then.
    pub(super) fn away(&mut self, until: Instant) {
        self.away_until = Some(until);
    }

    /// Takes an offer of a daemon, whole.
    pub(super) fn take(&mut self, daemon: u64, outgoing: Outgoing, random: &mut StdRng) {
        let now = Instant::now();
        if self.away_until.is_some_and(|until| now < until) {
            self.held.push((daemon, outgoing));
            return;
        }
        let Outgoing { release, uid, entries } = outgoing;
        let Some(last) = entries.last().map(|(sequence, _)| *sequence) else { return };
        let lane = self.topic.entry((release.clone(), uid.clone())).or_default();
        for (sequence, entry) in entries {
            let events = entry.events.into_iter();
            let told: Vec<Told> = events.map(|event| Told { kind: event.kind, bytes: event.data }).collect();
            match lane.get(&sequence) {
                None => {
                    lane.insert(sequence, told);
                }
                Some(known) => {
                    let same = known.iter().map(|one| &one.bytes).eq(told.iter().map(|one| &one.bytes));
                    if !same {
                        self.contradiction = Some(format!("{release} {sequence}"));
                    }
                }
            }
        }
        self.counter += 1;
        let at = now + Duration::from_millis(random.random_range(2..400));
        self.acks.insert((at, self.counter), (daemon, Acked { release, uid, sequence: last }));
    }

    /// Takes what was held once it is back; what a daemon held that is dead is lost.
    pub(super) fn back(&mut self, lives: impl Fn(u64) -> bool, random: &mut StdRng) {
        if self.away_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        for (daemon, outgoing) in std::mem::take(&mut self.held) {
            if lives(daemon) {
                self.take(daemon, outgoing, random);
            }
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let back = self.away_until.filter(|_| !self.held.is_empty());
        self.acks.keys().next().map(|(at, _)| *at).into_iter().chain(back).min()
    }

    /// Takes the acknowledgements that have arrived.
    pub(super) fn arrived(&mut self) -> Vec<(u64, Acked)> {
        let now = Instant::now();
        let mut arrived = Vec::new();
        while let Some(entry) = self.acks.first_entry()
            && entry.key().0 <= now
        {
            arrived.push(entry.remove());
        }
        arrived
    }
}
