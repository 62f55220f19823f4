//! What becomes of the literal transitions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::stories::{changes, image, published, revision, source, stories, transition};
use super::*;
use crate::model::rollout::Outcome;

fn data(event: &RenderedEvent) -> Value {
    serde_json::from_str(&event.data).unwrap()
}

/// The folder with the published schemas; `None`, and said so, where it is absent and not required.
fn schemas() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/cdevents-0.5.1");
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("IDP_REQUIRE_STACK").is_ok_and(|value| value == "1");
    assert!(!required, "the schemas of CDEvents 0.5.1 are required and not at {}", folder.display());
    eprintln!("SKIPPED: no schemas of CDEvents 0.5.1 at {}", folder.display());
    None
}

fn read(folder: &Path) -> Vec<Value> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
        .collect()
}

#[test]
fn every_event_validates_against_the_published_schema_of_its_type() {
    let Some(folder) = schemas() else { return };
    let id = |schema: &Value| schema["$id"].as_str().unwrap().to_owned();
    let mut registry = jsonschema::Registry::new();
    for link in read(&folder.join("schemas/links")) {
        registry = registry.add(id(&link), jsonschema::Resource::from_contents(link)).unwrap();
    }
    let registry = registry.prepare().unwrap();
    let mut all = read(&folder.join("schemas"));
    all.extend(read(&folder.join("custom")));
    let all: BTreeMap<String, Value> = all.into_iter().map(|schema| (id(&schema), schema)).collect();
    let mut seen = BTreeSet::new();
    for event in published() {
        let kind = types::by_name(&event.kind).unwrap();
        let schema = all.get(kind.schema).unwrap_or_else(|| panic!("no schema {}", kind.schema));
        let validator = jsonschema::options()
            .with_registry(&registry)
            .should_validate_formats(true)
            .build(schema)
            .unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&data(&event)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}\n{}", event.kind, event.data);
        seen.insert(kind.name);
        let mut broken = data(&event);
        broken["subject"]["id"] = Value::from("");
        assert!(!validator.is_valid(&broken), "the schema of {} would take anything", event.kind);
    }
    assert_eq!(seen.len(), types::ALL.len(), "types without an example");
}

#[test]
fn an_independent_reader_understands_the_standard_ones() {
    for event in published().iter().filter(|event| event.kind.starts_with("dev.cdevents.")) {
        let read: cdevents_sdk::CDEvent = serde_json::from_str(&event.data)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", event.kind, event.data));
        assert_eq!(read.ty(), event.kind);
        assert_eq!(read.id().as_str(), event.id);
    }
}

#[test]
fn the_cloud_event_and_the_cd_event_in_it_agree() {
    for event in published() {
        let data = data(&event);
        assert_eq!(data["context"]["id"], event.id.as_str());
        assert_eq!(data["context"]["type"], event.kind.as_str());
        assert_eq!(data["context"]["source"], event.source.as_str());
        assert_eq!(data["context"]["timestamp"], event.time.as_str());
        assert_eq!(data["subject"]["id"], event.subject.as_str());
        assert_eq!(data["context"]["specversion"], "0.5.1");
        assert_eq!(data["customData"]["release"], "hello.production");
    }
}

#[test]
fn a_rollback_says_what_runs_and_why() {
    let event = published().into_iter().find(|event| event.kind == types::SERVICE_ROLLEDBACK.name).unwrap();
    let data = data(&event);
    let running = format!(
        "pkg:oci/hello@sha256%3A{}?repository_url=registry.example.com/team/hello&tag=8f4e2d1",
        "b".repeat(64)
    );
    assert_eq!(data["subject"]["content"]["artifactId"], running);
    assert_eq!(data["subject"]["content"]["environment"]["id"], "production");
    let custom = &data["customData"];
    assert_eq!(custom["cause"], "error_rate");
    assert_eq!((custom["value"].as_f64(), custom["limit"].as_f64()), (Some(0.051), Some(0.01)));
    assert_eq!(custom["samples"], 1234);
    assert_eq!(custom["running"]["identity"], "1-bbbbbbbbbbbbbbbb");
}

