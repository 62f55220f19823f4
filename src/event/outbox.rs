//! The outbox: events wait in the record until the broker has acknowledged them. Pure.
//!
//! State and event commit together, so an entry is pushed in the same write as the transition that it tells. Numbers are never
//! used twice: an id that was sent once keeps its bytes.

use std::collections::BTreeMap;

use super::catalogue::{self, EventSource, types};
use crate::model::record::{OUTBOX_BYTES, OUTBOX_ENTRIES, OutboxEntry, Record};
use crate::model::transition::{Kind, Transition};

/// Adds the events of a transition to the record's outbox under the next sequence number. If that fills it, everything that does
/// not say how something ended is dropped for one entry that says so; the transition of that entry is returned, to be announced
/// like any other.
pub fn outbox_push(record: &mut Record, source: &EventSource, transition: &Transition) -> Option<Transition> {
    push(record, source, transition);
    if !at_cap(&record.outbox) {
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

/// Tells whether new rollouts have to wait: the outbox is at its cap, and what is left in it may not be dropped.
pub fn outbox_full(record: &Record) -> bool {
    at_cap(&record.outbox) && droppable(record).count() == 0
}

/// Tells whether the outbox is at 80 % of its cap or above: time for an alert.
pub fn outbox_high(record: &Record) -> bool {
    outbox_fill(record) >= 0.8
}

/// Returns how full the outbox is, by entries or by bytes, whichever is more; above 1 where only what may not be dropped is left.
pub fn outbox_fill(record: &Record) -> f64 {
    let share = |used: usize, cap: usize| to_f64(used) / to_f64(cap);
    share(record.outbox.len(), OUTBOX_ENTRIES).max(share(bytes(&record.outbox), OUTBOX_BYTES))
}

fn to_f64(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn push(record: &mut Record, source: &EventSource, transition: &Transition) {
    record.sequence = record.sequence.saturating_add(1);
    let entry = catalogue::entry(source, record.sequence, transition, record.chain_tail.as_ref());
    record.chain_tail = catalogue::tail_after(source, transition, &entry, record.chain_tail.as_ref());
    record.outbox.insert(record.sequence, entry);
}

fn at_cap(outbox: &BTreeMap<u64, OutboxEntry>) -> bool {
    outbox.len() >= OUTBOX_ENTRIES || bytes(outbox) >= OUTBOX_BYTES
}

/// Counts the bytes that the events take in the record, where their data is JSON text within JSON.
fn bytes(outbox: &BTreeMap<u64, OutboxEntry>) -> usize {
    let escaped = |text: &str| text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count();
    let events = outbox.values().flat_map(|entry| &entry.events);
    events
        .map(|event| {
            let rest = [&event.id, &event.kind, &event.source, &event.subject, &event.time];
            escaped(&event.data) + rest.iter().map(|text| text.len()).sum::<usize>()
        })
        .sum()
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
