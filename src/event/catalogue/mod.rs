//! The catalogue: transition → the CloudEvents that it means, rendered. Pure: equal inputs give equal bytes.
//!
//! The rules of the binding: CloudEvents `id`, `source`, `type` equal the CDEvent's; `subject` is `subject.id`; `time` is
//! `context.timestamp`; the data is the whole CDEvent. `subject.content` of a standard type allows no further keys, so what is
//! ours is in `customData`.

pub mod content;
pub mod purl;
pub mod types;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::model::record::{ChainTail, OutboxEntry, RenderedEvent};
use crate::model::transition::{Kind, Transition};
use content::Meaning;

/// The version of the CDEvents specification that the events follow.
pub const SPEC_VERSION: &str = "0.5.1";

/// Where events come from: what makes ids unique and sources readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSource {
    /// The UID of the `Release` object: a record made anew starts a new sequence without repeating an id.
    pub release_uid: String,
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// The namespace of the release.
    pub namespace: String,
}

impl EventSource {
    /// Returns the absolute URI that stands as `source` in every event: `idp://<cluster>`.
    pub fn uri(&self) -> String {
        format!("idp://{}", purl::encode(&self.cluster))
    }

    /// Returns the absolute URI of a release, or of one of its rollouts.
    pub fn release_uri(&self, transition: &Transition) -> String {
        let base = format!(
            "{}/namespaces/{}/releases/{}",
            self.uri(),
            purl::encode(&self.namespace),
            transition.release.service
        );
        match transition.rollout {
            Some(number) => format!("{base}/rollouts/{number}"),
            None => base,
        }
    }
}

#[derive(Serialize)]
struct Event<'a> {
    context: Context<'a>,
    subject: Subject<'a>,
    #[serde(rename = "customData")]
    custom_data: &'a Map<String, Value>,
    #[serde(rename = "customDataContentType")]
    custom_data_content_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<Value>,
}

#[derive(Serialize)]
struct Subject<'a> {
    id: &'a str,
    source: &'a str,
    content: &'a Map<String, Value>,
}

/// Returns what goes into the outbox under `sequence`: the one to three events that the transition means. `tail` is where the
/// newest rollout's chain ends; the first event links to it if it belongs to the same chain.
pub fn entry(
    source: &EventSource,
    sequence: u64,
    transition: &Transition,
    tail: Option<&ChainTail>,
) -> OutboxEntry {
    let chain = chain_id(source, transition, tail);
    let mut parent = tail.filter(|tail| chain.as_ref() == Some(&tail.chain)).map(|tail| tail.event.clone());
    let mut events = Vec::new();
    for (index, meaning) in (0_u64..).zip(content::meanings(source, transition)) {
        let id = event_id(&source.release_uid, sequence, index);
        let event = render(source, transition, &meaning, &id, chain.as_deref(), parent.as_deref());
        events.push(event);
        parent = Some(id);
    }
    OutboxEntry { at: transition.at, events }
}

/// Returns the tail of the newest rollout's chain once `entry` has been recorded.
pub fn tail_after(
    source: &EventSource,
    transition: &Transition,
    entry: &OutboxEntry,
    tail: Option<&ChainTail>,
) -> Option<ChainTail> {
    let continues = transition.rollout.is_some() || matches!(transition.kind, Kind::HealthyAgain { .. });
    match (continues, chain_id(source, transition, tail), entry.events.last()) {
        (true, Some(chain), Some(event)) => Some(ChainTail { chain, event: event.id.clone() }),
        _ => tail.cloned(),
    }
}

fn render(
    source: &EventSource,
    transition: &Transition,
    meaning: &Meaning,
    id: &str,
    chain: Option<&str>,
    parent: Option<&str>,
) -> RenderedEvent {
    let (uri, time) = (source.uri(), transition.at.to_string());
    let link = |parent: &str| serde_json::json!({"linkType": "PATH", "from": {"contextId": parent}});
    let event = Event {
        context: Context {
            specversion: SPEC_VERSION,
            id,
            source: &uri,
            kind: meaning.kind.name,
            timestamp: &time,
            schema_uri: meaning.kind.is_custom().then_some(meaning.kind.schema),
            chain_id: chain,
            links: chain.and(parent).map(link).into_iter().collect(),
        },
        subject: Subject { id: &meaning.subject, source: &uri, content: &meaning.content },
        custom_data: &meaning.custom,
        custom_data_content_type: "application/json",
    };
    RenderedEvent {
        id: id.to_owned(),
        kind: meaning.kind.name.to_owned(),
        subject: meaning.subject.clone(),
        // Strings, numbers and maps with string keys: nothing in there can fail to serialize.
        data: serde_json::to_string(&event).unwrap_or_default(),
        source: uri,
        time,
    }
}

/// Hashes length-prefixed parts, so that no two lists of parts give the same input.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Returns the id of one event: hexadecimal SHA-256 of release UID, sequence number and index.
pub fn event_id(release_uid: &str, sequence: u64, index: u64) -> String {
    hex::encode(hash(&[release_uid.as_bytes(), &sequence.to_be_bytes(), &index.to_be_bytes()]))
}

fn chain_id(source: &EventSource, transition: &Transition, tail: Option<&ChainTail>) -> Option<String> {
    let of =
        |what: &str, id: &[u8]| uuid(hash(&[b"chain", source.release_uid.as_bytes(), what.as_bytes(), id]));
    match (&transition.kind, transition.rollout) {
        (_, Some(number)) => Some(of("rollout", &number.to_be_bytes())),
        (Kind::HealthyAgain { .. }, None) => tail.map(|tail| tail.chain.clone()),
        (Kind::Applied { revision } | Kind::ChangeSeen { revision, .. }, None) => {
            Some(of("commit", revision.commit.as_str().as_bytes()))
        }
        _ => None,
    }
}

/// Writes the first half of a hash as a UUID of version 8, the one for ids that their maker defines (RFC 9562).
fn uuid(hash: [u8; 32]) -> String {
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = from;
    }
    let number = u128::from_be_bytes(bytes);
    let version = 0xf000_u128 << 64;
    let variant = 0xc000_u128 << 48;
    let number = (number & !version & !variant) | (0x8000_u128 << 64) | (0x8000_u128 << 48);
    let text = format!("{number:032x}");
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
pub(crate) mod stories;
#[cfg(test)]
mod tests;