#[test]
fn one_chain_from_commit_to_verdict_each_event_linked_to_the_one_before() {
    let events = published();
    let chain = |event: &RenderedEvent| data(event)["context"]["chainId"].as_str().map(str::to_owned);
    let parent = |event: &RenderedEvent| {
        data(event).pointer("/context/links/0/from/contextId").and_then(Value::as_str).map(str::to_owned)
    };
    let (good, bad) = (&events[..6], &events[6..11]);
    for chained in [good, bad] {
        let id = chain(&chained[0]).unwrap();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'8'), "{id} is no UUID of version 8");
        assert_eq!(parent(&chained[0]), None);
        for pair in chained.windows(2) {
            assert_eq!(chain(&pair[1]).as_ref(), Some(&id));
            assert_eq!(parent(&pair[1]).as_ref(), Some(&pair[0].id));
        }
    }
    assert_ne!(chain(&good[0]), chain(&bad[0]));
}

#[test]
fn both_ends_of_an_incident_name_the_same_subject() {
    let subject = |name: &str| published().into_iter().find(|event| event.kind == name).unwrap().subject;
    assert_eq!(subject(types::INCIDENT_DETECTED.name), subject(types::INCIDENT_RESOLVED.name));
}

#[test]
fn terminal_transitions_have_terminal_types_and_only_they() {
    for story in stories() {
        let entry = entry(&source(), 1, &story, None);
        assert!((1..=3).contains(&entry.events.len()), "{}", story.kind.name());
        for event in entry.events {
            let kind = types::by_name(&event.kind).unwrap();
            assert_eq!(kind.terminal, story.kind.is_terminal(), "{}", story.kind.name());
        }
    }
}

#[test]
fn ids_differ_in_release_sequence_and_index_and_bytes_do_not_differ_at_all() {
    let ids: BTreeSet<String> = published().into_iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), published().len());
    assert_eq!(published(), published());
    assert_ne!(event_id("a", 1, 0), event_id("b", 1, 0));
    assert_ne!(event_id("a", 1, 0), event_id("a", 0, 1));
    // Pinned: consumers drop duplicates by it across upgrades.
    assert_eq!(event_id("u", 1, 0), "37085f02693bb6ffc7d67b6afdeee9079191ccf6e507e25abc2e12e12a24f983");
}

#[test]
fn texts_of_others_are_cut() {
    let mut long = revision();
    long.author = "x".repeat(100_000);
    long.repository = "y".repeat(100_000);
    let story =
        transition(None, Kind::ChangeSeen { revision: long, changes: changes(50) }, &"z".repeat(100_000));
    let entry = entry(&source(), 1, &story, None);
    assert!(entry.events[0].data.len() < 8_000, "{}", entry.events[0].data.len());
}

#[test]
fn outcomes_are_told_in_the_words_of_the_specification() {
    let cases = [
        (Outcome::Promoted, true, "success"),
        (Outcome::RolledBack, true, "failure"),
        (Outcome::Failed, true, "failure"),
        (Outcome::Failed, false, "error"),
        (Outcome::Superseded, true, "cancel"),
        (Outcome::Aborted, true, "cancel"),
    ];
    for (outcome, ran, word) in cases {
        let kind = Kind::Finished {
            outcome,
            reason: "because".into(),
            took: Duration::ZERO,
            image: ran.then(|| image("a")),
            caught: false,
        };
        let entry = entry(&source(), 1, &transition(Some(1), kind, "ended"), None);
        let content = data(&entry.events[0])["subject"]["content"].clone();
        assert_eq!(content["outcome"], word);
        assert_eq!(content.get("errors").is_some(), outcome != Outcome::Promoted);
    }
}

#[test]
fn the_document_lists_every_type() {
    crate::telemetry::metrics::tests::check_document("docs/events.md", &table());
}

/// The table of docs/events.md.
fn table() -> String {
    let head = "| type | what it tells | kept when the outbox is full |\n|---|---|---|\n".to_owned();
    let rows = types::ALL.iter().map(|kind| {
        let kept = if kind.terminal { "yes" } else { "" };
        format!("| `{}` | {} | {kept} |\n", kind.name, kind.meaning)
    });
    std::iter::once(head).chain(rows).collect()
}
