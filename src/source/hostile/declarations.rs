//! Declaration files, read by the real parser: what YAML can be made to cost, and what its text can be made to show.

use std::fmt::Write as _;

use super::{Case, case};

fn aliases(levels: usize) -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..levels {
        let below = format!("*a{}", level - 1);
        writeln!(text, "a{level}: &a{level} [{}]", vec![below; 9].join(", ")).unwrap();
    }
    text
}

fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let many = |line: fn(usize) -> String, count| (0..count).map(line).collect::<String>().into_bytes();
    vec![
        ("an alias bomb", aliases(9).into_bytes()),
        ("a larger alias bomb", aliases(60).into_bytes()),
        ("merge keys", b"a: &a {x: 1}\nb: {<<: [*a, *a, *a, *a]}\nservice: {<<: *a}\n".to_vec()),
        ("an anchor in itself", b"a: &a [*a]\n".to_vec()),
        ("brackets", "[".repeat(500_000).into_bytes()),
        ("braces", "{a: ".repeat(200_000).into_bytes()),
        ("lists in lists", "- ".repeat(400_000).into_bytes()),
        ("steps to the right", many(|n| format!("{}a:\n", " ".repeat(n)), 1_300)),
        ("a huge key", [&vec![b'k'; 900_000][..], b": 1\n"].concat()),
        ("a huge value", [b"service: {name: ".as_slice(), &vec![b'v'; 900_000], b"}\n"].concat()),
        ("many keys", many(|n| format!("k{n}: 1\n"), 80_000)),
        ("one key many times", many(|_| "k: 1\n".to_owned(), 150_000)),
        ("no text", b"service: {name: \xff\xfe}\n".to_vec()),
        ("UTF-16", "service".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("NULs", vec![0; 100_000]),
        ("tabs", b"service:\n\tname: a\n".to_vec()),
        ("escapes", b"service: {name: \"\\e[2J\\x07\", \"\\e]0;x\": 1}\n\x1b[2J".to_vec()),
        ("directions", "service: {name: \u{202e}a\u{2066}}\n\u{202e}: 1\n".into()),
        ("tags", b"!!python/object:os.system {a: 1}\nservice: !<tag:x> {name: !!binary aGk=}\n".to_vec()),
        ("many documents", b"---\n".repeat(100_000)),
        ("directives", b"%YAML 9.9\n%TAG ! tag:x,2000:\n---\nservice: {}\n".to_vec()),
        ("comments only", b"# x\n".repeat(200_000)),
        ("an unclosed quote", [b"a: \"".as_slice(), &vec![b'x'; 500_000]].concat()),
        ("a block without end", [b"a: |\n".as_slice(), &b" x\n".repeat(200_000)].concat()),
        ("globs", many(|n| format!("- \"{}\"\n", "{a,b}".repeat(n % 50)), 2_000)),
        (
            "a number of a megabyte",
            [b"workload: {replicas: ".as_slice(), &vec![b'9'; 900_000], b"}\n"].concat(),
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, text) in texts() {
        let other = text.clone();
        cases.push(case(format!("a declaration: {what}"), move |maker, first| {
            let root = maker.root(&[(b"40000", b".idp", maker.declared(&text))]);
            maker.set_main(maker.commit(root, &[first]));
        }));
        cases.push(case(format!("another declaration: {what}"), move |maker, first| {
            let service = maker.tree(&[(b"40000", b".idp", maker.declared(&other))]);
            let services = maker.tree(&[(b"40000", b"web", service)]);
            maker.set_main(maker.commit(maker.root(&[(b"40000", b"services", services)]), &[first]));
        }));
    }
    cases.push(case("twenty-five thousand declarations", |maker, first| {
        let service = maker.tree(&[(b"40000", b".idp", maker.declared(b"nonsense\n"))]);
        let names: Vec<String> = (0..25_000).map(|number| format!("{number:05}")).collect();
        let entries: Vec<_> =
            names.iter().map(|name| (b"40000".as_slice(), name.as_bytes(), service)).collect();
        let root = maker.root(&[(b"40000", b"services", maker.tree(&entries))]);
        maker.set_main(maker.commit(root, &[first]));
    }));
    cases.push(case("two thousand times the same service", |maker, first| {
        let service = maker.tree(&[(b"40000", b".idp", maker.declared(b"service: same\n"))]);
        let names: Vec<String> = (0..2_000).map(|number| format!("{number:05}")).collect();
        let entries: Vec<_> =
            names.iter().map(|name| (b"40000".as_slice(), name.as_bytes(), service)).collect();
        let root = maker.root(&[(b"40000", b"services", maker.tree(&entries))]);
        maker.set_main(maker.commit(root, &[first]));
    }));
    cases
}
