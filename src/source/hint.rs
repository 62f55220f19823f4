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
            Trigger::Asked => 3,
            Trigger::Webhook => 4,
        };
        self.0.trigger.fetch_max(rank, Ordering::AcqRel);
        self.0.notify.notify_one();
    }

    /// Waits for a hint and takes every one that was given so far.
    pub async fn wait(&self) -> Trigger {
        self.0.notify.notified().await;
        self.strongest().unwrap_or(Trigger::Poll)
    }

    /// Takes every hint that was given so far, without waiting.
    pub(super) fn take(&self) -> Option<Trigger> {
        let mut notified = std::pin::pin!(self.0.notify.notified());
        // A permit that is there is taken at once; a waiter that is not is gone again with the future.
        notified.as_mut().enable().then(|| self.strongest().unwrap_or(Trigger::Poll))
    }

    fn strongest(&self) -> Option<Trigger> {
        match self.0.trigger.swap(0, Ordering::AcqRel) {
            4 => Some(Trigger::Webhook),
            3 => Some(Trigger::Asked),
            2 => Some(Trigger::Notify),
            1 => Some(Trigger::Poll),
            _ => None,
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

    #[tokio::test]
    async fn many_hints_are_one_look_and_the_strongest_reason_is_told() {
        let hint = Hint::default();
        for _ in 0..50 {
            hint.send(Trigger::Notify);
        }
        hint.send(Trigger::Webhook);
        hint.send(Trigger::Poll);
        assert_eq!(hint.wait().await, Trigger::Webhook);
        assert_eq!(hint.take(), None, "nothing was left over");
        hint.send(Trigger::Notify);
        assert_eq!(hint.take(), Some(Trigger::Notify));
        assert_eq!(hint.take(), None);
    }
}
