//! One release's entries on their way to the broker: at most one in flight, the rest in order behind it. Pure.

use std::collections::VecDeque;

use crate::model::record::OutboxEntry;

/// A lane.
#[derive(Debug, Default)]
pub struct Lane {
    uid: String,
    /// Everything up to here was acknowledged.
    acked: u64,
    in_flight: Option<u64>,
    waiting: VecDeque<(u64, OutboxEntry)>,
    bytes: usize,
}

fn size(entry: &OutboxEntry) -> usize {
    entry.events.iter().map(|event| event.data.len() + 256).sum()
}

impl Lane {
    /// Returns the UID of the record whose entries wait.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Returns the bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells whether there is nothing to send and nothing in flight.
    pub fn idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// Tells whether there is something to send and nothing in flight.
    pub fn ready(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// Returns how many entries are not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.waiting.len() + usize::from(self.in_flight.is_some())
    }

    /// Replaces what waits by a record's whole outbox, as far as `room` bytes allow; what does not fit is the newest, and comes with
    /// a later offer. Returns a sequence number that the record could have trimmed already: its acknowledgement got lost.
    pub fn offer(&mut self, uid: String, entries: Vec<(u64, OutboxEntry)>, room: usize) -> Option<u64> {
        if self.uid != uid {
            // Another record under the same name: what is in flight belongs to the one before it and lands for itself.
            *self = Self { uid, in_flight: self.in_flight.map(|_| 0), ..Self::default() };
        }
        let again = entries.iter().any(|(sequence, _)| *sequence <= self.acked).then_some(self.acked);
        let after = self.in_flight.unwrap_or_default().max(self.acked);
        self.waiting.clear();
        self.bytes = 0;
        for (sequence, entry) in entries {
            let bytes = size(&entry);
            if sequence <= after {
                continue;
            }
            if self.bytes + bytes > room {
                break;
            }
            self.bytes += bytes;
            self.waiting.push_back((sequence, entry));
        }
        again
    }

    /// Takes the next entry to send; `None` while one is in flight.
    pub fn depart(&mut self) -> Option<(u64, OutboxEntry)> {
        if self.in_flight.is_some() {
            return None;
        }
        let (sequence, entry) = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size(&entry));
        self.in_flight = Some(sequence);
        Some((sequence, entry))
    }

    /// Notes that what was in flight has landed.
    pub fn land(&mut self, uid: &str, sequence: u64) {
        self.in_flight = None;
        if self.uid == uid {
            self.acked = self.acked.max(sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(numbers: &[u64]) -> Vec<(u64, OutboxEntry)> {
        let entry = OutboxEntry { at: jiff::Timestamp::UNIX_EPOCH, events: Vec::new() };
        numbers.iter().map(|number| (*number, entry.clone())).collect()
    }

    fn waits(lane: &Lane) -> Vec<u64> {
        lane.waiting.iter().map(|(sequence, _)| *sequence).collect()
    }

    #[test]
    fn one_leaves_when_the_one_before_has_landed() {
        let mut lane = Lane::default();
        assert_eq!(lane.offer("a".into(), entries(&[1, 2]), 1000), None);
        assert_eq!(lane.depart().unwrap().0, 1);
        assert!(lane.depart().is_none());
        lane.land("a", 1);
        assert_eq!(lane.depart().unwrap().0, 2);
    }

    #[test]
    fn the_newest_offer_replaces_what_waits_and_nothing_goes_twice() {
        let mut lane = Lane::default();
        lane.offer("a".into(), entries(&[1, 2, 3]), 1000);
        lane.depart();
        // 2 and 3 were collapsed into 4 meanwhile.
        assert_eq!(lane.offer("a".into(), entries(&[1, 4]), 1000), None);
        assert_eq!(waits(&lane), [4]);
        lane.land("a", 1);
        // The record was not trimmed: tell it again.
        assert_eq!(lane.offer("a".into(), entries(&[1, 4, 5]), 1000), Some(1));
        assert_eq!(waits(&lane), [4, 5]);
    }

    #[test]
    fn a_new_record_of_the_same_name_begins_anew() {
        let mut lane = Lane::default();
        lane.offer("a".into(), entries(&[7, 8]), 1000);
        lane.depart();
        assert_eq!(lane.offer("b".into(), entries(&[1, 2]), 1000), None);
        assert_eq!((waits(&lane), lane.ready()), (vec![1, 2], false));
        lane.land("a", 7);
        assert_eq!((waits(&lane), lane.ready(), lane.acked), (vec![1, 2], true, 0));
    }

    #[test]
    fn what_does_not_fit_is_the_newest() {
        let event = crate::event::catalogue::stories::published().remove(0);
        let entry = OutboxEntry { at: jiff::Timestamp::UNIX_EPOCH, events: vec![event] };
        let mut lane = Lane::default();
        let room = size(&entry) * 2;
        lane.offer("a".into(), vec![(1, entry.clone()), (2, entry.clone()), (3, entry)], room);
        assert_eq!((waits(&lane), lane.bytes()), (vec![1, 2], room));
    }
}
