//! Files of a repository: objects that are not what they say, refs that go in circles, a configuration that wants to be obeyed.

use gix::ObjectId;

use super::maker::{DECLARATION, Maker, deflated, nowhere};
use super::{Case, case, mutated};

/// What is told of an object that claims more than it has: read as far as it claims.
fn claim(header: &str, content: &[u8]) -> Vec<u8> {
    deflated(&[header.as_bytes(), b"\0", content].concat())
}

type Loose = (&'static str, fn(&str) -> Vec<u8>);

/// A loose object's file, by the kind that it should be.
const LOOSE: [Loose; 13] = [
    ("ten gigabytes, it says", |kind| claim(&format!("{kind} 10737418240"), b"x")),
    ("all there is, it says", |kind| claim(&format!("{kind} 18446744073709551615"), b"x")),
    ("more than all there is, it says", |kind| claim(&format!("{kind} 99999999999999999999999"), b"x")),
    ("less than nothing, it says", |kind| claim(&format!("{kind} -1"), b"x")),
    ("a little more than there is", |kind| claim(&format!("{kind} 100"), b"x")),
    ("many megabytes in a fraction of one, ten bytes it says", |kind| {
        claim(&format!("{kind} 10"), &vec![0; 16 << 20])
    }),
    ("another kind", |_| claim("thing 1", b"x")),
    ("no kind", |_| claim("", b"x")),
    ("no header at all", |_| deflated(&[b'x'; 5_000])),
    ("nothing", |_| Vec::new()),
    ("not deflated", |kind| format!("{kind} 1\0x").into_bytes()),
    ("cut off", |kind| {
        let whole = claim(&format!("{kind} 5000"), &[b'x'; 5_000]);
        whole[..whole.len() / 2].to_vec()
    }),
    ("something behind it", |kind| [claim(&format!("{kind} 1"), b"x"), vec![b'y'; 1_000]].concat()),
];

/// Which object it is.
const VICTIMS: [&str; 5] =
    ["the commit", "the root", "the declaration", "a watched folder", "a watched file"];

fn victim(maker: &Maker, first: ObjectId, which: usize, make: fn(&str) -> Vec<u8>) -> ObjectId {
    let id = nowhere(50);
    let kind = ["commit", "tree", "blob", "tree", "blob"][which];
    maker.loose(id, &make(kind));
    let root = match which {
        0 => return id,
        1 => id,
        2 => maker.root(&[(b"40000", b".idp", maker.tree(&[(b"100644", b"deploy.yaml", id)]))]),
        3 => maker.root(&[(b"40000", b"src", id)]),
        _ => maker.root(&[(b"40000", b"src", maker.tree(&[(b"100644", b"x", id)]))]),
    };
    maker.commit(root, &[first])
}

type Change = (&'static str, fn(&Maker, ObjectId));

const CHANGES: [Change; 32] = [
    ("a ref to itself", |maker, _| maker.file("refs/heads/main", b"ref: refs/heads/main\n")),
    ("a ref to one that comes back", |maker, _| {
        maker.file("refs/heads/main", b"ref: refs/heads/other\n");
        maker.file("refs/heads/other", b"ref: refs/heads/main\n");
    }),
    ("a chain of a thousand refs", |maker, first| {
        maker.file("refs/heads/main", b"ref: refs/heads/r0\n");
        for number in 0..1_000 {
            maker.file(
                &format!("refs/heads/r{number}"),
                format!("ref: refs/heads/r{}\n", number + 1).as_bytes(),
            );
        }
        maker.file("refs/heads/r1000", format!("{first}\n").as_bytes());
    }),
    ("a ref out of the repository", |maker, _| {
        maker.file("refs/heads/main", b"ref: ../../../../etc/passwd\n");
    }),
    ("a ref to a path", |maker, _| maker.file("refs/heads/main", b"ref: /etc/passwd\n")),
    ("a ref to nobody", |maker, _| maker.file("refs/heads/main", b"ref: refs/heads/nobody\n")),
    ("an empty ref", |maker, _| maker.file("refs/heads/main", b"")),
    ("a ref of spaces", |maker, _| maker.file("refs/heads/main", b"   \n\n")),
    ("a ref one digit short", |maker, _| maker.file("refs/heads/main", &[b'1'; 39])),
    ("a ref of another kind of id", |maker, _| maker.file("refs/heads/main", &[b'1'; 64])),
    ("a ref to nothing", |maker, _| maker.file("refs/heads/main", &[b'0'; 40])),
    ("a ref to what is not here", |maker, _| maker.file("refs/heads/main", &[b'1'; 40])),
    ("a ref with more behind it", |maker, first| {
        maker.file("refs/heads/main", format!("{first}\n{first} refs/heads/evil\n\x1b[2J").as_bytes());
    }),
    ("a ref in large letters", |maker, first| {
        maker.file("refs/heads/main", first.to_string().to_uppercase().as_bytes());
    }),
    ("a binary ref", |maker, _| maker.file("refs/heads/main", &[0xff; 41])),
    ("a ref of ten megabytes", |maker, _| maker.file("refs/heads/main", &vec![b'1'; 10 << 20])),
    ("a ref that is a folder", |maker, first| {
        std::fs::remove_file(maker.path().join("refs/heads/main")).unwrap();
        maker.file("refs/heads/main/x", format!("{first}\n").as_bytes());
    }),
    ("a ref that is a link", |maker, _| {
        let path = maker.path().join("refs/heads/main");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
    }),
    ("a ref that is a link to itself", |maker, _| {
        let path = maker.path().join("refs/heads/main");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("main", path).unwrap();
    }),
    ("packed refs of noise", |maker, _| {
        std::fs::remove_file(maker.path().join("refs/heads/main")).unwrap();
        maker.file("packed-refs", &[0xfe; 5_000]);
    }),
    ("packed refs with one that is none", |maker, first| {
        std::fs::remove_file(maker.path().join("refs/heads/main")).unwrap();
        let text = format!("# pack-refs with: sorted\n{first} refs/heads/../../x\n{first} refs/heads/main\n");
        maker.file("packed-refs", text.as_bytes());
    }),
    ("packed refs that peel what is not there", |maker, first| {
        std::fs::remove_file(maker.path().join("refs/heads/main")).unwrap();
        maker.file(
            "packed-refs",
            format!("^{first}\n^{first}\n{first} refs/heads/main\n^{first}\n").as_bytes(),
        );
    }),
    ("a hundred thousand packed refs", |maker, first| {
        std::fs::remove_file(maker.path().join("refs/heads/main")).unwrap();
        let lines = (0..100_000).map(|number| format!("{first} refs/heads/a{number:06}\n"));
        let text = lines.chain([format!("{first} refs/heads/main\n")]).collect::<String>();
        maker.file("packed-refs", text.as_bytes());
    }),
    ("a head that is noise", |maker, _| maker.file("HEAD", &[0xff; 1_000])),
    ("no head", |maker, _| std::fs::remove_file(maker.path().join("HEAD")).unwrap()),
    ("a configuration of noise", |maker, _| maker.file("config", &[0xff; 1_000])),
    ("a configuration of another time", |maker, _| {
        maker.file(
            "config",
            b"[core]\n\trepositoryformatversion = 99\n[extensions]\n\tevil = true\n\tobjectFormat = sha256\n",
        );
    }),
    ("a configuration that includes itself", |maker, _| {
        maker.file("config", b"[core]\n\trepositoryformatversion = 0\n\tbare = true\n[include]\n\tpath = config\n\tpath = /etc/passwd\n");
    }),
    ("a configuration that wants programs run", |maker, _| {
        let text = "[core]\n\tbare = true\n\tfsmonitor = touch /tmp/evil\n\thooksPath = /tmp\n\tsshCommand = evil\n[uploadpack]\n\tpackObjectsHook = evil\n[filter \"x\"]\n\tsmudge = evil\n";
        maker.file("config", text.as_bytes());
    }),
    ("objects that are elsewhere, in a circle", |maker, _| {
        let own = maker.path().join("objects");
        maker.file(
            "objects/info/alternates",
            format!("{}\n../objects\n/etc\n\x1b[2J\n", own.display()).as_bytes(),
        );
    }),
    ("a shallow file of noise", |maker, _| maker.file("shallow", &[0xff; 1_000])),
    ("packs that are none", |maker, _| {
        for (name, content) in
            [("a", &b"PACK\0\0\0\x02\xff\xff\xff\xff"[..]), ("b", &[0xff; 2_000]), ("c", b"")]
        {
            let name = name.repeat(40);
            maker.file(&format!("objects/pack/pack-{name}.pack"), content);
            maker.file(&format!("objects/pack/pack-{name}.idx"), content);
        }
    }),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, make) in LOOSE {
        for (which, victim_name) in VICTIMS.into_iter().enumerate() {
            cases.push(case(format!("{victim_name}: {what}"), move |maker, first| {
                maker.set_main(victim(maker, first, which, make));
            }));
        }
    }
    for (what, change) in CHANGES {
        cases.push(case(what, change));
    }
    for number in 0..20 {
        cases.push(case(format!("a file of an object changed by chance, {number}"), move |maker, first| {
            let good = claim(&format!("blob {}", DECLARATION.len()), DECLARATION);
            maker.loose(nowhere(51), &mutated(&good, 2_000 + number));
            let idp = maker.tree(&[(b"100644", b"deploy.yaml", nowhere(51))]);
            maker.set_main(maker.commit(maker.root(&[(b"40000", b".idp", idp)]), &[first]));
        }));
    }
    cases
}
