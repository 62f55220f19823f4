//! Commits: without a tree, with parents that are none, with dates that never were, and with more text than anybody reads.

use gix::ObjectId;
use gix::objs::Kind;

use super::maker::{Maker, PEOPLE, commit_bytes, nowhere};
use super::{Case, case, mutated};

fn changed(maker: &Maker) -> ObjectId {
    maker.root(&[(b"100644", b"z", maker.blob(b"z"))])
}

/// What follows tree and parents.
const TAILS: [(&str, &[u8]); 24] = [
    ("nobody", b"\nsubject\n"),
    ("no committer", b"author A <a@b> 1760000000 +0000\n\nsubject\n"),
    ("no author", b"committer A <a@b> 1760000000 +0000\n\nsubject\n"),
    ("the first second", b"author A <a@b> 0 +0000\ncommitter A <a@b> 0 +0000\n\ns\n"),
    (
        "before the first second",
        b"author A <a@b> -1 +0000\ncommitter A <a@b> -9223372036854775808 +0000\n\ns\n",
    ),
    (
        "after the last second",
        b"author A <a@b> 9223372036854775807 +0000\ncommitter A <a@b> 99999999999999999999999 +0000\n\ns\n",
    ),
    ("a date of letters", b"author A <a@b> soon +0000\ncommitter A <a@b> soon +0000\n\ns\n"),
    ("no date", b"author A <a@b>\ncommitter A <a@b>\n\ns\n"),
    ("no zone", b"author A <a@b> 1760000000\ncommitter A <a@b> 1760000000\n\ns\n"),
    ("a far zone", b"author A <a@b> 1760000000 +9999\ncommitter A <a@b> 1760000000 -9999\n\ns\n"),
    (
        "a zone that is none",
        b"author A <a@b> 1760000000 zz\ncommitter A <a@b> 1760000000 +999999999999\n\ns\n",
    ),
    ("no address", b"author A 1760000000 +0000\ncommitter A 1760000000 +0000\n\ns\n"),
    ("brackets", b"author <<<>>> <>>> 1 +0\ncommitter <<<>>> <>>> 1 +0\n\ns\n"),
    (
        "escapes",
        b"author \x1b[2J\x07 <a@b> 1 +0000\ncommitter \x1b[2J <a@b> 1 +0000\n\n\x1b]0;x\x07\x9b31m\n",
    ),
    (
        "directions",
        "author \u{202e}A\u{2066} <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n\u{202e}s\n".as_bytes(),
    ),
    ("no text", b"author \xff\xfe <\xff> 1 +0000\ncommitter \xff <a@b> 1 +0000\n\n\xff\xfe\xed\xa0\x80\n"),
    ("NULs", b"author A\0B <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\ns\0t\n"),
    ("an encoding", b"author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\nencoding UTF-7\n\n+AGE-\n"),
    (
        "an encoding that is none",
        b"author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\nencoding \x1b\xff\n\ns\n",
    ),
    ("no empty line", b"author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n"),
    ("an empty message", b"author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n"),
    ("blank lines only", b"author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n\n \n\t\r\n"),
    (
        "a header that goes on",
        b"author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\ngpgsig x\n y\n \n z\n\ns\n",
    ),
    ("a header of our own", b"author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\nx \n\ns\n"),
];

