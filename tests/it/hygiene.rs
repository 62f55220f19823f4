//! Rules of the project that a compiler does not know: each reads the source tree and names file, line and remedy.

// All of it is test, its helpers too: what cannot be read or does not fit is a failure of the test, and a panic says so.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod rooms;
mod source;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use rooms::{ROOMS, Room};
use source::{Source, find_word, line_of, rust_files, text_files};

/// Lines that a file may have, what is for tests only not counted.
const LINE_LIMIT: usize = 400;

/// Longer files, each with the reason why dividing it would make it worse.
const LONGER: [(&str, &str); 0] = [];

/// What reaches the world or the clock. A name that ends in `::` is a crate or a module, any other a word.
const IMPURE: [&str; 21] = [
    "axum::",
    "gix::",
    "hyper::",
    "hyper_util::",
    "k8s_openapi::",
    "kube::",
    "notify::",
    "prometheus::",
    "rand::",
    "rdkafka::",
    "reqwest::",
    "russh::",
    "tokio::",
    "tokio_util::",
    "tower::",
    "tower_http::",
    "tracing::",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
];

/// Modules of `std` of which the same is true.
const IMPURE_STD: [&str; 5] = ["env", "fs", "net", "process", "thread"];

static SRC: LazyLock<Vec<Source>> = LazyLock::new(|| rust_files("src"));

/// A breach of a rule.
struct Breach {
    path: String,
    line: usize,
    what: String,
}

fn breach(path: &str, line: usize, what: impl Into<String>) -> Breach {
    Breach { path: path.to_owned(), line, what: what.into() }
}

#[track_caller]
fn assert_none(breaches: &[Breach], remedy: &str) {
    let mut text = String::new();
    for Breach { path, line, what } in breaches {
        writeln!(text, "  {path}:{line}: {what}").unwrap();
    }
    assert!(breaches.is_empty(), "{} breaches:\n{text}{remedy}", breaches.len());
}

/// Returns a breach for each place in the code where the word stands.
fn each_word(source: &Source, code: &str, word: &str, what: &str) -> Vec<Breach> {
    find_word(code, word).into_iter().map(|at| breach(&source.path, line_of(code, at), what)).collect()
}

fn in_room(source: &Source) -> Option<&'static Room> {
    rooms::room_of(&rooms::module_of(&source.path))
}

#[test]
fn pure_rooms_name_no_client_clock_file_or_network() {
    let mut breaches = Vec::new();
    let mut seen = BTreeSet::new();
    for source in SRC.iter() {
        let Some(room) = in_room(source).filter(|room| room.pure) else { continue };
        seen.insert(room.name);
        for word in IMPURE {
            let what = format!("`{word}` in the pure room {}", room.name);
            breaches.extend(each_word(source, &source.shipped, word, &what));
        }
        for at in find_word(&source.shipped, "std::") {
            for path in rooms::expand(&source.shipped[at + "std::".len()..], &[]) {
                if path.first().is_some_and(|module| IMPURE_STD.contains(module)) {
                    let what = format!("`std::{}` in the pure room {}", path.join("::"), room.name);
                    breaches.push(breach(&source.path, line_of(&source.shipped, at), what));
                }
            }
        }
    }
    assert_none(
        &breaches,
        "A decision takes what it needs, the time included, as an argument; read it in a room that does IO.",
    );
    let pure: BTreeSet<&str> = ROOMS.iter().filter(|room| room.pure).map(|room| room.name).collect();
    assert_eq!(seen, pure, "every pure room has files");
}

#[test]
fn rooms_use_only_the_rooms_that_they_may() {
    let mut breaches = Vec::new();
    for source in SRC.iter() {
        let Some(room) = in_room(source) else { continue };
        for (line, item) in rooms::named_items(source) {
            let Some(used) = rooms::room_of(&item) else { continue };
            if used.name != room.name && !room.uses.contains(&used.name) {
                let what = format!("{} uses {} (`{}`)", room.name, used.name, item.join("::"));
                breaches.push(breach(&source.path, line, what));
            }
        }
    }
    assert_none(&breaches, "Hand the value in as an argument, or move what both need down into `model`.");
}

#[test]
fn every_folder_of_the_crate_is_a_room() {
    let unknown: BTreeSet<String> = SRC
        .iter()
        .filter(|source| in_room(source).is_none())
        .filter(|source| !["src/lib.rs", "src/fuzzing.rs"].contains(&source.path.as_str()))
        .filter(|source| !source.path.starts_with("src/bin/"))
        .map(|source| source.path.clone())
        .collect();
    assert!(unknown.is_empty(), "in no room of the table in tests/it/hygiene/rooms.rs: {unknown:?}");
}

