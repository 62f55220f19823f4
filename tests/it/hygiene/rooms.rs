//! Which room may use which: the table of `architecture` as data, and the paths in the code that it is held against.

use super::source::{Source, find_word, is_name, line_of};

/// A room and the rooms that it may use besides itself. A room inside a room has a line of its own and is known by it.
pub struct Room {
    pub name: &'static str,
    pub uses: &'static [&'static str],
    /// Names no client, clock, file or network.
    pub pure: bool,
}

const fn pure(name: &'static str, uses: &'static [&'static str]) -> Room {
    Room { name, uses, pure: true }
}

const fn outer(name: &'static str, uses: &'static [&'static str]) -> Room {
    Room { name, uses, pure: false }
}

/// Each room uses only rooms that stand above it.
pub const ROOMS: [Room; 20] = [
    pure("model", &[]),
    pure("declare", &["model"]),
    pure("render", &["model", "declare"]),
    pure("plan", &["model", "render"]),
    pure("health", &["model"]),
    pure("rollout", &["model", "render", "plan", "health"]),
    pure("event::catalogue", &["model"]),
    pure("event::outbox", &["model", "event::catalogue"]),
    outer("clock", &[]),
    outer("config", &["model"]),
    outer("telemetry", &["model", "event::catalogue", "event::outbox"]),
    // The rooms that talk to the world know the pure ones and what is configured or counted, never each other.
    outer("source", &["model", "config"]),
    outer("evidence", &["model", "clock"]),
    outer("cluster", &["model"]),
    outer("event", &["model", "event::catalogue", "event::outbox", "telemetry"]),
    outer("sandbox", &["model", "clock"]),
    // The wiring.
    outer("http", &["model", "config", "telemetry", "source"]),
    outer(
        "reconcile",
        &[
            "model",
            "declare",
            "render",
            "plan",
            "health",
            "rollout",
            "event::catalogue",
            "event::outbox",
            "clock",
            "config",
            "telemetry",
            "source",
            "evidence",
            "cluster",
            "event",
            "http",
        ],
    ),
    outer(
        "simulation",
        &[
            "model",
            "declare",
            "render",
            "plan",
            "health",
            "rollout",
            "event::catalogue",
            "event::outbox",
            "clock",
            "config",
            "telemetry",
            "source",
            "evidence",
            "cluster",
            "event",
            "sandbox",
            "reconcile",
        ],
    ),
    // `idp demo` is the whole daemon against the sandbox.
    outer(
        "cli",
        &[
            "model",
            "declare",
            "render",
            "plan",
            "health",
            "rollout",
            "event::catalogue",
            "event::outbox",
            "config",
            "telemetry",
            "source",
            "evidence",
            "cluster",
            "event",
            "sandbox",
            "http",
            "reconcile",
            "simulation",
        ],
    ),
];

/// Returns the room in which a file or an item stands, the innermost one.
pub fn room_of(module: &[&str]) -> Option<&'static Room> {
    let stands_in = |room: &&Room| {
        let mut parts = module.iter();
        room.name.split("::").all(|part| parts.next() == Some(&part))
    };
    ROOMS.iter().filter(stands_in).max_by_key(|room| room.name.len())
}

/// Returns the module that a file under `src` is: `src/a/b.rs` and `src/a/b/mod.rs` are `a::b`.
pub fn module_of(path: &str) -> Vec<&str> {
    let module = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    module.split('/').filter(|part| !["lib", "mod"].contains(part)).collect()
}

/// Returns each item of the crate that the shipped code names by `crate::` or `super::`, with its line. Of `a::{b, c::d}` both
/// are returned, each as far as it is written out.
pub fn named_items(source: &Source) -> Vec<(usize, Vec<&str>)> {
    let code = &source.shipped;
    let mut items = Vec::new();
    for at in find_word(code, "crate::") {
        let line = line_of(code, at);
        items.extend(expand(&code[at + "crate::".len()..], &[]).into_iter().map(|item| (line, item)));
    }
    for at in find_word(code, "super::") {
        // The second of `super::super::` was counted with the first.
        if code[..at].ends_with("super::") {
            continue;
        }
        let line = line_of(code, at);
        let mut base = module_of(&source.path);
        let mut rest = &code[at..];
        while let Some(after) = rest.strip_prefix("super::") {
            rest = after;
            base.pop();
        }
        items.extend(expand(rest, &base).into_iter().map(|item| (line, item)));
    }
    items
}

/// Returns the paths that begin here, `base` in front of each.
pub fn expand<'a>(rest: &'a str, base: &[&'a str]) -> Vec<Vec<&'a str>> {
    let end = rest.bytes().take_while(|byte| is_name(*byte)).count();
    let (name, after) = rest.split_at(end);
    let mut path = base.to_vec();
    if !name.is_empty() {
        path.push(name);
        return after.strip_prefix("::").map_or_else(|| vec![path.clone()], |after| expand(after, &path));
    }
    let Some(group) = rest.strip_prefix('{') else { return vec![path] };
    let mut depth = 0_usize;
    let mut start = 0;
    let mut paths = Vec::new();
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b'}' | b',' if depth == 0 => {
                let part = group[start..at].trim();
                if !part.is_empty() {
                    paths.extend(expand(part, &path));
                }
                start = at + 1;
                if byte == b'}' {
                    break;
                }
            }
            _ => {}
        }
    }
    paths
}

#[test]
fn an_item_is_found_however_it_is_named() {
    let code =
        "use crate::{plan, render::body::{Body, self}};\nfn a(b: super::super::model::Name) { super::c() }";
    let source = Source::new("src/rollout/advance/size.rs", code);
    let items: Vec<(usize, String)> =
        named_items(&source).into_iter().map(|(line, item)| (line, item.join("::"))).collect();
    let expected = [
        (1, "plan"),
        (1, "render::body::Body"),
        (1, "render::body::self"),
        (2, "rollout::model::Name"),
        (2, "rollout::advance::c"),
    ];
    assert_eq!(items, expected.map(|(line, item)| (line, item.to_owned())));
}

#[test]
fn the_innermost_room_counts() {
    for (path, room) in [
        ("src/event/catalogue/types.rs", Some("event::catalogue")),
        ("src/event/outbox.rs", Some("event::outbox")),
        ("src/event/mod.rs", Some("event")),
        ("src/evidence/dial.rs", Some("evidence")),
        ("src/lib.rs", None),
    ] {
        assert_eq!(room_of(&module_of(path)).map(|room| room.name), room, "of {path}");
    }
}

#[test]
fn no_two_rooms_use_each_other() {
    for (index, room) in ROOMS.iter().enumerate() {
        for used in room.uses {
            assert!(
                ROOMS[..index].iter().any(|above| above.name == *used),
                "{} stands above {used}",
                room.name
            );
        }
    }
}
