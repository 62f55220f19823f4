//! The parsers of everything that comes from outside, by name: what `fuzz/` feeds with whatever it can think of, and what the tests
//! feed with the seeds that it begins with. A parser may refuse; it may not panic, nor take more time or memory than its input is
//! worth.

use std::fmt::Display;

use crate::{cluster, config, declare, evidence, source};

/// A parser of bytes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name: that of its program in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Feeds it.
    pub feed: fn(&[u8]),
    /// Bytes to begin with: some that it takes, some that it refuses.
    pub seeds: &'static [&'static [u8]],
}

/// Returns every parser.
pub fn targets() -> Vec<Target> {
    let own = [
        Target { name: "declaration", feed: declaration, seeds: DECLARATIONS },
        Target { name: "configuration", feed: configuration, seeds: CONFIGURATIONS },
        Target { name: "exposition", feed: exposition, seeds: EXPOSITIONS },
    ];
    own.into_iter()
        .chain(source::fuzzing::TARGETS)
        .chain(source::webhook::fuzzing::TARGETS)
        .chain(evidence::fuzzing::TARGETS)
        .chain(cluster::fuzzing::TARGETS)
        .collect()
}

/// Feeds the parser of a name; does nothing where there is none.
pub fn run(name: &str, data: &[u8]) {
    if let Some(target) = targets().into_iter().find(|target| target.name == name) {
        (target.feed)(data);
    }
}

/// Has an answer said, as it would be to a person.
pub(crate) fn say<T, E: Display>(answer: Result<T, E>) {
    if let Err(error) = answer {
        let _ = error.to_string();
    }
}

const DECLARATIONS: &[&[u8]] = &[
    include_bytes!("../examples/deploy/minimal.yaml"),
    include_bytes!("../examples/deploy/canary.yaml"),
    include_bytes!("../examples/deploy/web-api.yaml"),
    include_bytes!("../examples/deploy/batch-job.yaml"),
    include_bytes!("../examples/deploy/strict-production.yaml"),
    include_bytes!("../examples/deploy/escape-hatch.yaml"),
    b"service: {name: a, team: t}\nworkload: {port: 80, replicas: 3}\ndeploy: {strategy: rolling}\n",
    b"a: &a [x, x]\nb: &b [*a, *a]\nservice: {<<: *a}\n",
    b"service:\nname: lost\n  team: t\n",
];

fn declaration(data: &[u8]) {
    say(declare::parse(".idp/deploy.yaml", data));
    let _ = declare::service_name_of(data);
}

const CONFIGURATIONS: &[&[u8]] = &[
    include_bytes!("../config/idpd.yaml"),
    b"cluster: {in_cluster: true}\nenvironments: [{name: p, namespace: \"{{service.team}}-{{env}}\"}]\nsources:\n- {name: a, url: \"https://git.example.com/a/b.git\", poll: 5m, paths: [\"services/*/.idp/deploy.yaml\"]}\n",
    b"cluster: {kubeconfig: k}\ncache_limit: 1GiB\nkafka: {brokers: [\"b:9092\"], topic: t}\n",
    b"[[[[",
];

fn configuration(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        say(config::parse(text, std::path::Path::new("/")));
    }
}

const EXPOSITIONS: &[&[u8]] = &[
    b"# TYPE http_requests_total counter\nhttp_requests_total{code=\"200\",method=\"get\"} 1027 1395066363000\nhttp_requests_total{code=\"500\"} 3\n",
    b"# TYPE http_server_request_duration_seconds histogram\nhttp_server_request_duration_seconds_count{http_response_status_code=\"503\",x=\"a\\\"b\\\\\\n\"} 1e3 # {} 1\n",
    b"http_requests_total{code=\"2\xff\"} NaN\n",
];

fn exposition(data: &[u8]) {
    say(evidence::exposition::read(data));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    /// Changes bytes as a fuzzer without feedback would.
    fn change(chance: &mut StdRng, bytes: &mut Vec<u8>, other: &[u8]) {
        const ODD: [&[u8]; 12] = [
            b"\0",
            b"\xff",
            b"\n",
            b"\"",
            b":",
            b"{{",
            b"-1",
            b"99999999999999999999",
            b"\xed\xa0\x80",
            b"%",
            b"*",
            b"0000",
        ];
        let mut below = |limit: usize| chance.random_range(0..limit);
        for _ in 0..=below(4) {
            let at = below(bytes.len() + 1);
            match below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
                1 => bytes.truncate(at),
                2 => drop(bytes.splice(at..at, ODD[below(ODD.len())].iter().copied())),
                3 if !other.is_empty() => {
                    let from = below(other.len());
                    let to = (from + 1 + below(40)).min(other.len());
                    drop(bytes.splice(at..at, other[from..to].iter().copied()));
                }
                4 if at < bytes.len() => {
                    let to = (at + 1 + below(16)).min(bytes.len());
                    drop(bytes.drain(at..to));
                }
                _ => {
                    let part: Vec<u8> = bytes[at..(at + 20).min(bytes.len())].repeat(1 + below(8));
                    drop(bytes.splice(at..at, part));
                }
            }
        }
    }

    /// What the fuzzer would do, with what it begins with: so no target rots. `IDP_FUZZ_ROUNDS` says how often.
    #[test]
    fn every_seed_and_what_is_next_to_it_is_read() {
        let rounds = std::env::var("IDP_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
        for Target { name, feed, seeds } in targets() {
            assert!(seeds.len() >= 2, "{name}");
            feed(b"");
            for seed in seeds {
                feed(seed);
            }
            let mut chance = StdRng::seed_from_u64(7);
            for _ in 0..rounds.unwrap_or(200) {
                let mut bytes = seeds[chance.random_range(0..seeds.len())].to_vec();
                let other = seeds[chance.random_range(0..seeds.len())];
                change(&mut chance, &mut bytes, other);
                let fed = std::panic::catch_unwind(|| feed(&bytes));
                assert!(fed.is_ok(), "{name}: {}", bytes.escape_ascii());
            }
        }
        run("nobody", b"x");
    }

    #[test]
    fn every_parser_has_a_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let mut names = BTreeSet::new();
        for Target { name, .. } in targets() {
            let program = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
            assert!(program.contains(&format!("run(\"{name}\", data)")), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            assert!(names.insert(format!("{name}.rs")), "{name} is one");
        }
        let programs = std::fs::read_dir(folder.join("fuzz_targets")).unwrap();
        let programs: BTreeSet<String> =
            programs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(programs, names, "and every program a parser");
    }
}
