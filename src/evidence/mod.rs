//! The evidence loop: asks pods how they are, counts what they answered, and asks registries for digests.
//!
//! In: per release an [`crate::model::samples::Assignment`] and an image request, replaced whenever they change. Out: per release
//! [`crate::model::samples::Samples`] and [`crate::model::image::ImageState`], read without waiting, and a wake-up whenever
//! something changed that a decision may follow from. Decides nothing: a verdict is the pass's. Forgets everything at a restart;
//! what counts is in the record.
//!
//! May use: the network, the `clock` and the `model`; no other room. Every question has a deadline, every answer a size limit, every fan-out
//! a bound; one pod or registry that hangs costs its own timeout and delays nobody else's.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

mod buckets;
mod challenge;
pub mod check;
pub mod dial;
pub mod exposition;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod grpc;
pub mod images;
pub mod observe;
pub mod outside;
pub mod prometheus;
mod question;
pub mod registry;
mod sheet;
mod timings;
pub mod wake;

/// Locks a map whose holders never leave it half changed, so that a panic elsewhere cannot poison the room.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a generator that gives each key its own, repeatable numbers.
fn seeded(seed: u64, key: &str) -> StdRng {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    StdRng::seed_from_u64(seed ^ hasher.finish())
}

/// Returns a part of `longest`, evenly drawn.
fn part_of(longest: Duration, random: &mut StdRng) -> Duration {
    longest.mul_f64(random.random::<f64>())
}
