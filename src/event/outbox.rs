//! The outbox: events wait in the record until the broker has acknowledged them. Pure.
//!
//! State and event commit together, so an entry is pushed in the same write as the transition that it tells. Numbers are never
//! used twice: an id that was sent once keeps its bytes.

use super::catalogue::{self, EventSource, types};
use crate::model::record::{OutboxEntry, Record};
use crate::model::transition::{Kind, Transition};

/// Adds the events of a transition to the record's outbox under the next sequence number. If that fills it, everything that does
/// not say how something ended is dropped for one entry that says so; the transition of that entry is returned, to be announced
/// like any other.
pub fn outbox_push(record: &mut Record, source: &EventSource, transition: &Transition) -> Option<Transition> {
    push(record, source, transition);
    if !record.outbox_full() {
        return None;
    }
    let dropped = collapse(record, transition)?;
    push(record, source, &dropped);
    Some(dropped)
}

/// Removes the entries that were acknowledged up to and including `sequence`.
pub fn outbox_trim(record: &mut Record, sequence: u64) {
    let sequence = sequence.min(record.sequence);
    record.outbox.retain(|number, _| *number > sequence);
    record.published = record.published.max(sequence);
}

fn push(record: &mut Record, source: &EventSource, transition: &Transition) {
    record.sequence = record.sequence.saturating_add(1);
    let entry = catalogue::entry(source, record.sequence, transition, record.chain_tail.as_ref());
    record.chain_tail = catalogue::tail_after(source, transition, &entry, record.chain_tail.as_ref());
    record.outbox.insert(record.sequence, entry);
}

fn is_terminal(entry: &OutboxEntry) -> bool {
    entry.events.iter().any(|event| types::by_name(&event.kind).is_some_and(|kind| kind.terminal))
}

/// Returns the first sequence number that an entry stands for, and how many: an earlier marker stands for all that it replaced.
fn stands_for(sequence: u64, entry: &OutboxEntry) -> (u64, u64) {
    let marker = entry.events.iter().find(|event| event.kind == types::EVENTS_DROPPED.name);
    let number = |key: &str| {
        let data: serde_json::Value = serde_json::from_str(&marker?.data).ok()?;
        data.pointer("/subject/content")?.get(key)?.as_u64()
    };
    match (number("from"), number("count")) {
        (Some(from), Some(count)) => (from, count),
        _ => (sequence, 1),
    }
}

/// Returns what a full outbox would drop; a marker alone is not worth another one.
fn droppable(record: &Record) -> impl Iterator<Item = u64> {
    let progress: Vec<u64> =
        record.outbox.iter().filter(|(_, entry)| !is_terminal(entry)).map(|(number, _)| *number).collect();
    let worth = progress.len() > 1;
    progress.into_iter().filter(move |_| worth)
}

fn collapse(record: &mut Record, cause: &Transition) -> Option<Transition> {
    let numbers: Vec<u64> = droppable(record).collect();
    let to = numbers.last().copied()?;
    let (mut from, mut count) = (u64::MAX, 0_u64);
    for number in numbers {
        if let Some(entry) = record.outbox.remove(&number) {
            let (first, many) = stands_for(number, &entry);
            from = from.min(first);
            count = count.saturating_add(many);
        }
    }
    let sentence = format!(
        "the outbox was full: {count} entries that say no end, numbers {from} to {to}, were dropped; does the broker answer?"
    );
    // It belongs to no rollout: the chain goes on from the event before it.
    Some(Transition {
        rollout: None,
        kind: Kind::EventsDropped { from, to, count },
        sentence,
        ..cause.clone()
    })
}

#[cfg(test)]
pub(crate) mod tests;
