//! Hints: "look at this source again". A hint carries no data that is trusted, and any number of them during one look are one more
//! look: the permit of a [`Notify`] is exactly the dirty flag.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use super::report::Trigger;
use crate::model::name::SourceName;

/// The hint's two ends, for one source.
#[derive(Debug, Clone, Default)]
pub struct Hint(Arc<State>);

#[derive(Debug, Default)]
struct State {
    notify: Notify,
    trigger: AtomicU8,
}

impl Hint {
    /// Asks for a look. Never blocks; returns at once.
    pub fn send(&self, trigger: Trigger) {
        let rank = match trigger {
            Trigger::Start | Trigger::Poll => 1,
            Trigger::Notify => 2,
            Trigger::Webhook => 3,
        };
        self.0.trigger.fetch_max(rank, Ordering::AcqRel);
        self.0.notify.notify_one();
    }

    /// Waits for a hint and takes every one that was given so far.
    pub async fn wait(&self) -> Trigger {
        self.0.notify.notified().await;
        match self.0.trigger.swap(0, Ordering::AcqRel) {
            3 => Trigger::Webhook,
            2 => Trigger::Notify,
            _ => Trigger::Poll,
        }
    }
}

/// The hints of all sources by name.
#[derive(Debug, Clone, Default)]
pub struct Hints(BTreeMap<SourceName, Hint>);

impl Hints {
    /// Makes one for each source.
    pub fn new(names: impl IntoIterator<Item = SourceName>) -> Self {
        Self(names.into_iter().map(|name| (name, Hint::default())).collect())
    }

    /// Returns that of a source.
    pub fn get(&self, name: &SourceName) -> Option<&Hint> {
        self.0.get(name)
    }

    /// Asks for a look at every source.
    pub fn send_all(&self, trigger: Trigger) {
        self.0.values().for_each(|hint| hint.send(trigger));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_hints_are_one_look_and_the_strongest_reason_is_told() {
        let hint = Hint::default();
        for _ in 0..50 {
            hint.send(Trigger::Notify);
        }
        hint.send(Trigger::Webhook);
        hint.send(Trigger::Poll);
        assert_eq!(hint.wait().await, Trigger::Webhook);
        let second = tokio::time::timeout(std::time::Duration::from_secs(1), hint.wait()).await;
        assert!(second.is_err(), "nothing was left over");
    }
}