#[test]
fn files_stay_short() {
    let mut breaches = Vec::new();
    let mut longer = BTreeSet::new();
    for source in SRC.iter() {
        let lines = lines_that_ship(source);
        if lines <= LINE_LIMIT {
            continue;
        }
        if LONGER.iter().any(|(path, _)| *path == source.path) {
            longer.insert(source.path.as_str().to_owned());
        } else {
            breaches.push(breach(&source.path, lines, format!("{lines} lines, more than {LINE_LIMIT}")));
        }
    }
    assert_none(&breaches, "There is a second subject in it: give that a file of its own.");
    let listed: BTreeSet<String> = LONGER.iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(longer, listed, "listed as longer, but not longer any more");
}

/// Returns how many lines a file has, less those that are blank once what is for tests only is left out.
fn lines_that_ship(source: &Source) -> usize {
    let blank = |line: &str| line.trim().is_empty();
    let for_tests = source
        .code
        .lines()
        .zip(source.shipped.lines())
        .filter(|(code, shipped)| !blank(code) && blank(shipped));
    if blank(&source.shipped) { 0 } else { source.text.lines().count() - for_tests.count() }
}

#[test]
fn nothing_is_left_unfinished() {
    let mut breaches = Vec::new();
    for (path, text) in &text_files(".") {
        // In halves, since this file is read too.
        for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")] {
            let places = find_word(text, word);
            breaches
                .extend(places.into_iter().map(|at| breach(path, line_of(text, at), format!("`{word}`"))));
        }
    }
    for source in SRC.iter().chain(&rust_files("tests")).chain(&rust_files("benches")) {
        for word in ["todo!", "unimplemented!"] {
            breaches.extend(each_word(source, &source.code, word, &format!("`{word}`")));
        }
    }
    assert_none(&breaches, "Do it, refuse it with a clear error, or leave it out.");
}

#[test]
fn nothing_that_ships_unwraps() {
    let mut breaches = Vec::new();
    for source in SRC.iter() {
        for word in [".unwrap()", ".expect("] {
            breaches.extend(each_word(source, &source.shipped, word, &format!("`{word}`")));
        }
    }
    assert_none(&breaches, "Return an error that says what, where, why and how to mend it.");
}

#[test]
fn every_file_tells_its_job() {
    let breaches: Vec<Breach> = SRC
        .iter()
        .chain(&rust_files("tests"))
        .chain(&rust_files("benches"))
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| breach(&source.path, 1, "does not begin with `//! `"))
        .collect();
    assert_none(&breaches, "Begin the file with a sentence that tells its job.");
}

#[test]
fn every_room_tells_what_comes_in_and_what_goes_out() {
    let mut breaches = Vec::new();
    for room in ROOMS.iter().filter(|room| !room.name.contains("::")) {
        let path = format!("src/{}/mod.rs", room.name);
        let header: String = SRC
            .iter()
            .filter(|source| source.path == path)
            .flat_map(|source| source.text.lines())
            .take_while(|line| line.starts_with("//!"))
            .collect();
        for word in ["In:", "Out:"] {
            if !header.contains(word) {
                breaches.push(breach(&path, 1, format!("its header has no `{word}`")));
            }
        }
    }
    assert_none(
        &breaches,
        "A room's header tells its job, what comes in (`In:`) and what goes out (`Out:`).",
    );
}

#[test]
fn the_tree_knows_no_machine_and_no_scraps() {
    let mut breaches = Vec::new();
    for (path, text) in &text_files(".") {
        for word in [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("sub", "agent")] {
            let places = text.match_indices(word);
            breaches.extend(places.map(|(at, _)| breach(path, line_of(text, at), format!("`{word}`"))));
        }
        if [".orig", ".rej", ".bak", ".swp", "~"].iter().any(|end| path.ends_with(end)) {
            breaches.push(breach(path, 1, "left over from an edit or a merge"));
        }
    }
    assert_none(
        &breaches,
        "Paths are relative to the crate or given by the caller; the tree holds the project, nothing else.",
    );
}

#[test]
fn every_scar_names_tests_that_exist() {
    let text = std::fs::read_to_string("docs/scars.md").unwrap();
    let tests: String = SRC.iter().chain(&rust_files("tests")).map(|source| source.text.as_str()).collect();
    let is_test = |name: &str| {
        let begin = format!("fn {name}(");
        let mut places = tests.match_indices(&begin).map(|(at, _)| &tests[..at]);
        // Of the attributes before it, the nearest item's are all that count.
        places.any(|before| {
            let item = before.rsplit(['}', ';']).next().unwrap_or_default();
            item.contains("#[test]") || item.contains("#[tokio::test")
        })
    };
    let rows =
        text.lines().enumerate().filter(|(_, line)| line.starts_with("| ") && !line.starts_with("| #"));
    let mut breaches = Vec::new();
    for (number, line) in rows {
        let named = line.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2);
        let missing: Vec<&str> = named.clone().filter(|name| !is_test(name)).collect();
        if named.count() == 0 || !missing.is_empty() {
            breaches.push(breach(
                "docs/scars.md",
                number + 1,
                format!("no such test: {}", missing.join(", ")),
            ));
        }
    }
    assert_none(&breaches, "Name the test that goes red without the guard, as its function is called.");
}
