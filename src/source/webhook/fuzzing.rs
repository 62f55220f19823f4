//! Webhooks as strangers could send them, by forge, for `fuzz/`: lines of headers, an empty line, the body.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::{Request, parse, verify};
use crate::config::{Forge, Secret, SecretRef, Webhook};
use crate::fuzzing::{Target, say};

pub(crate) const TARGETS: [Target; 7] = [
    Target { name: "webhook-github", feed: |data| feed(Forge::GitHub, data), seeds: GITHUB },
    Target { name: "webhook-gitlab", feed: |data| feed(Forge::GitLab, data), seeds: GITLAB },
    Target { name: "webhook-gitea", feed: |data| feed(Forge::Gitea, data), seeds: GITEA },
    Target { name: "webhook-bitbucket-cloud", feed: |data| feed(Forge::BitbucketCloud, data), seeds: CLOUD },
    Target {
        name: "webhook-bitbucket-data-center",
        feed: |data| feed(Forge::BitbucketDataCenter, data),
        seeds: DATA_CENTER,
    },
    Target { name: "webhook-generic", feed: |data| feed(Forge::Generic, data), seeds: GENERIC },
    Target { name: "webhook-cdevents", feed: |data| feed(Forge::CdEvents, data), seeds: CDEVENTS },
];

const GITHUB: &[&[u8]] = &[
    b"x-github-event: push\nx-github-delivery: 1\nx-hub-signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\n\n{\"ref\":\"refs/heads/main\",\"after\":\"x\"}",
    b"x-github-event: pull_request\n\n{\"action\":\"closed\",\"number\":7,\"pull_request\":{\"number\":7,\"merged\":true,\"base\":{\"ref\":\"main\"},\"head\":{\"ref\":\"topic\"},\"labels\":[{\"name\":\"x\"}]}}",
    b"x-github-event: ping\n\n{\"zen\":\"Keep it logically awesome.\"}",
];
const GITLAB: &[&[u8]] = &[
    b"x-gitlab-event: Push Hook\nx-gitlab-token: secret\nx-gitlab-event-uuid: 1\n\n{\"object_kind\":\"push\",\"ref\":\"refs/heads/main\"}",
    b"x-gitlab-event: Merge Request Hook\nwebhook-id: 1\nwebhook-timestamp: 0\nwebhook-signature: v1,aGk=\n\n{\"object_kind\":\"merge_request\",\"object_attributes\":{\"iid\":7,\"action\":\"merge\",\"target_branch\":\"main\",\"source_branch\":\"x\"},\"labels\":[{\"title\":\"x\"}]}",
];
const GITEA: &[&[u8]] = &[
    b"x-gitea-event: push\nx-gitea-delivery: 1\nx-gitea-signature: 00ff\n\n{\"ref\":\"refs/heads/main\"}",
    b"x-forgejo-event: pull_request_label\n\n{\"action\":\"label_updated\",\"number\":7,\"pull_request\":{\"merged\":false,\"base\":{\"ref\":\"main\"}}}",
];
const CLOUD: &[&[u8]] = &[
    b"x-event-key: repo:push\nx-request-uuid: 1\nx-hub-signature: sha256=00\n\n{\"push\":{\"changes\":[{\"new\":{\"type\":\"branch\",\"name\":\"main\"}}]}}",
    b"x-event-key: pullrequest:fulfilled\n\n{\"pullrequest\":{\"id\":7,\"destination\":{\"branch\":{\"name\":\"main\"}}}}",
];
const DATA_CENTER: &[&[u8]] = &[
    b"x-event-key: repo:refs_changed\nx-request-id: 1\nx-hub-signature: sha256=00\n\n{\"changes\":[{\"ref\":{\"id\":\"refs/heads/main\",\"type\":\"BRANCH\"}}]}",
    b"x-event-key: pr:merged\n\n{\"pullRequest\":{\"id\":7,\"toRef\":{\"id\":\"refs/heads/main\",\"displayId\":\"main\"}}}",
];
const GENERIC: &[&[u8]] = &[
    b"webhook-id: msg_1\nwebhook-timestamp: 1614265330\nwebhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,x\n\n{}",
    b"webhook-id: 1\nwebhook-timestamp: -99999999999999999999\nwebhook-signature: v1,\n\nwhatever",
];
const CDEVENTS: &[&[u8]] = &[
    b"webhook-id: 1\nwebhook-timestamp: 0\nwebhook-signature: v1,aGk=\nce-type: dev.cdevents.artifact.published.0.3.0\n\n{\"context\":{\"version\":\"0.5.0\",\"id\":\"1\",\"type\":\"dev.cdevents.artifact.published.0.3.0\"},\"subject\":{\"id\":\"pkg:oci/a@sha256:x\",\"content\":{}}}",
    b"content-type: application/cloudevents+json\n\n{\"specversion\":\"1.0\",\"type\":\"dev.cdevents.change.merged.0.3.0\",\"data\":{\"subject\":{\"id\":\"7\",\"content\":{\"repository\":{\"id\":\"r\"}}}}}",
];

fn feed(forge: Forge, data: &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end.and_then(|end| Some((data.get(..end)?, data.get(end + 2..)?))) {
        Some(parts) => parts,
        None => (data, &[][..]),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = line.get(..colon).and_then(|name| HeaderName::from_bytes(name).ok());
        let value = line.get(colon + 1..).and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let request = Request { headers: &headers, body };
    let webhook = Webhook {
        forge,
        secret: SecretRef::Env("UNUSED".to_owned()),
        second_secret: None,
        signature_header: None,
        max_body: 3 << 20,
    };
    let secrets = [Secret::new("It's a Secret to Everybody".to_owned())];
    let _ = super::has_proof(&webhook, request);
    say(verify(&webhook, request, &secrets, Timestamp::UNIX_EPOCH));
    say(parse(forge, request));
}
