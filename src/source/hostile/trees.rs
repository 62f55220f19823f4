//! Trees: what stands where a declaration or a watched file is read, names that are none, bytes that are no tree, and bombs.

use gix::ObjectId;
use gix::objs::Kind;

use super::maker::{DECLARATION, Entry, Maker, nowhere, tree_bytes};
use super::{Case, case, mutated};

/// Where something strange is put.
#[derive(Debug, Clone, Copy)]
enum Place {
    Idp,
    Declaration,
    Service,
    ServiceIdp,
    ServiceDeclaration,
    Watched,
    Below,
}

const PLACES: [Place; 7] = [
    Place::Idp,
    Place::Declaration,
    Place::Service,
    Place::ServiceIdp,
    Place::ServiceDeclaration,
    Place::Watched,
    Place::Below,
];

impl Place {
    /// Makes a root that has an entry of this mode and id here.
    fn root(self, maker: &Maker, mode: &[u8], id: ObjectId) -> ObjectId {
        let folder = |name: &[u8], mode: &[u8], id| maker.tree(&[(mode, name, id)]);
        let service = |inner| {
            let services = folder(b"web", b"40000", inner);
            maker.root(&[(b"40000", b"services", services)])
        };
        match self {
            Self::Idp => maker.root(&[(mode, b".idp", id)]),
            Self::Declaration => maker.root(&[(b"40000", b".idp", folder(b"deploy.yaml", mode, id))]),
            Self::Service => maker.root(&[(b"40000", b"services", folder(b"web", mode, id))]),
            Self::ServiceIdp => service(folder(b".idp", mode, id)),
            Self::ServiceDeclaration => service(folder(b".idp", b"40000", folder(b"deploy.yaml", mode, id))),
            Self::Watched => maker.root(&[(mode, b"src", id)]),
            Self::Below => maker.root(&[(b"40000", b"src", folder(b"x", mode, id))]),
        }
    }
}

type Target = (&'static str, &'static [u8], fn(&Maker) -> ObjectId);

/// Modes with what they name.
const TARGETS: [Target; 13] = [
    ("a symbolic link", b"120000", |maker| maker.blob(b"/etc/passwd")),
    ("a symbolic link upwards", b"120000", |maker| maker.blob(b"../../../../x")),
    ("a submodule", b"160000", |_| nowhere(1)),
    ("a submodule that is here", b"160000", |maker| maker.commit(maker.root(&[]), &[])),
    ("a folder that is a file", b"40000", |maker| maker.blob(b"x")),
    ("a file that is a folder", b"100644", |maker| maker.root(&[])),
    ("a file that is a commit", b"100644", |maker| maker.commit(maker.root(&[]), &[])),
    ("a file that is nowhere", b"100644", |_| nowhere(2)),
    ("a folder that is nowhere", b"40000", |_| nowhere(3)),
    ("no mode", b"0", |maker| maker.blob(b"x")),
    ("a large mode", b"777777777777", |maker| maker.blob(b"x")),
    ("the null id", b"100644", |_| ObjectId::null(gix::hash::Kind::Sha1)),
    ("a program", b"100755", |maker| maker.blob(b"x")),
];

const NAMES: [&[u8]; 22] = [
    b"",
    b".",
    b"..",
    b".git",
    b".GIT",
    b"git~1",
    b".git ",
    b"a/b",
    b"/etc/passwd",
    b"../../x",
    b"..\\x",
    b"\n",
    b"x\ny: z",
    b"\x1b[2J\x1b]0;title\x07",
    "\u{202e}evil\u{2066}".as_bytes(),
    "\u{200b}\u{feff}".as_bytes(),
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"a\r",
    b"\x7f\x9b",
    b"%s%n{}",
    b"*",
];

fn named(maker: &Maker, place: usize, name: &[u8]) -> ObjectId {
    let file = maker.blob(b"x");
    match place {
        0 => maker.root(&[(b"100644", name, file)]),
        1 => {
            let inner = maker.tree(&[(b"40000", b".idp", maker.declared(b"service: b\n"))]);
            maker.root(&[(b"40000", b"services", maker.tree(&[(b"40000", name, inner)]))])
        }
        // One that is refused, so that its path is told.
        2 => {
            let inner = maker.tree(&[(b"40000", b".idp", maker.declared(b"nonsense: \x1b[31m\n"))]);
            maker.root(&[(b"40000", b"services", maker.tree(&[(b"40000", name, inner)]))])
        }
        _ => maker.root(&[(b"40000", b"src", maker.tree(&[(b"40000", name, maker.root(&[]))]))]),
    }
}

/// A folder so many times in a folder.
fn deep(maker: &Maker, levels: usize, name: &[u8], mut inner: ObjectId) -> ObjectId {
    for _ in 0..levels {
        inner = maker.tree(&[(b"40000", name, inner)]);
    }
    inner
}

/// A folder with so many times the same one, again and again: 1,000 entries a level.
fn bomb(maker: &Maker, levels: usize) -> ObjectId {
    let mut inner = maker.tree(&[(b"100644", b"x", maker.blob(b"x"))]);
    for _ in 0..levels {
        let names: Vec<String> = (0..1_000).map(|number| format!("{number:04}")).collect();
        let entries: Vec<Entry<'_>> =
            names.iter().map(|name| (b"40000".as_slice(), name.as_bytes(), inner)).collect();
        inner = maker.tree(&entries);
    }
    inner
}

fn raw(maker: &Maker, bytes: &[u8]) -> ObjectId {
    maker.object(Kind::Tree, bytes)
}

