//! The CloudEvents binding for Kafka: how one rendered event becomes headers and a value. Pure.

use serde_json::{Map, Value};

use super::catalogue::types;
use crate::model::record::RenderedEvent;

/// The media type of a structured event.
pub const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// The attributes of an event beside its data, in the order of the headers. `key` is the record's key.
fn attributes<'a>(event: &'a RenderedEvent, key: &'a str) -> Vec<(&'static str, &'a str)> {
    let mut attributes = vec![
        ("specversion", "1.0"),
        ("type", event.kind.as_str()),
        ("source", &event.source),
        ("id", &event.id),
        ("time", &event.time),
        ("subject", &event.subject),
    ];
    if let Some(kind) = types::by_name(&event.kind) {
        attributes.push(("dataschema", kind.schema));
    }
    attributes.push(("partitionkey", key));
    attributes
}

/// Returns the headers of binary mode: `content-type` and one `ce_` header an attribute, all UTF-8. The value is the event's data
/// as it is.
pub fn kafka_headers(event: &RenderedEvent, key: &str) -> Vec<(String, Vec<u8>)> {
    let mut headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    headers.extend(
        attributes(event, key)
            .into_iter()
            .map(|(name, value)| (format!("ce_{name}"), value.as_bytes().to_vec())),
    );
    headers
}

/// Returns the one header of structured mode.
pub fn structured_headers() -> Vec<(String, Vec<u8>)> {
    vec![("content-type".to_owned(), STRUCTURED.as_bytes().to_vec())]
}

/// Returns the value of structured mode: the attributes and the data in one JSON object.
pub fn structured_value(event: &RenderedEvent, key: &str) -> Vec<u8> {
    let mut whole: Map<String, Value> = attributes(event, key)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect();
    whole.insert("datacontenttype".to_owned(), Value::from("application/json"));
    // Data that does not parse would be a record that somebody else edited: it goes as text rather than not at all.
    let data = serde_json::from_str(&event.data).unwrap_or_else(|_| Value::from(event.data.as_str()));
    whole.insert("data".to_owned(), data);
    Value::Object(whole).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> RenderedEvent {
        RenderedEvent {
            id: "ab".into(),
            kind: "dev.cdevents.service.upgraded.0.3.0".into(),
            source: "idp://test".into(),
            subject: "hello".into(),
            time: "2026-01-02T03:04:05Z".into(),
            data: r#"{"a":1}"#.into(),
        }
    }

    #[test]
    fn binary_mode_has_every_attribute_as_a_header() {
        let headers: Vec<(String, String)> = kafka_headers(&event(), "hello.production")
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8(value).unwrap()))
            .collect();
        let expected = [
            ("content-type", "application/json"),
            ("ce_specversion", "1.0"),
            ("ce_type", "dev.cdevents.service.upgraded.0.3.0"),
            ("ce_source", "idp://test"),
            ("ce_id", "ab"),
            ("ce_time", "2026-01-02T03:04:05Z"),
            ("ce_subject", "hello"),
            ("ce_dataschema", "https://cdevents.dev/0.5.1/schema/service-upgraded-event"),
            ("ce_partitionkey", "hello.production"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn structured_mode_is_one_json_object() {
        let value: Value = serde_json::from_slice(&structured_value(&event(), "hello.production")).unwrap();
        assert_eq!(value["specversion"], "1.0");
        assert_eq!(value["datacontenttype"], "application/json");
        assert_eq!(value["data"]["a"], 1);
        assert_eq!(value["partitionkey"], "hello.production");
    }
}
