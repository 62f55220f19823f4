//! What holds for every forge: hostile bodies and headers, and what the parts of the room's tests share.

use http::{HeaderMap, HeaderName};
use proptest::prelude::*;

use super::event::{Event, Pushed};
use super::*;
use crate::model::pull::{Action, PullRequest};

/// Makes headers of literals.
pub(super) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let header = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), value.parse::<http::HeaderValue>().unwrap())
    };
    pairs.iter().map(header).collect()
}

pub(super) fn push(branches: &[&str]) -> Event {
    pushed_refs(branches, &[])
}

pub(super) fn pushed_refs(branches: &[&str], tags: &[&str]) -> Event {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Event::Push(Pushed { branches: names(branches), tags: names(tags) })
}

/// The pull request that the forges' tests tell of, without a time, a state, a title or an author.
pub(super) fn pull(number: u64, action: Action, labels: &[&str]) -> Event {
    Event::Pull(Box::new(PullRequest {
        number,
        action,
        at: None,
        state: None,
        title: None,
        author: None,
        base: "main".to_owned(),
        head: Some("topic".to_owned()),
        commit: Some("1b".to_owned()),
        labels: labels.iter().map(ToString::to_string).collect(),
        review: None,
    }))
}

/// Every event that is read, of every forge.
const READ: [(Forge, &str, &str); 22] = [
    (Forge::GitHub, "x-github-event", "push"),
    (Forge::GitHub, "x-github-event", "pull_request"),
    (Forge::GitHub, "x-github-event", "pull_request_review"),
    (Forge::Gitea, "x-gitea-event", "push"),
    (Forge::Gitea, "x-forgejo-event", "pull_request"),
    (Forge::Gitea, "x-gitea-event", "pull_request_approved"),
    (Forge::Gitea, "x-forgejo-event", "pull_request_rejected"),
    (Forge::GitLab, "x-gitlab-event", "Push Hook"),
    (Forge::GitLab, "x-gitlab-event", "Merge Request Hook"),
    (Forge::BitbucketCloud, "x-event-key", "repo:push"),
    (Forge::BitbucketCloud, "x-event-key", "pullrequest:created"),
    (Forge::BitbucketCloud, "x-event-key", "pullrequest:updated"),
    (Forge::BitbucketCloud, "x-event-key", "pullrequest:fulfilled"),
    (Forge::BitbucketCloud, "x-event-key", "pullrequest:approved"),
    (Forge::BitbucketDataCenter, "x-event-key", "repo:refs_changed"),
    (Forge::BitbucketDataCenter, "x-event-key", "pr:opened"),
    (Forge::BitbucketDataCenter, "x-event-key", "pr:merged"),
    (Forge::BitbucketDataCenter, "x-event-key", "pr:reviewer:approved"),
    (Forge::BitbucketDataCenter, "x-event-key", "pr:declined"),
    (Forge::CdEvents, "content-type", "application/json"),
    (Forge::CdEvents, "content-type", "application/cloudevents+json"),
    (Forge::Generic, "content-type", "application/json"),
];

/// Reads a body as each forge would.
fn read_by_all(body: &[u8]) -> Vec<(Forge, Result<Told, ParseError>)> {
    let read = |(forge, name, value): (Forge, &str, &str)| {
        let headers = headers(&[(name, value)]);
        (forge, parse(forge, Request { headers: &headers, body }))
    };
    READ.into_iter().map(read).collect()
}