type Shape = (&'static str, fn(&Maker) -> ObjectId);

const SHAPES: [Shape; 19] = [
    ("empty", |maker| raw(maker, b"")),
    ("one byte", |maker| raw(maker, b"4")),
    ("no NUL", |maker| raw(maker, b"100644 deploy.yaml")),
    ("no space", |maker| raw(maker, b"100644deploy.yaml\0aaaaaaaaaaaaaaaaaaaa")),
    ("an id cut off", |maker| raw(maker, b"100644 deploy.yaml\0aaaaaaa")),
    ("no mode at all", |maker| raw(maker, b" deploy.yaml\0aaaaaaaaaaaaaaaaaaaa")),
    ("a negative mode", |maker| raw(maker, b"-100644 deploy.yaml\0aaaaaaaaaaaaaaaaaaaa")),
    ("a mode of letters", |maker| raw(maker, b"xxxxxx deploy.yaml\0aaaaaaaaaaaaaaaaaaaa")),
    ("a mode of a megabyte", |maker| {
        raw(maker, &[vec![b'1'; 1 << 20], b" x\0aaaaaaaaaaaaaaaaaaaa".to_vec()].concat())
    }),
    ("text", |maker| raw(maker, b"this is no tree\n")),
    ("zeros", |maker| raw(maker, &[0; 4096])),
    ("two files of one name", |maker| {
        let (one, two) = (maker.blob(DECLARATION), maker.blob(b"service: b\n"));
        maker.tree(&[(b"100644", b"deploy.yaml", one), (b"100644", b"deploy.yaml", two)])
    }),
    ("a file and a folder of one name", |maker| {
        let (file, folder) = (maker.blob(DECLARATION), maker.root(&[]));
        maker.tree(&[(b"100644", b"deploy.yaml", file), (b"40000", b"deploy.yaml", folder)])
    }),
    ("wrongly sorted", |maker| {
        let file = maker.blob(DECLARATION);
        maker.tree(&[(b"100644", b"z", file), (b"100644", b"deploy.yaml", file), (b"100644", b"a", file)])
    }),
    ("65 deep", |maker| deep(maker, 65, b"d", maker.root(&[]))),
    ("2,000 deep", |maker| deep(maker, 2_000, b"d", maker.root(&[]))),
    ("64 deep with long names", |maker| deep(maker, 64, &[b'n'; 100_000], maker.root(&[]))),
    ("64 deep with declarations' names", |maker| deep(maker, 64, b".idp", maker.root(&[]))),
    ("nine megabytes", |maker| raw(maker, &vec![b'x'; 9 << 20])),
];

/// What costs as much as a look may: each at one place.
const BOMBS: [Shape; 4] = [
    ("itself", |maker| {
        let id = nowhere(9);
        maker.object_at(id, Kind::Tree, &tree_bytes(&[(b"40000", b"x", id), (b"40000", b"y", id)]));
        id
    }),
    ("two hundred thousand entries", |maker| {
        let file = maker.blob(b"x");
        let names: Vec<String> = (0..200_000).map(|number| format!("{number:06}")).collect();
        let entries: Vec<Entry<'_>> =
            names.iter().map(|n| (b"100644".as_slice(), n.as_bytes(), file)).collect();
        maker.tree(&entries)
    }),
    ("a bomb", |maker| bomb(maker, 4)),
    ("a bomb without one usable name", |maker| {
        let file = maker.blob(b"x");
        let junk: Vec<Entry<'_>> = vec![(b"100644".as_slice(), b"\xff".as_slice(), file); 100_000];
        let junk = maker.tree(&junk);
        let names: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        let entries: Vec<Entry<'_>> =
            names.iter().map(|n| (b"40000".as_slice(), n.as_bytes(), junk)).collect();
        maker.tree(&entries)
    }),
];

/// Places where a strange tree stands: the root itself too.
const TREE_PLACES: [Option<Place>; 4] = [None, Some(Place::Idp), Some(Place::Service), Some(Place::Watched)];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let head = |maker: &Maker, root, first| maker.set_main(maker.commit(root, &[first]));
    for place in PLACES {
        for (what, mode, target) in TARGETS {
            let name = format!("{what} at {place:?}");
            cases.push(case(name, move |maker, first| {
                head(maker, place.root(maker, mode, target(maker)), first);
            }));
        }
    }
    for bytes in NAMES {
        for place in 0..4 {
            let name = format!("the name {:?} in place {place}", bytes.escape_ascii().to_string());
            cases.push(case(name, move |maker, first| head(maker, named(maker, place, bytes), first)));
        }
    }
    for (what, shape) in SHAPES {
        for place in TREE_PLACES {
            let name = format!("a tree: {what}, at {place:?}");
            cases.push(case(name, move |maker, first| {
                let tree = shape(maker);
                let root = place.map_or(tree, |place| place.root(maker, b"40000", tree));
                head(maker, root, first);
            }));
        }
    }
    for (what, shape) in BOMBS {
        let root = move |maker: &Maker| Place::Watched.root(maker, b"40000", shape(maker));
        cases.push(case(format!("a tree: {what}"), move |maker, first| head(maker, root(maker), first)));
    }
    for number in 0..40 {
        cases.push(case(format!("a tree changed by chance, {number}"), move |maker, first| {
            let idp = maker.declared(DECLARATION);
            let good = tree_bytes(&[(b"40000", b".idp", idp), (b"100644", b"x", maker.blob(b"3"))]);
            head(maker, raw(maker, &mutated(&good, number)), first);
        }));
    }
    cases
}
