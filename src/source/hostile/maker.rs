//! Writes repositories byte by byte, as no Git would: objects that are none, under ids that are not theirs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use gix::ObjectId;
use gix::objs::Kind;

pub(super) const DECLARATION: &[u8] = b"service: a\n";

/// A bare repository on disk.
pub(super) struct Maker {
    path: PathBuf,
}

/// A tree's entry: mode, name, id, as bytes.
pub(super) type Entry<'a> = (&'a [u8], &'a [u8], ObjectId);

pub(super) fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An id that no object here has.
pub(super) fn nowhere(number: u64) -> ObjectId {
    let mut id = [0xab_u8; 20];
    id[12..].copy_from_slice(&number.to_be_bytes());
    ObjectId::Sha1(id)
}

pub(super) fn id_of(kind: Kind, bytes: &[u8]) -> ObjectId {
    gix::objs::compute_hash(gix::hash::Kind::Sha1, kind, bytes).unwrap()
}

pub(super) fn tree_bytes(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (mode, name, id) in entries {
        bytes.extend_from_slice(mode);
        bytes.push(b' ');
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(id.as_slice());
    }
    bytes
}

pub(super) fn commit_bytes(tree: ObjectId, parents: &[ObjectId], rest: &[u8]) -> Vec<u8> {
    let mut bytes = format!("tree {tree}\n").into_bytes();
    for parent in parents {
        bytes.extend_from_slice(format!("parent {parent}\n").as_bytes());
    }
    bytes.extend_from_slice(rest);
    bytes
}

pub(super) const PEOPLE: &[u8] =
    b"author A <a@example.com> 1760000000 +0000\ncommitter A <a@example.com> 1760000000 +0000\n\nsubject\n";

impl Maker {
    pub(super) fn new(path: &Path) -> Self {
        for folder in ["objects/pack", "objects/info", "refs/heads"] {
            std::fs::create_dir_all(path.join(folder)).unwrap();
        }
        let maker = Self { path: path.to_owned() };
        maker.file("HEAD", b"ref: refs/heads/main\n");
        maker.file("config", b"[core]\n\trepositoryformatversion = 0\n\tbare = true\n");
        maker
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str, content: &[u8]) {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Writes an object under its id.
    pub(super) fn object(&self, kind: Kind, bytes: &[u8]) -> ObjectId {
        let id = id_of(kind, bytes);
        self.object_at(id, kind, bytes);
        id
    }

    /// Writes an object under any id.
    pub(super) fn object_at(&self, id: ObjectId, kind: Kind, bytes: &[u8]) {
        let mut whole = format!("{kind} {}\0", bytes.len()).into_bytes();
        whole.extend_from_slice(bytes);
        self.loose(id, &deflated(&whole));
    }

    /// Writes what stands for an object, deflated or not.
    pub(super) fn loose(&self, id: ObjectId, bytes: &[u8]) {
        let hex = id.to_string();
        self.file(&format!("objects/{}/{}", &hex[..2], &hex[2..]), bytes);
    }

    pub(super) fn blob(&self, bytes: &[u8]) -> ObjectId {
        self.object(Kind::Blob, bytes)
    }

    pub(super) fn tree(&self, entries: &[Entry<'_>]) -> ObjectId {
        self.object(Kind::Tree, &tree_bytes(entries))
    }

    pub(super) fn commit(&self, tree: ObjectId, parents: &[ObjectId]) -> ObjectId {
        self.object(Kind::Commit, &commit_bytes(tree, parents, PEOPLE))
    }

    pub(super) fn set_main(&self, id: ObjectId) {
        self.file("refs/heads/main", format!("{id}\n").as_bytes());
    }

    /// A folder with a declaration.
    pub(super) fn declared(&self, declaration: &[u8]) -> ObjectId {
        let file = self.blob(declaration);
        self.tree(&[(b"100644", b"deploy.yaml", file)])
    }

    /// A root as it should be, with one entry more or another one in the place of one.
    pub(super) fn root(&self, more: &[Entry<'_>]) -> ObjectId {
        let idp = self.declared(DECLARATION);
        let file = self.blob(b"1");
        let src = self.tree(&[(b"100644", b"x", file)]);
        let mut entries: Vec<Entry<'_>> = vec![(b"40000", b".idp", idp), (b"40000", b"src", src)];
        entries.retain(|(_, name, _)| !more.iter().any(|(_, other, _)| other == name));
        entries.extend_from_slice(more);
        self.tree(&entries)
    }
}
