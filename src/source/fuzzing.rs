//! What a source reads from strangers besides webhooks, by name, for `fuzz/`.

use std::path::Path;

use jiff::Timestamp;

use super::find::Finder;
use super::report::Declared;
use super::signature::Allowed;
use super::watched::Watched;
use super::{poll, refs};
use crate::config::{self, Follow};
use crate::fuzzing::{Target, say};

pub(crate) const TARGETS: [Target; 5] = [
    Target { name: "refs", feed: listed, seeds: LISTS },
    Target { name: "commit-signature", feed: signature, seeds: SIGNATURES },
    Target { name: "allowed-signers", feed: keys, seeds: KEYS },
    Target { name: "globs", feed: globs, seeds: GLOBS },
    Target { name: "tag-range", feed: range, seeds: RANGES },
];

const LISTS: &[&[u8]] = &[
    b"003d1111111111111111111111111111111111111111 refs/heads/main\n0000",
    b"003d1111111111111111111111111111111111111111 refs/tags/v1.2.3 peeled:2222222222222222222222222222222222222222\n0000",
    b"0021ERR upload-pack: not our ref\n0000",
];

/// An answer to `ls-refs`, as [`super::poll`] reads it.
fn listed(data: &[u8]) {
    let follows = [Some(Follow::Branch("main".to_owned())), tags("1.x")];
    let follows: Vec<Follow> = follows.into_iter().flatten().collect();
    if let Ok(found) = poll::read(data) {
        say(refs::tips(&follows, found));
    }
}

/// Returns what follows tags of these versions, as the configuration reads it.
fn tags(range: &str) -> Option<Follow> {
    let source = serde_json::json!({"name": "a", "url": "/a", "ref": {"semver": range}});
    let text = format!(
        "cluster: {{in_cluster: true}}\nenvironments: [{{name: p, namespace: p}}]\nsources: [{source}]\n"
    );
    let config = config::parse(&text, Path::new("/")).ok()?;
    config.sources.into_values().next().map(|source| source.follow.clone())
}

const TEAM: &str = include_str!("signature/testdata/alice.asc");

const SIGNATURES: &[&[u8]] = &[
    include_bytes!("signature/testdata/commit"),
    include_bytes!("signature/testdata/primary.sig"),
    include_bytes!("signature/testdata/rsa.sig"),
    include_bytes!("signature/testdata/expiring.sig"),
    b"tree 1111111111111111111111111111111111111111\ngpgsig -----BEGIN SSH SIGNATURE-----\n U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAg\n -----END SSH SIGNATURE-----\n\nsubject\n",
];

/// A commit as it is, and a commit with these bytes as its signature.
fn signature(data: &[u8]) {
    let mut allowed = Allowed::default();
    say(allowed.add(TEAM));
    say(allowed.check(data, Timestamp::UNIX_EPOCH));
    let armor = data.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b"\n "[..]);
    let head = b"tree 1111111111111111111111111111111111111111\ngpgsig ".as_slice();
    let tail = b"\n\nsubject\n".as_slice();
    say(allowed.check(&[head, &armor, tail].concat(), Timestamp::UNIX_EPOCH));
}

const KEYS: &[&[u8]] = &[
    include_bytes!("signature/testdata/alice.asc"),
    include_bytes!("signature/testdata/carol-revoked.asc"),
    b"alice@example.com namespaces=\"git,file\",valid-after=\"20240101\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl a comment\n",
    b"# nobody\n* cert-authority ecdsa-sha2-nistp256 AAAA\n",
];

fn keys(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        say(Allowed::default().add(text));
    }
}

const GLOBS: &[&[u8]] = &[
    b".idp/deploy.yaml\nservices/*/.idp/deploy.yaml",
    b"**/[a-z]?{b,c}/*.yaml\nlib/**",
    b"{{{{{a,b},c},d},e},f}/[!]]",
];

/// What a source looks for, and what a declaration watches, line by line.
fn globs(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    say(Finder::new(&lines));
    let Ok(service) = "a".parse() else { return };
    let declared = Declared { service, paths: lines.clone(), manifests: lines.clone(), ignore: lines };
    if let Ok(watched) = Watched::new("services/a/.idp/deploy.yaml", &declared) {
        let _ = watched.matches(text);
    }
}

const RANGES: &[&[u8]] = &[b"1.x\nv1.2.3", b">=1.2, <2\n1.9.9-rc.1+x", b"v*\nv18446744073709551616.0.0"];

/// A range, and a tag that may be in it.
fn range(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (range, tag) = text.split_once('\n').unwrap_or((text, "v1.0.0"));
    if let Some(Follow::Tags(range)) = tags(range) {
        let _ = range.highest([tag]);
    }
}
