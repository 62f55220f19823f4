//! GitLab's webhooks, as its documentation "Webhooks" and "Webhook events" describe them. What the secret looks like says which proof
//! counts: one that begins with `whsec_` is a signing token and only a signature proves it; any other is the secret token, which
//! GitLab sends along as it is.

use jiff::Timestamp;
use serde::Deserialize;

use super::event::{Event, ParseError, Pushed, Told, read, time};
use super::proof::{ProofError, is_secret};
use super::{Request, standard};
use crate::config::Secret;
use crate::model::pull::{Action, PullRequest, PullState, Review};

const TOKEN: &[&str] = &["x-gitlab-token"];
pub(super) const PROOF: &[&str] = &["webhook-signature", "x-gitlab-token"];
/// The last one only where there is nothing better: what one delivery causes in GitLab has its id as well.
const ID: &[&str] = &["idempotency-key", "webhook-id", "x-gitlab-event-uuid"];

/// Checks `webhook-signature` under the signing tokens among the secrets, and `X-Gitlab-Token` against the others.
pub(super) fn verify(request: Request<'_>, secrets: &[Secret], now: Timestamp) -> Result<(), ProofError> {
    let signs = |secret: &&Secret| secret.expose().starts_with(standard::SECRET_PREFIX);
    let signing: Vec<Secret> = secrets.iter().filter(signs).cloned().collect();
    let signed = standard::verify(request, &signing, now);
    let token = match request.header(TOKEN) {
        Some(token) => is_secret(token, secrets.iter().filter(|secret| !signs(secret))),
        None => Err(ProofError::Missing),
    };
    // What says more of two failures is told.
    signed.or_else(|signed| token.map_err(|token| signed.max(token)))
}

/// Reads what happened.
pub(super) fn parse(request: Request<'_>) -> Result<Told, ParseError> {
    let name = request.header(&["x-gitlab-event"]).unwrap_or_default();
    let event = match name {
        "Push Hook" | "Tag Push Hook" => {
            let push: Push = read("GitLab", request.body)?;
            Event::Push(Pushed::refs([push.reference.as_str()]))
        }
        "Merge Request Hook" => merge_request(read("GitLab", request.body)?),
        _ => Event::Other,
    };
    Ok(Told { event, name: name.to_owned(), id: request.header(ID).map(str::to_owned) })
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
}