#[test]
fn no_hostile_body_is_believed() {
    let long = "x".repeat(3 << 20);
    let bodies = [
        "[".repeat(100_000),
        r#"{"a":"#.repeat(100_000),
        format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)),
        long.clone(),
        format!("{long:?}"),
        "null".to_owned(),
        "1e999999".to_owned(),
        r#"{"ref":null,"push":null,"changes":null,"object_attributes":null,"context":null,"data":null}"#
            .to_owned(),
        r#"{"ref":["refs/heads/main"],"push":[],"changes":{},"pullrequest":7,"pullRequest":"7"}"#.to_owned(),
        r#"{"action":"closed","number":-1,"pull_request":{"merged":"yes","base":"main"}}"#.to_owned(),
        r#"{"action":"closed","number":1e30,"pull_request":{"merged":true,"base":{"ref":"main"}}}"#
            .to_owned(),
        r#"{"ref":"refs/heads/main""#.to_owned(),
        r#"{"ref":"refs/heads/\ud800"}"#.to_owned(),
    ];
    for body in bodies {
        for (forge, told) in read_by_all(body.as_bytes()) {
            let start: String = body.chars().take(40).collect();
            assert_eq!(told.is_err(), forge != Forge::Generic, "{forge:?} {start}");
        }
    }
    for (forge, told) in read_by_all(b"{\"ref\":\"refs/heads/\xff\"}") {
        assert_eq!(told.is_err(), forge != Forge::Generic, "{forge:?}");
    }
}

#[test]
fn names_are_taken_as_they_are_and_match_nothing_by_chance() {
    for name in
        ["a\nb", "\u{1b}[2J", "refs/heads/main", "../main", "", " main", "main\0", &"m".repeat(1 << 20)]
    {
        let body = serde_json::json!({"ref": format!("refs/heads/{name}")}).to_string();
        let headers = headers(&[("x-github-event", "push")]);
        let told = parse(Forge::GitHub, Request { headers: &headers, body: body.as_bytes() }).unwrap();
        assert_eq!(told.event, push(&[name]));
        assert_ne!(told.event, push(&["main"]));
    }
}

/// JSON with the names that parsers look for, in places where they may or may not belong.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
        Just("refs/heads/main".into()),
        Just("dev.cdevents.change.merged.0.3.0".into()),
    ];
    let names = [
        "ref",
        "action",
        "number",
        "pull_request",
        "merged",
        "base",
        "head",
        "labels",
        "object_attributes",
        "iid",
        "target_branch",
        "changes",
        "previous",
        "current",
        "push",
        "new",
        "old",
        "type",
        "name",
        "pullrequest",
        "destination",
        "source",
        "branch",
        "pullRequest",
        "fromRef",
        "toRef",
        "id",
        "context",
        "subject",
        "data",
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((prop::sample::select(names.to_vec()), inner), 0..8).prop_map(|fields| {
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_json_makes_a_parser_panic(body in json()) {
        read_by_all(body.to_string().as_bytes());
    }

    #[test]
    fn no_bytes_make_a_parser_or_a_proof_panic(
        body in prop::collection::vec(any::<u8>(), 0..200),
        value in prop::collection::vec(0x20_u8..0xff, 0..80),
        name in prop::sample::select(vec![
            "x-hub-signature-256", "x-hub-signature", "x-gitea-signature", "x-gitlab-token", "webhook-signature",
            "webhook-timestamp", "webhook-id",
        ]),
    ) {
        read_by_all(&body);
        let Ok(value) = http::HeaderValue::from_bytes(&value) else { return Ok(()) };
        let mut headers = headers(&[
            ("webhook-id", "a"), ("webhook-timestamp", "0"), ("webhook-signature", "v1,aaaa"),
        ]);
        headers.insert(name.parse::<HeaderName>().unwrap(), value);
        let request = Request { headers: &headers, body: &body };
        for forge in Forge::ALL {
            let secret = crate::config::SecretRef::Env("NONE".to_owned());
            let webhook = Webhook { forge, secret, second_secret: None, signature_header: None, max_body: 1 };
            for secret in ["s3cret", "whsec_c2VjcmV0", "whsec_"] {
                let proven = verify(&webhook, request, &[Secret::new(secret)], Timestamp::UNIX_EPOCH);
                prop_assert!(proven.is_err());
            }
        }
    }
}
