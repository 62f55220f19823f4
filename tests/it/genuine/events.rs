//! The events of one release, as an independent consumer reads them back.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use idp::event::catalogue::event_id;
use serde_json::Value;

use super::SOON;
use crate::stack::{Kafka, Message, until};

/// One message of a topic, understood as far as the binding goes.
#[derive(Clone, Debug)]
pub struct Event {
    pub message: Message,
    pub id: String,
    pub data: Value,
}

impl Event {
    fn read(message: Message) -> anyhow::Result<Self> {
        let id = header(&message, "ce_id")?.to_owned();
        let value = message.value.as_deref().with_context(|| format!("{id} is a tombstone"))?;
        let data = serde_json::from_str(value).with_context(|| format!("read {value}"))?;
        Ok(Self { message, id, data })
    }

    /// Returns what the event says of itself in `customData`.
    pub fn custom(&self, field: &str) -> &Value {
        self.data.pointer(&format!("/customData/{field}")).unwrap_or(&Value::Null)
    }

    /// Returns the type.
    pub fn kind(&self) -> &str {
        header(&self.message, "ce_type").unwrap_or_default()
    }

    /// Returns the name of the transition that it tells of.
    pub fn transition(&self) -> &str {
        self.custom("transition").as_str().unwrap_or_default()
    }
}

/// Returns the one value of a header.
pub fn header<'a>(message: &'a Message, name: &str) -> anyhow::Result<&'a str> {
    let mut values = message.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => anyhow::bail!("{name} is not exactly once in {:?}", message.headers),
    }
}

/// Reads all events of a key and drops the repeated ones: equal ids must have equal bytes.
pub async fn events(kafka: &Kafka, topic: &str, key: &str) -> anyhow::Result<Vec<Event>> {
    let mut all: Vec<Event> = Vec::new();
    for message in kafka.consume(topic).await? {
        if message.key.as_deref() != Some(key) {
            continue;
        }
        let event = Event::read(message)?;
        match all.iter().find(|earlier| earlier.id == event.id) {
            None => all.push(event),
            Some(earlier) => {
                let same = earlier.message.value == event.message.value
                    && earlier.message.headers == event.message.headers;
                ensure!(same, "{} came twice and differs: {earlier:?} {event:?}", event.id);
            }
        }
    }
    Ok(all)
}

/// Waits until the event with the highest sequence number of a record is there, and returns all: what is missing then, is lost.
pub async fn until_published(
    kafka: &Kafka,
    topic: &str,
    key: &str,
    (uid, sequence): (&str, u64),
) -> anyhow::Result<Vec<Event>> {
    let last = event_id(uid, sequence, 0);
    until(&format!("event {sequence} of {key}"), SOON, async || {
        let events = events(kafka, topic, key).await?;
        // The last transition has more than one event at times; then they follow within its flight.
        Ok((events.iter().any(|event| event.id == last)).then_some(events))
    })
    .await
}

/// Checks that the events are those of the transitions 1 to `sequence`, all of them, each once, in their order.
pub fn ensure_unbroken(events: &[Event], uid: &str, sequence: u64) -> anyhow::Result<()> {
    let (mut transition, mut index) = (0, 0);
    for event in events {
        if transition > 0 && event.id == event_id(uid, transition, index + 1) {
            index += 1;
        } else {
            (transition, index) = (transition + 1, 0);
            ensure!(
                event.id == event_id(uid, transition, 0),
                "at transition {transition} comes another event: {}",
                event.data
            );
        }
    }
    ensure!(transition == sequence, "events end at transition {transition} of {sequence}");
    Ok(())
}

/// Checks that every rollout has one terminal event, and returns how each ended, in order.
pub fn outcomes(events: &[Event]) -> anyhow::Result<Vec<String>> {
    let mut rollouts = BTreeSet::new();
    let mut outcomes = Vec::new();
    for event in events.iter().filter(|event| event.transition() == "RolloutFinished") {
        let number = event.custom("rollout").as_u64().context("read the rollout's number")?;
        ensure!(rollouts.insert(number), "rollout {number} ended twice");
        let outcome = event.data.pointer("/subject/content/outcome").and_then(Value::as_str);
        outcomes.push(outcome.context("read the outcome")?.to_owned());
    }
    let begun: BTreeSet<u64> = events.iter().filter_map(|event| event.custom("rollout").as_u64()).collect();
    ensure!(begun == rollouts, "rollouts {begun:?} were told of, and ended: {rollouts:?}");
    Ok(outcomes)
}

#[test]
fn a_lost_a_repeated_and_an_invented_event_are_seen() {
    let event = |id: String| {
        let message = Message { partition: 0, offset: 0, key: None, headers: Vec::new(), value: None };
        Event { message, id, data: Value::Null }
    };
    let told = |places: &[(u64, u64)]| -> Vec<Event> {
        places.iter().map(|(transition, index)| event(event_id("uid", *transition, *index))).collect()
    };
    let whole = [(1, 0), (1, 1), (2, 0), (3, 0), (3, 1)];
    ensure_unbroken(&told(&whole), "uid", 3).expect("nothing is missing");
    for broken in [
        &[(1, 0), (3, 0)][..],
        &[(1, 0), (2, 0)],
        &[(1, 0), (2, 1), (3, 0)],
        &[(2, 0), (1, 0), (3, 0)],
        &[(1, 0), (2, 0), (2, 0), (3, 0)],
        &[(1, 0), (2, 0), (3, 0), (4, 0)],
    ] {
        ensure_unbroken(&told(broken), "uid", 3).expect_err(&format!("{broken:?}"));
    }
    ensure_unbroken(&told(&whole), "another", 3).expect_err("of another release");
}
