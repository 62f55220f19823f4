//! Servers: packs that are none, lists of refs that are none, greetings that are none. Each is told over smart HTTP to a source that
//! has a good mirror.

use std::collections::BTreeSet;
use std::sync::Arc;

use gix::ObjectId;
use gix::objs::Kind;

use super::maker::{DECLARATION, PEOPLE, commit_bytes, deflated, id_of, nowhere, tree_bytes};
use super::{Known, mutated, take};
use crate::source::Trigger;
use crate::source::fixture::Repo;
use crate::source::forge::{Crafted, Fault, Forge, TOKEN, packet, started};

/// The objects of a commit with one declaration, as a pack has them.
struct Head {
    id: ObjectId,
    objects: Vec<(u8, Vec<u8>)>,
}

fn head(parent: ObjectId) -> Head {
    let blob = DECLARATION.to_vec();
    let idp = tree_bytes(&[(b"100644", b"deploy.yaml", id_of(Kind::Blob, &blob))]);
    let root = tree_bytes(&[(b"40000", b".idp", id_of(Kind::Tree, &idp))]);
    let commit = commit_bytes(id_of(Kind::Tree, &root), &[parent], PEOPLE);
    let id = id_of(Kind::Commit, &commit);
    Head { id, objects: vec![(1, commit), (2, root), (2, idp), (3, blob)] }
}

/// An entry's header: its type and its size.
fn header(kind: u8, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut rest, mut byte) = (size >> 4, kind << 4 | u8::try_from(size & 15).unwrap());
    while rest > 0 {
        bytes.push(byte | 0x80);
        byte = u8::try_from(rest & 0x7f).unwrap();
        rest >>= 7;
    }
    bytes.push(byte);
    bytes
}

fn entry(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [header(kind, bytes.len() as u64), deflated(bytes)].concat()
}

fn pack_of(version: u32, count: u32, entries: &[u8]) -> Vec<u8> {
    let mut pack = [b"PACK".as_slice(), &version.to_be_bytes(), &count.to_be_bytes(), entries].concat();
    let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize().unwrap().as_slice());
    pack
}

fn good_pack(head: &Head) -> Vec<u8> {
    let entries: Vec<u8> = head.objects.iter().flat_map(|(kind, bytes)| entry(*kind, bytes)).collect();
    pack_of(2, 4, &entries)
}

