//! Files made to hurt, and files made by chance.

use proptest::prelude::*;

use super::*;

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Files made to hurt: each is refused, with few findings, having read a bounded number of values.
#[test]
fn hostile_files_are_refused_within_bounds() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let row = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{row}]").unwrap();
    }
    let mut deep_alias = String::from("a0: &a0 [x]\n");
    for level in 1..5_000 {
        writeln!(deep_alias, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    let mut many_keys = String::new();
    let mut many_environments = format!("{HEAD}environments:\n");
    for index in 0..20_000 {
        writeln!(many_keys, "k{index}: 1").unwrap();
    }
    for index in 0..1_400 {
        writeln!(many_environments, "  e{index}:").unwrap();
    }
    let mut many_overrides = format!("{HEAD}workload: {{port: x, env: {{");
    for index in 0..1_200 {
        write!(many_overrides, "A{index}: b, ").unwrap();
    }
    many_overrides.push_str("}}\nenvironments:\n");
    for index in 0..32 {
        writeln!(many_overrides, "  e{index}: {{overrides: {{workload: {{env: {{A{index}: c}}}}}}}}")
            .unwrap();
    }
    for (name, text, code) in [
        ("alias bomb", bomb, Code::Budget),
        ("aliases within each other", deep_alias, Code::Depth),
        ("self reference", "a: &a [*a]\n".to_owned(), Code::Yaml),
        ("deep flow", "[".repeat(200_000), Code::Depth),
        ("deep flow maps", "{a: ".repeat(60_000), Code::Depth),
        ("deep block", lines((0..300).map(|n| " ".repeat(n) + "a:")), Code::Depth),
        ("many keys", many_keys, Code::Budget),
        ("many environments", many_environments, Code::Limit),
        ("too large", "#".repeat(1024 * 1024), Code::TooLarge),
        ("long key", format!("{}: 1", "k".repeat(200_000)), Code::Yaml),
        ("many quotes", "\"".repeat(200_000), Code::Yaml),
        ("many dashes", "- ".repeat(100_000), Code::Depth),
        (
            "many thresholds",
            format!("{HEAD}rollback:\n{}", "  on_error_rate: >1%\n".repeat(10_000)),
            Code::BlockScalar,
        ),
        ("many unknown keys", lines((0..1_400).map(|n| format!("strateg{n}: 1"))), Code::More),
        ("many overrides", many_overrides, Code::Value),
        (
            "many open templates",
            format!("{HEAD}workload: {{args: ['{}}}}}']}}\nx: 1\n", "{".repeat(200_000)),
            Code::UnknownKey,
        ),
        ("nul", "\0".repeat(1000), Code::Encoding),
    ] {
        let found = parse("f", text.as_bytes()).expect_err(name);
        assert!(found.iter().any(|f| f.code == code), "{name}: {}", found.as_slice()[0]);
        assert!(found.as_slice().len() <= 101, "{name}");
        assert!(found.to_string().len() < 64 * 1024, "{name}");
        service_name_of(text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever is cut out of, put into or doubled in a good file: no panic, every finding has a place, and an accepted file resolves.
    #[test]
    fn a_mutated_file_never_panics(
        which in 0usize..6,
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..20, "[-:{}\\[\\]&*!|>%@`\"'#,? \t\na0~<é]{0,6}"), 1..6),
    ) {
        let mut text: Vec<char> = EXAMPLES[which].1.chars().collect();
        for (at, length, put) in cuts {
            let at = at.index(text.len() + 1).min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        match parse("f", text.as_bytes()) {
            Ok(spec) => {
                for environment in spec.environments(&[env("some")]) {
                    prop_assert!(spec.resolve(&environment).is_ok());
                }
            }
            Err(found) => {
                prop_assert!(found.has_errors());
                for finding in &found {
                    prop_assert!(finding.place.line >= 1 && finding.place.column >= 1);
                    prop_assert!(finding.place.line <= text.lines().count() + 1);
                    prop_assert!(!finding.what.is_empty());
                }
            }
        }
        service_name_of(text.as_bytes());
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse("f", &bytes);
        service_name_of(&bytes);
    }
}
