//! How much is kept: a document has to fit into one object of the cluster, whatever a forge sends.

use jiff::{SignedDuration, Timestamp};

use super::{Pull, PullState, Pulls};

/// Bytes of a document, as JSON.
pub const BYTES: usize = 900 * 1024;
/// Bytes of a document beside its pull requests.
const REST: usize = 256;
/// Open pull requests.
const OPEN: usize = 1_000;
/// Closed and merged ones.
const CLOSED: usize = 500;
/// How long those are kept. GitHub sends again what is at most three days old; nobody documents more.
const KEPT: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Labels of one.
pub(super) const LABELS: usize = 50;
/// People with a stance to one.
pub(super) const PEOPLE: usize = 50;
/// Characters of a name, a label or a title.
pub(super) const WORD: usize = 200;

/// Cuts what others wrote to one bounded line.
pub(super) fn cut(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Leaves out what is too much: closed ones after two weeks, then the oldest closed ones, then the open ones that nobody touched for
/// the longest time. Returns how many open ones had to go.
#[must_use]
pub fn bounded(mut pulls: Pulls, now: Timestamp) -> (Pulls, usize) {
    let old = now.checked_sub(KEPT).unwrap_or(Timestamp::MIN);
    // The one that goes first comes last.
    let mut order: Vec<(bool, Timestamp, u64, usize)> = Vec::with_capacity(pulls.pulls.len());
    for (number, pull) in &pulls.pulls {
        order.push((pull.state == PullState::Open, touched(pull), *number, size(*number, pull)));
    }
    order.sort_unstable_by(|a, b| b.cmp(a));
    let (mut open, mut closed, mut bytes, mut dropped) = (0, 0, REST, 0);
    for (is_open, at, number, size) in order {
        let count = if is_open { &mut open } else { &mut closed };
        let fits = *count < if is_open { OPEN } else { CLOSED } && bytes + size <= BYTES;
        if fits && (is_open || at > old) {
            *count += 1;
            bytes += size;
            continue;
        }
        pulls.pulls.remove(&number);
        pulls.forgotten = pulls.forgotten.max(Some(at));
        dropped += usize::from(is_open);
    }
    (pulls, dropped)
}

/// The newest time that anything of it has.
fn touched(pull: &Pull) -> Timestamp {
    pull.state_at.max(pull.updated_at)
}

/// Bytes as JSON in a document, its number included.
fn size(number: u64, pull: &Pull) -> usize {
    let body = serde_json::to_string(pull).map_or(BYTES, |text| text.len());
    body + number.to_string().len() + 4
}
