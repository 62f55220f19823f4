//! What registries and declarations say of images, by name, for `fuzz/`.

use super::{challenge, registry};
use crate::fuzzing::{Target, say};
use crate::model::image::Digest;

pub(crate) const TARGETS: [Target; 2] = [
    Target { name: "challenge", feed: challenged, seeds: CHALLENGES },
    Target { name: "image-reference", feed: reference, seeds: REFERENCES },
];

const CHALLENGES: &[&[u8]] = &[
    b"Bearer realm=\"https://auth.example.com/token\",service=\"registry.example.com\",scope=\"repository:a/b:pull\"",
    b"Basic realm=\"a \\\"b\\\"\", charset=UTF-8",
    b"Negotiate, Bearer x",
];

fn challenged(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = challenge::parse(text);
    }
}

const REFERENCES: &[&[u8]] = &[
    b"registry.example.com:5000/shop/web",
    b"localhost/a",
    b"[::1]:5000/a/b",
    b"sha256:0123456789012345678901234567890123456789012345678901234567890123",
];

fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = registry::split(text);
    let _ = registry::is_tag(text);
    say(text.parse::<Digest>());
}
