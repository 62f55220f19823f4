//! The images of a simulation: which tags the registry has and from when, what their digests are, and how their pods behave.
//!
//! A digest is the hash of the tag, so what a pod runs can be told from its pinned reference alone, as with a genuine registry; the
//! behaviour is read from the tag as [`crate::sandbox::node`] reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::evidence::registry::{Answer, Answers};
use crate::sandbox::Behaviour;
use crate::sandbox::node::{Pulled, Resolver};

/// What a registry has.
#[derive(Default)]
pub(super) struct Images(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    /// When each tag is there.
    tags: BTreeMap<String, Instant>,
    behaviours: BTreeMap<String, Behaviour>,
    /// The registry gives no usable answer.
    away: bool,
}

impl Images {
    fn open(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pushes an image that is there from `at` on; its pods behave as its tag says.
    pub(super) fn push(&self, tag: &str, at: Instant) {
        let mut open = self.open();
        open.tags.entry(tag.to_owned()).and_modify(|known| *known = at.min(*known)).or_insert(at);
        open.behaviours.insert(digest(tag), Behaviour::parse(tag));
    }

    pub(super) fn set_away(&self, away: bool) {
        self.open().away = away;
    }

    /// The registry, as the evidence loop asks it.
    pub(super) fn answers(self: &Arc<Self>) -> Answers {
        let images = Arc::clone(self);
        Arc::new(move |_, tag| {
            let open = images.open();
            if open.away {
                return Answer::Unknown { reason: "HTTP 503".to_owned(), retry_after: None };
            }
            let there = open.tags.get(tag).is_some_and(|at| *at <= Instant::now());
            match digest(tag).parse() {
                Ok(digest) if there => Answer::Found(digest),
                _ => Answer::Absent,
            }
        })
    }

    /// The registry, as the node pulls from it.
    pub(super) fn resolver(self: &Arc<Self>) -> Resolver {
        let images = Arc::clone(self);
        Arc::new(move |image| {
            let digest = image.split_once('@').map_or("", |(_, digest)| digest);
            let behaviour = images.open().behaviours.get(digest).cloned().unwrap_or_default();
            Pulled { behaviour, image_id: Some(image.to_owned()) }
        })
    }
}

/// The digest of a tag.
pub(super) fn digest(tag: &str) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(tag.as_bytes()) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
