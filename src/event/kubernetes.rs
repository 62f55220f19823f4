//! The Kubernetes event of a transition: the body of a core/v1 `Event`, as a value. Pure.

use serde_json::{Value, json};

use super::catalogue::{EventSource, event_id};
use crate::model::GROUP;
use crate::model::transition::Transition;

/// Bytes of a message that the API server accepts.
const MESSAGE: usize = 1024;

/// Returns the body to create in the release's namespace. The name is a function of release, time and transition, so a repeated
/// creation meets its own object and is no second event.
pub fn kubernetes_event(source: &EventSource, transition: &Transition) -> Value {
    let service = &transition.release.service;
    let at = transition.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name(source, transition), "namespace": source.namespace},
        "involvedObject": {
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": "Release",
            "name": service,
            "namespace": source.namespace,
            "uid": source.release_uid,
        },
        "reason": transition.kind.name(),
        "message": cut(&transition.sentence),
        "type": if transition.kind.is_warning() { "Warning" } else { "Normal" },
        "count": 1,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "source": {"component": "idpd"},
        "reportingComponent": "idpd",
        "reportingInstance": source.cluster,
    })
}

fn name(source: &EventSource, transition: &Transition) -> String {
    let what = format!("{} {} {}", source.release_uid, transition.kind.name(), transition.sentence);
    let at = u64::try_from(transition.at.as_nanosecond()).unwrap_or_default();
    let hash = event_id(&what, at, transition.rollout.unwrap_or_default());
    format!("{}.{}", transition.release.service, hash.get(..16).unwrap_or(&hash))
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::catalogue::stories::{source, stories};
    use crate::model::transition::Kind;

    #[test]
    fn the_event_names_the_release_and_says_the_sentence() {
        let stories = stories();
        let failed = stories.iter().find(|t| matches!(t.kind, Kind::GateFailed { .. })).unwrap();
        let event = kubernetes_event(&source(), failed);
        assert_eq!(event["reason"], "GateFailed");
        assert_eq!(event["type"], "Warning");
        assert_eq!(event["message"], failed.sentence.as_str());
        assert_eq!(event["involvedObject"]["kind"], "Release");
        assert_eq!(event["involvedObject"]["apiVersion"], "idp.dev/v1alpha1");
        assert_eq!(event["involvedObject"]["name"], "hello");
        assert_eq!(event, kubernetes_event(&source(), failed));
        let parsed: Result<k8s_openapi::api::core::v1::Event, _> = serde_json::from_value(event);
        assert!(parsed.is_ok(), "{parsed:?}");
    }

    #[test]
    fn names_differ_and_long_messages_are_cut_at_a_character() {
        let names: std::collections::BTreeSet<String> =
            stories().iter().map(|story| name(&source(), story)).collect();
        assert_eq!(names.len(), stories().len());
        let long = Transition { sentence: "é".repeat(2000), ..stories().remove(0) };
        assert_eq!(kubernetes_event(&source(), &long)["message"].as_str().unwrap().len(), 1024);
    }
}
