//! What other programs read: the events, back from the broker by kcat.

use idp::event::catalogue::types;
use serde_json::Value;

use super::super::events::{ensure_unbroken, header, outcomes};
use super::super::schemas::Schemas;
use super::{RELEASE, told};
use crate::stack::require;

#[tokio::test]
async fn every_event_is_a_cloud_event_that_carries_a_valid_cd_event() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let (told, schemas) = (told().await?, Schemas::read()?);
    for event in &told.published {
        let (message, data) = (&event.message, &event.data);
        let text = |pointer: &str| data.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = types::by_name(event.kind()).expect("the type is in the catalogue");
        let expected = [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_type", text("/context/type")),
            ("ce_source", text("/context/source")),
            ("ce_id", text("/context/id")),
            ("ce_time", text("/context/timestamp")),
            ("ce_subject", text("/subject/id")),
            ("ce_dataschema", kind.schema),
            ("ce_partitionkey", RELEASE),
        ];
        for (name, value) in expected {
            assert_eq!(header(message, name)?, value, "{name} of {data}");
            assert!(!value.is_empty(), "{name} of {data}");
        }
        assert_eq!(message.headers.len(), expected.len(), "no other header: {:?}", message.headers);
        assert_eq!(text("/context/source"), "idp://genuine");
        assert!(text("/context/timestamp").parse::<jiff::Timestamp>().is_ok());
        assert_eq!(event.custom("release"), RELEASE);
        if event.kind() == types::CHANGE_MERGED.name {
            let (page, commit) = (event.custom("url").as_str(), event.custom("commit").as_str());
            let page = page.expect("a merge has a page on its forge");
            assert!(page.starts_with("http://127.0.0.1:"), "{page}");
            assert!(page.ends_with(&format!("/shop/web/commit/{}", commit.unwrap_or_default())), "{page}");
        }
        if let Some(schemas) = &schemas {
            schemas.validate(kind.schema, data)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn events_are_complete_in_order_and_end_each_rollout_once() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let told = told().await?;
    ensure_unbroken(&told.published, &told.uid, told.fix.record.sequence)?;
    assert_eq!(outcomes(&told.published)?, ["success", "success", "failure", "failure", "success"]);
    let kinds: Vec<&str> = told.published.iter().map(super::Event::kind).collect();
    let good: Vec<&str> = of_rollout(told, 2);
    let steps = vec![types::ROLLOUT_STEPPED.name; 3];
    let begin = [types::CHANGE_MERGED.name, types::PIPELINERUN_QUEUED.name, types::PIPELINERUN_STARTED.name];
    let end = [types::SERVICE_UPGRADED.name, types::PIPELINERUN_FINISHED.name];
    assert_eq!(good, [&begin[..], &steps, &end].concat());
    let crash = of_rollout(told, 4);
    let end = [
        types::INCIDENT_DETECTED.name,
        types::VERSION_HELD.name,
        types::SERVICE_ROLLEDBACK.name,
        types::PIPELINERUN_FINISHED.name,
    ];
    assert_eq!(crash, [&begin[..], &end].concat());
    assert!(kinds.contains(&types::SERVICE_DEPLOYED.name), "the first deploy: {kinds:?}");
    let resolved = kinds.iter().filter(|kind| **kind == types::INCIDENT_RESOLVED.name).count();
    assert_eq!(resolved, 2, "healthy again after each rollback");
    Ok(())
}

fn of_rollout(told: &super::Told, number: u64) -> Vec<&str> {
    let events = told.published.iter().filter(|event| *event.custom("rollout") == number);
    events.map(super::Event::kind).collect()
}
