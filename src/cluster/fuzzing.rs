//! What is read back from the cluster, where anybody may have written it, by name, for `fuzz/`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::raw::Raw;
use super::record_codec;
use super::revision::Sealed;
use crate::fuzzing::{Target, say};

pub(crate) const TARGETS: [Target; 3] = [
    Target { name: "record", feed: record, seeds: RECORDS },
    Target { name: "record-inventory", feed: inventory, seeds: INVENTORIES },
    Target { name: "revision", feed: revision, seeds: REVISIONS },
];

const RECORDS: &[&[u8]] = &[
    b"{\"schema\":1,\"sequence\":7,\"inventory\":{}}",
    b"{\"schema\":2,\"inventoryDeflated\":\"q1YqLU4tykvMTVWyUkpUqgUA\"}",
    b"{\"schema\":1,\"inventoryDeflated\":\"////\"}",
];

/// A status as it stands in a `Release`.
fn record(data: &[u8]) {
    if let Ok(status) = serde_json::from_slice::<Value>(data) {
        say(record_codec::decode(&status));
    }
}

const INVENTORIES: &[&[u8]] = &[b"\xab\xae\x05\x00", b"\x03\x00", b"\xed\xc1\x01\x01\x00"];

/// Bytes in the place of a deflated inventory.
fn inventory(data: &[u8]) {
    let status = json!({"schema": 1, "inventoryDeflated": STANDARD.encode(data)});
    say(record_codec::decode(&status));
}

const REVISIONS: &[&[u8]] = &[
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00",
    b"\x1f\x8b",
];

/// Bytes in the place of a revision's objects.
fn revision(data: &[u8]) {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "idp.dev/revision",
        "metadata": {"name": "idp-web-7", "namespace": "p", "uid": "u", "resourceVersion": "1",
            "labels": {"idp.dev/rollout": "7", "idp.dev/mark": "stable"}},
        "data": {"version": STANDARD.encode(data)},
    });
    if let Ok(sealed) = Sealed::read(&Raw::<false>::new(object)) {
        say(sealed.open());
    }
}
