//! `CDEvents` of other tools, signed by Standard Webhooks: `change.merged` and `artifact.published`, of any version. The body is the
//! event itself (the binary mode of CloudEvents over HTTP) or a CloudEvent with it as its data (the structured mode).

use jiff::Timestamp;
use serde::Deserialize;

use super::event::{Event, ParseError, Told, read};
use super::proof::ProofError;
use super::{Request, standard};
use crate::config::Secret;

/// Checks the signature of Standard Webhooks.
pub(super) fn verify(request: Request<'_>, secrets: &[Secret], now: Timestamp) -> Result<(), ProofError> {
    standard::verify(request, secrets, now)
}

#[derive(Deserialize)]
struct CloudEvent {
    data: CdEvent,
}

#[derive(Deserialize)]
struct CdEvent {
    context: Context,
    subject: Subject,
}

#[derive(Deserialize)]
struct Context {
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Subject {
    id: String,
}

/// Reads what happened.
pub(super) fn parse(request: Request<'_>) -> Result<Told, ParseError> {
    const SENDER: &str = "a producer of CDEvents";
    let event = read(SENDER, request.body);
    let event = event.or_else(|_| read(SENDER, request.body).map(|CloudEvent { data }| data));
    let CdEvent { context, subject } = event?;
    let mut words = context.kind.strip_prefix("dev.cdevents.").unwrap_or_default().split('.');
    let event = match (words.next(), words.next()) {
        (Some("change"), Some("merged")) => Event::Moved,
        (Some("artifact"), Some("published")) => Event::Published { artifact: subject.id },
        _ => Event::Other,
    };
    // By the specification of CloudEvents an id is unique with its source only.
    let id = Some(format!("{} {}", context.source, context.id));
    Ok(Told { event, name: context.kind, id })
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    fn told(body: &str) -> Result<Told, ParseError> {
        parse(Request { headers: &headers(&[("webhook-id", "msg_1")]), body: body.as_bytes() })
    }

    fn event(kind: &str) -> String {
        format!(
            r#"{{"context":{{"specversion":"0.5.0","id":"271069a8","source":"/build/7","type":"{kind}","timestamp":"2026-01-01T12:00:00Z"}},
            "subject":{{"id":"pkg:oci/web@sha256%3Aab","content":{{}}}}}}"#
        )
    }

    #[test]
    fn both_modes_are_read_and_only_two_kinds_matter() {
        let published = Event::Published { artifact: "pkg:oci/web@sha256%3Aab".to_owned() };
        for (kind, expected) in [
            ("dev.cdevents.artifact.published.0.3.0", published.clone()),
            ("dev.cdevents.artifact.published.0.1.1", published),
            ("dev.cdevents.change.merged.0.3.0", Event::Moved),
            ("dev.cdevents.change.created.0.3.0", Event::Other),
            ("change.merged", Event::Other),
            ("", Event::Other),
        ] {
            let structured = format!(
                r#"{{"specversion":"1.0","id":"271069a8","source":"/build/7","type":"{kind}","subject":"x","data":{}}}"#,
                event(kind)
            );
            for body in [event(kind), structured] {
                let told = told(&body).unwrap();
                assert_eq!((told.event, told.name.as_str()), (expected.clone(), kind), "{body}");
                assert_eq!(told.id.as_deref(), Some("/build/7 271069a8"));
            }
        }
        for bad in ["{}", r#"{"data":{}}"#, r#"{"data":"eyJ9"}"#, "[]", ""] {
            assert!(told(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let headers = headers(&[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ]);
        let request = Request { headers: &headers, body: br#"{"test": 2432232314}"# };
        let secrets = [Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
        let then = Timestamp::from_second(1_614_265_330).unwrap();
        assert_eq!(verify(request, &secrets, then), Ok(()));
        assert_eq!(verify(request, &secrets, Timestamp::UNIX_EPOCH), Err(ProofError::Stale));
    }
}