/// Entries that stand behind the good ones.
fn odd_entries() -> Vec<(&'static str, Vec<u8>)> {
    let delta = |base: &[u8], instructions: &[u8]| {
        let kind = if base.len() == 20 { 7 } else { 6 };
        [header(kind, instructions.len() as u64), base.to_vec(), deflated(instructions)].concat()
    };
    // As far back as the declaration's blob, of 11 bytes.
    let good = [u8::try_from(entry(3, DECLARATION).len()).unwrap()];
    let one = [11, 1, 1, b'x'];
    vec![
        ("a delta over what is nowhere", delta(nowhere(1).as_slice(), &one)),
        ("a delta over itself", delta(&[0], &one)),
        ("a delta over the middle of another", delta(&[3], &one)),
        ("a delta before the pack", delta(&[0xff, 0xff, 0xff, 0xff, 0x7f], &one)),
        ("a distance without end", delta(&[0xff; 30], &one)),
        ("a delta for another base", delta(&good, &[10, 1, 1, b'x'])),
        ("a delta cut off", delta(&good, &[11, 1])),
        ("no delta at all", delta(&good, &[])),
        ("an instruction that is none", delta(&good, &[11, 1, 0, 0])),
        (
            "a copy from behind the base",
            delta(&good, &[11, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
        ("a result of ten gigabytes", delta(&good, &[11, 0x80, 0x80, 0x80, 0x80, 0x28, 0x90, 10])),
        (
            "a result without end",
            delta(&good, &[11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ),
        ("type 0", entry(0, b"x")),
        ("type 5", entry(5, b"x")),
        ("less than it says", [header(3, 1_000), deflated(b"x")].concat()),
        ("more than it says", [header(3, 1), deflated(&vec![b'x'; 100_000])].concat()),
        ("ten gigabytes, it says", [header(3, 10 << 30), deflated(b"x")].concat()),
        ("all there is, it says", [header(3, u64::MAX), deflated(b"x")].concat()),
        ("a size without end", vec![0xbf; 50]),
        ("a megabyte in a thousandth of one", entry(3, &vec![0; 1 << 20])),
        ("noise", vec![0xee; 500]),
        ("nothing", Vec::new()),
    ]
}

/// Packs that are told to be the new head's.
fn packs(head: &Head) -> Vec<(String, Vec<u8>)> {
    let good = good_pack(head);
    let entries = &good[12..good.len() - 20];
    let mut packs = Vec::new();
    for (what, odd) in odd_entries() {
        packs.push((format!("a pack with {what}"), pack_of(2, 5, &[entries, &odd].concat())));
    }
    for part in 0..12 {
        packs.push((format!("{part} twelfths of a pack"), good[..good.len() * part / 12].to_vec()));
    }
    for (version, count) in [(2, 0), (2, 3), (2, 5), (2, u32::MAX), (0, 4), (3, 4), (99, 4)] {
        packs.push((
            format!("a pack of version {version} that counts {count}"),
            pack_of(version, count, entries),
        ));
    }
    let mut wrong = good.clone();
    *wrong.last_mut().unwrap() ^= 1;
    packs.push(("a pack with a wrong sum".to_owned(), wrong));
    packs.push(("a page".to_owned(), b"<html>503</html>".to_vec()));
    packs.push(("a pack without the commit".to_owned(), pack_of(2, 1, &entry(3, b"x"))));
    let lone: Vec<u8> = entry(1, &head.objects[0].1);
    packs.push(("a pack with the commit alone".to_owned(), pack_of(2, 1, &lone)));
    packs.push(("a pack and more".to_owned(), [&good[..], &[0xee; 100]].concat()));
    for number in 0..30 {
        packs.push((format!("a pack changed by chance, {number}"), mutated(&good, 3_000 + number)));
    }
    packs
}

/// Whole answers to a fetch.
fn fetches() -> Vec<(&'static str, Vec<u8>)> {
    let band = |number: u8, text: &[u8]| packet(&[&[number], text].concat());
    let begin = packet(b"packfile\n");
    vec![
        ("nothing", Vec::new()),
        ("the end", b"0000".to_vec()),
        ("no such section", packet(b"evil\n")),
        ("a length that is none", b"zzzzpackfile\n".to_vec()),
        ("a length of one", b"0001".to_vec()),
        ("a line cut off", b"ffffpackfile".to_vec()),
        ("an error in colours", packet(b"ERR \x1b[31mgo away\x07\n")),
        (
            "an error on the third band",
            [begin.clone(), band(3, b"\x1b[2Jfatal: \x07\n"), b"0000".to_vec()].concat(),
        ),
        ("a tenth band", [begin.clone(), band(10, b"x"), b"0000".to_vec()].concat()),
        (
            "progress only",
            [begin.clone(), band(2, b"\x1b[2J100%\r").repeat(1_000), b"0000".to_vec()].concat(),
        ),
        ("no band", [begin.clone(), packet(b""), b"0000".to_vec()].concat()),
        ("acknowledged without end", packet(b"acknowledgments\n").repeat(1_000)),
        (
            "shallow nonsense",
            [packet(b"shallow-info\n"), packet(b"shallow zzz\n"), b"0001".to_vec(), begin].concat(),
        ),
    ]
}

/// Answers to `ls-refs`, given the line of the good head.
fn listings(main: &str) -> Vec<(&'static str, Vec<u8>)> {
    let lines = |lines: &[&str]| {
        let mut answer: Vec<u8> = lines.iter().flat_map(|line| packet(line.as_bytes())).collect();
        answer.extend_from_slice(b"0000");
        answer
    };
    let id = &main[..40];
    let million = |count: usize| {
        let mut answer =
            packet(format!("{id} refs/heads/a/very/long/name/of/a/branch\n").as_bytes()).repeat(count);
        answer.extend_from_slice(b"0000");
        answer
    };
    vec![
        ("a million refs", million(1_000_000)),
        ("a hundred thousand refs", million(100_000)),
        ("nothing", Vec::new()),
        ("no refs", b"0000".to_vec()),
        ("text", b"fatal: not a repository\n".to_vec()),
        ("an error in colours", packet(b"ERR \x1b[31mno\x07\n")),
        ("a ref with a newline", lines(&[&format!("{id} refs/heads/main\n{id} refs/heads/x\n")])),
        (
            "a ref with an escape",
            lines(&[&format!("{id} refs/heads/\x1b[2Jmain\n"), &format!("{id} refs/heads/ma\x7fin\n")]),
        ),
        ("a ref upwards", lines(&[&format!("{id} refs/heads/../../config\n"), &format!("{id} ../x\n")])),
        (
            "a ref to a path",
            lines(&[&format!("{id} /etc/passwd\n"), &format!("{id} refs/heads/main.lock\n")]),
        ),
        (
            "a symbolic ref to itself",
            lines(&[&format!("{id} refs/heads/main symref-target:refs/heads/main\n")]),
        ),
        ("a ref that is not born", lines(&["unborn refs/heads/main symref-target:refs/heads/x\n"])),
        ("another kind of id", lines(&[&format!("{} refs/heads/main\n", "1".repeat(64))])),
        ("half an id", lines(&[&format!("{} refs/heads/main\n", &id[..20])])),
        ("the null id", lines(&[&format!("{} refs/heads/main\n", "0".repeat(40))])),
        ("an id that nobody has", lines(&[&format!("{} refs/heads/main\n", "1".repeat(40))])),
        ("one ref twice", lines(&[main, &format!("{} refs/heads/main\n", "1".repeat(40))])),
        ("a peeled ref", lines(&[&format!("{id} refs/heads/main peeled:{}\n", "2".repeat(40))])),
        ("a name of sixty thousand", lines(&[&format!("{id} refs/heads/{}\n", "x".repeat(60_000))])),
        ("no text", [packet(b"\xff\xfe\xfd"), b"0000".to_vec()].concat()),
    ]
}

fn greetings() -> Vec<(&'static str, Vec<u8>)> {
    let service = b"001e# service=git-upload-pack\n0000".to_vec();
    let with = |lines: &[&[u8]]| {
        let mut greeting = service.clone();
        for line in lines {
            greeting.extend(packet(line));
        }
        greeting.extend_from_slice(b"0000");
        greeting
    };
    vec![
        ("nothing", Vec::new()),
        ("a page", b"<html>sign in</html>".to_vec()),
        ("the end", b"0000".to_vec()),
        ("another service", b"001f# service=git-receive-pack\n0000".to_vec()),
        ("version 9", with(&[b"version 9\n"])),
        ("no commands", with(&[b"version 2\n"])),
        (
            "another hash",
            with(&[b"version 2\n", b"ls-refs\n", b"fetch=shallow\n", b"object-format=sha256\n"]),
        ),
        ("an escape", with(&[b"version 2\n", b"agent=\x1b[2J\n", b"ls-refs=\x07\n"])),
        ("an error in colours", with(&[b"ERR \x1b[31mgo away\n"])),
        ("a version 0 of noise", with(&[b"\xff\xff\xff refs/heads/main\0\xff\xfe\n"])),
        (
            "a version 0 without abilities",
            with(&[b"1111111111111111111111111111111111111111 refs/heads/main\0\n"]),
        ),
        ("ten thousand abilities", with(&vec![b"x=y\n".as_slice(); 10_000])),
    ]
}

/// A server with a good repository, and what a source knows of it.
async fn all(name: &str, crafted: impl Fn(ObjectId) -> Vec<(String, Crafted)>) -> usize {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    let mut known = Known::new();
    let report = running.next().await;
    take(&mut known, &report, name);
    let first = report.commit.unwrap();
    let mut good = BTreeSet::from([first.clone()]);
    let mut count = 0;
    for (what, crafted) in crafted(first.as_str().parse().unwrap()) {
        let head = crafted.head.map(|id| id.to_string());
        forge.fail(Fault::Crafted(Arc::new(crafted)));
        running.hint.send(Trigger::Webhook);
        let report = running.next().await;
        take(&mut known, &report, &what);
        let commit = report.commit.clone().unwrap();
        assert!(good.contains(&commit) || report.up && Some(commit.to_string()) == head, "{what}: {commit}");
        assert!(!format!("{report:?}").contains(TOKEN), "{what}");
        assert!(report.stats.bytes <= (16 << 20) + (1 << 20), "{what}: {} bytes", report.stats.bytes);
        if std::env::var_os("IDP_TEST_SHOW").is_some() {
            println!("{what}: up {} {:.300?}", report.up, report.heads.problems);
        }
        count += 1;
        if count % 10 == 0 {
            forge.heal();
            let pushed = repo.publish(&[("x", &count.to_string())]);
            let report = running.look_at(&pushed).await;
            take(&mut known, &report, &what);
            assert!(report.up, "{what}: it heals");
            good.insert(report.commit.unwrap());
        }
    }
    count
}

fn main_line(id: ObjectId) -> Vec<u8> {
    [packet(format!("{id} refs/heads/main\n").as_bytes()), b"0000".to_vec()].concat()
}

#[tokio::test]
async fn packs_that_are_none_leave_what_is_good() {
    let count = all("packs", |good| {
        let head = head(good);
        let crafted = |pack: Vec<u8>| Crafted {
            refs: Some(main_line(head.id)),
            pack: Some(pack),
            head: Some(head.id),
            ..Crafted::default()
        };
        packs(&head).into_iter().map(|(what, pack)| (what, crafted(pack))).collect()
    });
    assert!(count.await >= 60);
}

#[tokio::test]
async fn answers_to_a_fetch_that_are_none_leave_what_is_good() {
    let count = all("fetches", |good| {
        let head = head(good);
        let crafted = |fetch: Vec<u8>| Crafted {
            refs: Some(main_line(head.id)),
            fetch: Some(fetch),
            ..Crafted::default()
        };
        fetches().into_iter().map(|(what, fetch)| (format!("a fetch: {what}"), crafted(fetch))).collect()
    });
    assert!(count.await >= 13);
}

#[tokio::test]
async fn lists_of_refs_that_are_none_leave_what_is_good() {
    let count = all("listings", |good| {
        let main = format!("{good} refs/heads/main\n");
        let crafted = |refs: Vec<u8>| Crafted { refs: Some(refs), ..Crafted::default() };
        listings(&main).into_iter().map(|(what, refs)| (format!("a list: {what}"), crafted(refs))).collect()
    });
    assert!(count.await >= 20);
}

#[tokio::test]
async fn greetings_that_are_none_leave_what_is_good() {
    let count = all("greetings", |_| {
        // The short question is answered so that it is asked in full.
        let crafted = |greeting: Vec<u8>| Crafted {
            greeting: Some(greeting),
            refs: Some(Vec::new()),
            ..Crafted::default()
        };
        greetings().into_iter().map(|(what, bytes)| (format!("a greeting: {what}"), crafted(bytes))).collect()
    });
    assert!(count.await >= 12);
}