type Parents = (&'static str, fn(&Maker, ObjectId) -> Vec<ObjectId>);

const PARENTS: [Parents; 9] = [
    ("none", |_, _| Vec::new()),
    ("nowhere", |_, _| vec![nowhere(1)]),
    ("null", |_, _| vec![ObjectId::null(gix::hash::Kind::Sha1)]),
    ("a tree", |maker, _| vec![maker.root(&[])]),
    ("a file", |maker, _| vec![maker.blob(b"x")]),
    ("the same twice", |_, first| vec![first, first]),
    ("five thousand", |_, first| vec![first; 5_000]),
    ("one whose tree is nowhere", |maker, first| vec![maker.commit(nowhere(2), &[first])]),
    ("one that is no commit", |maker, _| vec![maker.object(Kind::Commit, b"nonsense")]),
];

/// Whole commits.
type Whole = (&'static str, fn(&Maker, ObjectId) -> ObjectId);

const WHOLE: [Whole; 20] = [
    ("empty", |maker, _| maker.object(Kind::Commit, b"")),
    ("a newline", |maker, _| maker.object(Kind::Commit, b"\n")),
    ("no tree", |maker, _| maker.object(Kind::Commit, PEOPLE)),
    ("a tree cut off", |maker, _| maker.object(Kind::Commit, b"tree 0123456789")),
    ("a tree of letters", |maker, _| {
        maker.object(Kind::Commit, &[b"tree ", &[b'x'; 40][..], b"\n", PEOPLE].concat())
    }),
    ("two trees", |maker, _| {
        let tree = changed(maker);
        let bytes = [format!("tree {tree}\ntree {tree}\n").as_bytes(), PEOPLE].concat();
        maker.object(Kind::Commit, &bytes)
    }),
    ("a tree that is a file", |maker, first| maker.commit(maker.blob(b"x"), &[first])),
    ("a tree that is a commit", |maker, first| maker.commit(first, &[first])),
    ("a tree that is nowhere", |maker, first| maker.commit(nowhere(1), &[first])),
    ("the empty tree", |maker, first| maker.commit(maker.tree(&[]), &[first])),
    ("a head that is a tree", |maker, _| changed(maker)),
    ("a head that is a file", |maker, _| maker.blob(b"x")),
    ("a head that is a tag of nothing", |maker, _| {
        let text = format!("object {}\ntype commit\ntag x\n\n", nowhere(1));
        maker.object(Kind::Tag, text.as_bytes())
    }),
    ("a head that is a tag of itself", |maker, _| {
        let id = nowhere(2);
        maker.object_at(id, Kind::Tag, format!("object {id}\ntype tag\ntag x\n\n").as_bytes());
        id
    }),
    ("its own parent", |maker, _| {
        let id = nowhere(3);
        maker.object_at(id, Kind::Commit, &commit_bytes(changed(maker), &[id], PEOPLE));
        id
    }),
    ("its own grandparent", |maker, _| {
        let (one, two) = (nowhere(4), nowhere(5));
        maker.object_at(one, Kind::Commit, &commit_bytes(changed(maker), &[two], PEOPLE));
        maker.object_at(two, Kind::Commit, &commit_bytes(maker.root(&[]), &[one], PEOPLE));
        one
    }),
    ("an author of two megabytes", |maker, first| {
        let author = [
            b"author ".as_slice(),
            &vec![b'A'; 2 << 20],
            b" <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\ns\n",
        ]
        .concat();
        maker.object(Kind::Commit, &commit_bytes(changed(maker), &[first], &author))
    }),
    ("an author of half a megabyte", |maker, first| {
        let author = [
            b"author ".as_slice(),
            &vec![b'A'; 1 << 19],
            b" <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\ns\n",
        ]
        .concat();
        maker.object(Kind::Commit, &commit_bytes(changed(maker), &[first], &author))
    }),
    ("a subject of a megabyte", |maker, first| {
        let text = [PEOPLE, &vec![b'\x1b'; 1_000_000]].concat();
        maker.object(Kind::Commit, &commit_bytes(changed(maker), &[first], &text))
    }),
    ("a message of eight megabytes", |maker, first| {
        let text = [PEOPLE, &vec![b'\n'; 8 << 20]].concat();
        maker.object(Kind::Commit, &commit_bytes(changed(maker), &[first], &text))
    }),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, tail) in TAILS {
        cases.push(case(format!("a commit: {what}"), move |maker, first| {
            maker.set_main(maker.object(Kind::Commit, &commit_bytes(changed(maker), &[first], tail)));
        }));
    }
    for (what, parents) in PARENTS {
        cases.push(case(format!("a commit's parents: {what}"), move |maker, first| {
            maker.set_main(maker.commit(changed(maker), &parents(maker, first)));
        }));
    }
    for (what, whole) in WHOLE {
        cases
            .push(case(format!("a commit: {what}"), move |maker, first| maker.set_main(whole(maker, first))));
    }
    for number in 0..40 {
        cases.push(case(format!("a commit changed by chance, {number}"), move |maker, first| {
            let good = commit_bytes(changed(maker), &[first], PEOPLE);
            maker.set_main(maker.object(Kind::Commit, &mutated(&good, 1_000 + number)));
        }));
    }
    cases
}
