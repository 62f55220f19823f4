//! Files that are read anew each time: keys and certificates.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::path::Path;

use super::error::AuthError;

/// Largest file of keys or certificates that is read, in bytes. The system's own bundle has a fifth of it.
const LIMIT: u64 = 1 << 20;

/// Reads a file of text, of at most 1 MiB.
pub(in crate::source) fn text(path: &Path) -> Result<String, AuthError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_string(&mut text));
    let checked = read.and_then(|_| match text.len() as u64 {
        0 => Err(Error::new(ErrorKind::UnexpectedEof, "it is empty")),
        length if length > LIMIT => Err(Error::new(ErrorKind::FileTooLarge, "it has more than 1 MiB")),
        _ => Ok(()),
    });
    checked.map(|()| text).map_err(|cause| AuthError::Unreadable { file: path.to_owned(), cause })
}