#[derive(Deserialize)]
struct MergeRequest {
    /// Who did it.
    user: Option<User>,
    object_attributes: Attributes,
    labels: Option<Vec<Label>>,
    changes: Option<Changes>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Attributes {
    iid: u64,
    action: Option<String>,
    state: Option<String>,
    title: Option<String>,
    updated_at: Option<String>,
    target_branch: String,
    source_branch: Option<String>,
    /// Only there if the source branch moved.
    oldrev: Option<String>,
    last_commit: Option<Commit>,
}

#[derive(Deserialize)]
struct Commit {
    id: String,
}

#[derive(Deserialize)]
struct Changes {
    labels: Option<Relabeled>,
}

#[derive(Deserialize)]
struct Relabeled {
    previous: Vec<Label>,
    current: Vec<Label>,
}

#[derive(PartialEq, Deserialize)]
struct Label {
    title: String,
}

fn merge_request(MergeRequest { user, object_attributes, labels, changes }: MergeRequest) -> Event {
    let told = object_attributes;
    let action = match (told.action.as_deref(), changes.and_then(|changes| changes.labels)) {
        (Some("open"), _) => Action::Opened,
        (Some("reopen"), _) => Action::Reopened,
        (Some("close"), _) => Action::Closed,
        (Some("merge"), _) => Action::Merged,
        // The first of each pair: that makes, or takes back, all the approvals that the project asks for.
        (Some("approved" | "approval"), _) => Action::Approved,
        (Some("unapproved" | "unapproval"), _) => Action::Unapproved,
        (Some("update"), _) if told.oldrev.is_some() => Action::Synchronized,
        (Some("update"), Some(Relabeled { previous, current })) => {
            let more = current.iter().any(|label| !previous.contains(label));
            if more { Action::Labeled } else { Action::Unlabeled }
        }
        _ => return Event::Other,
    };
    // The time of the merge request need not be that of an approval.
    let review = user.map(|user| Review { who: user.username, at: None, commit: None });
    let review = review.filter(|_| matches!(action, Action::Approved | Action::Unapproved));
    let state = match told.state.as_deref() {
        Some("opened" | "locked") => Some(PullState::Open),
        Some("closed") => Some(PullState::Closed),
        Some("merged") => Some(PullState::Merged),
        _ => None,
    };
    Event::Pull(Box::new(PullRequest {
        number: told.iid,
        action,
        at: time(told.updated_at.as_deref()),
        state,
        title: told.title,
        author: None,
        base: told.target_branch,
        head: told.source_branch,
        commit: told.last_commit.map(|commit| commit.id),
        labels: labels.into_iter().flatten().map(|label| label.title).collect(),
        review,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, pull, push, pushed_refs};
    use super::*;

    const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNED: [(&str, &str); 3] = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];

    fn proven(given: &[(&str, &str)], secrets: &[&str]) -> Result<(), ProofError> {
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        let now = Timestamp::from_second(1_614_265_330).unwrap();
        verify(Request { headers: &headers(given), body: BODY }, &secrets, now)
    }

    #[test]
    fn the_secret_says_which_proof_counts() {
        let token = ("x-gitlab-token", "s3cret");
        assert_eq!(proven(&[token], &["s3cret"]), Ok(()));
        assert_eq!(proven(&[token], &["other", "s3cret"]), Ok(()));
        assert_eq!(proven(&[token], &["s3cret0"]), Err(ProofError::Wrong));
        assert_eq!(proven(&[token], &[]), Err(ProofError::Wrong));
        assert_eq!(proven(&[("x-gitlab-token", "")], &["s3cret"]), Err(ProofError::Wrong));
        assert_eq!(proven(&SIGNED, &[SIGNING]), Ok(()));
        assert_eq!(proven(&SIGNED, &["s3cret", SIGNING]), Ok(()), "from a token to signatures");
        assert_eq!(proven(&SIGNED, &["s3cret"]), Err(ProofError::Wrong));
        let sent_along = ("x-gitlab-token", SIGNING);
        assert_eq!(proven(&[sent_along], &[SIGNING]), Err(ProofError::Wrong), "a signing token is no token");
        assert_eq!(proven(&[], &["s3cret", SIGNING]), Err(ProofError::Missing));
    }

    #[test]
    fn pushes_are_read() {
        let read = |name: &str, body: &str| {
            let headers = headers(&[
                ("x-gitlab-event", name),
                ("x-gitlab-event-uuid", "13792a34-cac6-4fda-95a8-c58e00a3954e"),
                ("idempotency-key", "f5e5f430-f57b-4e6e-9fac-d9128cd7232f"),
            ]);
            parse(Request { headers: &headers, body: body.as_bytes() })
        };
        let told = read("Push Hook", r#"{"object_kind":"push","ref":"refs/heads/main","checkout_sha":null}"#);
        let told = told.unwrap();
        assert_eq!(told.event, push(&["main"]));
        assert_eq!(told.id.as_deref(), Some("f5e5f430-f57b-4e6e-9fac-d9128cd7232f"));
        let tagged = r#"{"object_kind":"tag_push","ref":"refs/tags/v1.0.0"}"#;
        assert_eq!(read("Tag Push Hook", tagged).unwrap().event, pushed_refs(&[], &["v1.0.0"]));
        assert_eq!(read("Pipeline Hook", "").unwrap().event, Event::Other);
        assert_eq!(read("Push Hook", "{}"), Err(ParseError("GitLab")));
    }

    #[test]
    fn the_life_of_a_merge_request_is_read() {
        let read = |action: &str, more: &str, changes: &str| {
            let body = format!(
                r#"{{"object_kind":"merge_request","user":{{"username":"ann"}},"object_attributes":{{"iid":7,"target_branch":"main","source_branch":"topic",
                "last_commit":{{"id":"1b"}},"action":"{action}"{more}}},"labels":[{{"id":206,"title":"preview"}}],
                "changes":{{{changes}}}}}"#
            );
            let headers = headers(&[("x-gitlab-event", "Merge Request Hook")]);
            parse(Request { headers: &headers, body: body.as_bytes() }).unwrap().event
        };
        let labeled =
            r#""labels":{"previous":[{"title":"a"}],"current":[{"title":"a"},{"title":"preview"}]}"#;
        let unlabeled = r#""labels":{"previous":[{"title":"a"},{"title":"b"}],"current":[{"title":"a"}]}"#;
        for (word, more, changes, action) in [
            ("open", "", "", Action::Opened),
            ("reopen", "", "", Action::Reopened),
            ("close", "", "", Action::Closed),
            ("merge", "", "", Action::Merged),
            ("update", r#","oldrev":"0a""#, "", Action::Synchronized),
            ("update", "", labeled, Action::Labeled),
            ("update", "", unlabeled, Action::Unlabeled),
        ] {
            assert_eq!(read(word, more, changes), pull(7, action, &["preview"]), "{word} {changes}");
        }
        assert_eq!(read("update", "", r#""title":{"previous":"a","current":"b"}"#), Event::Other);
        for (word, action) in [
            ("approved", Action::Approved),
            ("approval", Action::Approved),
            ("unapproved", Action::Unapproved),
            ("unapproval", Action::Unapproved),
        ] {
            let more = r#","state":"opened","updated_at":"2026-01-01 12:00:00 UTC","title":"More""#;
            let Event::Pull(told) = read(word, more, "") else { panic!("{word}") };
            let review = Review { who: "ann".to_owned(), at: None, commit: None };
            assert_eq!((told.action, told.review, told.state), (action, Some(review), Some(PullState::Open)));
            assert_eq!(told.at, "2026-01-01T12:00:00Z".parse().ok());
        }
    }
}
