//! Wake-ups from the evidence loop to the queue: a set of release keys, so that a release that is named a thousand times before the
//! queue looks is named once, and memory is bounded by the number of releases.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::lock;
use crate::model::name::ReleaseKey;

#[derive(Debug, Default)]
struct Shared {
    due: Mutex<BTreeSet<ReleaseKey>>,
    notify: Notify,
}

/// The sending half; cheap to clone.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Shared>);

/// The receiving half.
#[derive(Debug)]
pub struct Woken(Arc<Shared>);

/// Makes a pair. Nothing is lost while nobody receives.
pub fn pair() -> (Waker, Woken) {
    let shared = Arc::new(Shared::default());
    (Waker(Arc::clone(&shared)), Woken(shared))
}

impl Waker {
    /// Says that a decision about the release may have changed; never waits.
    pub fn wake(&self, release: &ReleaseKey) {
        let mut due = lock(&self.0.due);
        if !due.contains(release) {
            due.insert(release.clone());
            self.0.notify.notify_one();
        }
    }
}

impl Woken {
    /// Returns the next release that was named since it was last returned; waits while there is none. Safe to cancel.
    pub async fn next(&mut self) -> ReleaseKey {
        loop {
            if let Some(release) = lock(&self.0.due).pop_first() {
                return release;
            }
            self.0.notify.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_release_named_often_is_due_once() {
        let (waker, mut woken) = pair();
        let [a, b]: [ReleaseKey; 2] = ["a.test", "b.test"].map(|key| key.parse().unwrap());
        for key in [&b, &a, &b] {
            waker.wake(key);
        }
        assert_eq!(woken.next().now_or_never(), Some(a.clone()));
        assert_eq!(woken.next().now_or_never(), Some(b));
        assert_eq!(woken.next().now_or_never(), None);
        waker.wake(&a);
        assert_eq!(woken.next().now_or_never(), Some(a));
    }
}
