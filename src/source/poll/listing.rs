//! The command `ls-refs` of Git's protocol v2, as gitprotocol-v2(5) and gitprotocol-common(5) describe it: what is asked for what is
//! followed, and the refs of an answer. Whatever is not exactly what the documents allow is an error: gix then asks instead.

use std::collections::BTreeSet;

use gix::ObjectId;

use crate::config::Follow;
use crate::source::refs;

/// Longest packet line, with the four digits of its length.
const LINE_LIMIT: usize = 65_520;

/// How much an answer may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes.
    pub(super) bytes: u64,
    /// Refs: a prefix also fits longer names.
    pub(super) refs: usize,
}

impl Limits {
    /// Where only branches are followed.
    const BRANCHES: Self = Self { bytes: 64 << 10, refs: 1_000 };
    /// Where tags are: their range is ours to judge, so that the server lists them all.
    const TAGS: Self = Self { bytes: 4 << 20, refs: 20_000 };

    /// Returns those for what is followed.
    pub(super) fn of(follows: &[Follow]) -> Self {
        if refs::any_tags(follows) { Self::TAGS } else { Self::BRANCHES }
    }
}

/// Why an answer is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Surprise {
    /// It ends too soon.
    #[error("the list of refs is cut off")]
    Cut,
    /// A length that is none, or one that an answer may not have.
    #[error("the list of refs has a packet line of no valid length")]
    Length,
    /// Something stands after the end.
    #[error("something stands after the list of refs")]
    Trailing,
    /// A line that names no ref.
    #[error("the list of refs has a line that is no ref")]
    Line,
    /// Another kind of id than ours.
    #[error("the list of refs has ids that are not SHA-1")]
    Id,
    /// The server says that it will not.
    #[error("the server refuses to list refs")]
    Refused,
    /// A ref stands there twice.
    #[error("the list of refs names a ref twice")]
    Twice,
    /// Too many refs.
    #[error("the list of refs has more than {0} lines")]
    TooMany(usize),
}

/// Returns the request for what is followed; `None` if a name does not fit into a line.
pub(super) fn request(follows: &[Follow]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    line(&mut body, "command=ls-refs\n")?;
    body.extend_from_slice(b"0001");
    if refs::any_tags(follows) {
        line(&mut body, "peel\n")?;
    }
    for prefix in follows.iter().filter_map(refs::prefix) {
        line(&mut body, &format!("ref-prefix {prefix}\n"))?;
    }
    body.extend_from_slice(b"0000");
    Some(body)
}

fn line(body: &mut Vec<u8>, text: &str) -> Option<()> {
    let length = text.len() + 4;
    if length > LINE_LIMIT {
        return None;
    }
    body.extend_from_slice(format!("{length:04x}{text}").as_bytes());
    Some(())
}

/// Returns the answer that lists these refs.
pub(super) fn answer<'a>(refs: impl IntoIterator<Item = (&'a str, ObjectId)>) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, id) in refs {
        // A name that came in a line fits into one.
        line(&mut body, &format!("{id} {name}\n"));
    }
    body.extend_from_slice(b"0000");
    body
}

/// Returns the refs of an answer, each with the commit that it names as far as the server says so.
pub(super) fn refs(answer: &[u8], limit: usize) -> Result<Vec<(&[u8], ObjectId)>, Surprise> {
    let (mut refs, mut names) = (Vec::new(), BTreeSet::new());
    let mut rest = answer;
    for _ in 0..=limit {
        let Some(line) = next(&mut rest)? else {
            return if rest.is_empty() { Ok(refs) } else { Err(Surprise::Trailing) };
        };
        let (id, name) = reference(line)?;
        if !names.insert(name) {
            return Err(Surprise::Twice);
        }
        refs.push((name, id));
    }
    Err(Surprise::TooMany(limit))
}

/// Takes the next packet line; `None` is the flush packet.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Surprise> {
    let (digits, after) = rest.split_first_chunk::<4>().ok_or(Surprise::Cut)?;
    let mut length = 0_usize;
    for digit in digits {
        let digit = char::from(*digit).to_digit(16).ok_or(Surprise::Length)?;
        length = length << 4 | digit as usize;
    }
    if length == 0 {
        *rest = after;
        return Ok(None);
    }
    // 1 to 3 are other special packets, which this answer has none of; 4 is an empty line, which nobody may send.
    if !(5..=LINE_LIMIT).contains(&length) {
        return Err(Surprise::Length);
    }
    let (line, after) = after.split_at_checked(length - 4).ok_or(Surprise::Cut)?;
    *rest = after;
    Ok(Some(line.strip_suffix(b"\n").unwrap_or(line)))
}

/// Splits `<id> SP <name>`, with attributes after another space, of which what a tag's object names counts.
fn reference(line: &[u8]) -> Result<(ObjectId, &[u8]), Surprise> {
    if line.starts_with(b"ERR ") {
        return Err(Surprise::Refused);
    }
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(id), Some(name)) = (parts.next(), parts.next()) else { return Err(Surprise::Line) };
    // What may stand in a ref's name, gitprotocol-common(5) says: no control characters, least of all a second line.
    if name.is_empty() || name.iter().any(u8::is_ascii_control) {
        return Err(Surprise::Line);
    }
    let id = object(id)?;
    let peeled = parts.find_map(|part| part.strip_prefix(b"peeled:")).map(object).transpose()?;
    Ok((peeled.unwrap_or(id), name))
}

fn object(id: &[u8]) -> Result<ObjectId, Surprise> {
    if id.len() != 40 {
        return Err(if id.iter().all(u8::is_ascii_hexdigit) { Surprise::Id } else { Surprise::Line });
    }
    match ObjectId::from_hex(id) {
        Ok(id) if !id.is_null() => Ok(id),
        _ => Err(Surprise::Id),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn packets(lines: &[&str]) -> Vec<u8> {
        let mut answer = Vec::new();
        for text in lines {
            line(&mut answer, text).unwrap();
        }
        answer.extend_from_slice(b"0000");
        answer
    }

    const REFS_LIMIT: usize = Limits::BRANCHES.refs;

    fn names(names: &[&str]) -> Vec<Follow> {
        names.iter().map(|name| Follow::Branch((*name).to_owned())).collect()
    }

    fn read(answer: &[u8]) -> Result<Vec<(String, String)>, Surprise> {
        let tips = refs::tips(&names(&["main", "release"]), refs(answer, REFS_LIMIT)?).unwrap();
        let shown = |tip: Option<refs::Tip>| tip.map_or_else(|| "none".to_owned(), |tip| tip.id.to_string());
        Ok(tips.into_iter().map(|(name, tip)| (name, shown(tip))).collect())
    }

    #[test]
    fn the_request_is_the_one_of_the_protocol() {
        let body = request(&names(&["main", "release/1"])).unwrap();
        let expected = "0014command=ls-refs\n0001001fref-prefix refs/heads/main\n0024ref-prefix refs/heads/release/1\n0000";
        assert_eq!(String::from_utf8(body).unwrap(), expected);
        assert_eq!(request(&names(&[&"x".repeat(LINE_LIMIT)])), None);
    }

    #[test]
    fn exactly_the_tracked_branches_are_taken_from_an_answer() {
        let pair = |name: &str, id: &str| (name.to_owned(), id.to_owned());
        let answer = b"003d1111111111111111111111111111111111111111 refs/heads/main\n0000";
        assert_eq!(read(answer), Ok(vec![pair("main", ONE), pair("release", "none")]));
        assert_eq!(read(b"0000"), Ok(vec![pair("main", "none"), pair("release", "none")]));
        for lines in [
            [format!("{ONE} refs/heads/main"), format!("{TWO} refs/heads/main-2\n")],
            [format!("{TWO} refs/heads/MAIN\n"), format!("{ONE} refs/heads/main symref-target:refs/heads/x")],
            [format!("{TWO} HEAD symref-target:refs/heads/main\n"), format!("{ONE} refs/heads/main\n")],
            [format!("{TWO} refs/tags/main peeled:{ONE}\n"), format!("{ONE} refs/heads/main a b c\n")],
        ] {
            let answer = packets(&[&lines[0], &lines[1]]);
            assert_eq!(read(&answer), Ok(vec![pair("main", ONE), pair("release", "none")]), "{lines:?}");
        }
    }

    #[test]
    fn whatever_else_comes_is_a_surprise() {
        let main = format!("{ONE} refs/heads/main\n");
        let good = packets(&[&main]);
        for cut in 0..good.len() {
            assert_eq!(read(&good[..cut]), Err(Surprise::Cut), "{cut} bytes");
        }
        let sha256 = format!("{} refs/heads/main\n", "1".repeat(64));
        let long = vec![main.as_str(); REFS_LIMIT + 1];
        let many: Vec<String> = (0..=REFS_LIMIT).map(|n| format!("{ONE} refs/heads/other-{n}\n")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (answer, expected) in [
            (packets(&[&sha256]), Surprise::Id),
            (packets(&[&main.replace('1', "0")]), Surprise::Id),
            (packets(&[&main.replace('1', "g")]), Surprise::Id),
            (packets(&[&main[..30]]), Surprise::Line),
            (packets(&["unborn refs/heads/main\n"]), Surprise::Line),
            (packets(&[&format!("{ONE} \n")]), Surprise::Line),
            (packets(&[&format!("{ONE} refs/heads/main\nx\n")]), Surprise::Line),
            (packets(&[&format!("{ONE} refs/heads/main\0ls-refs\n")]), Surprise::Line),
            (packets(&["\n"]), Surprise::Line),
            (packets(&["# service=git-upload-pack\n"]), Surprise::Line),
            (packets(&["version 2\n"]), Surprise::Line),
            (packets(&["ERR upload-pack: not our ref\n"]), Surprise::Refused),
            (packets(&[&main, &main]), Surprise::Twice),
            (packets(&long), Surprise::Twice),
            (packets(&many), Surprise::TooMany(REFS_LIMIT)),
            (packets(&[&format!("{ONE} refs/tags/v1 peeled:{}\n", "g".repeat(40))]), Surprise::Id),
            ([&good[..], b"0000"].concat(), Surprise::Trailing),
            ([&good[..], b"\n"].concat(), Surprise::Trailing),
            (b"0001".to_vec(), Surprise::Length),
            (b"0002".to_vec(), Surprise::Length),
            (b"0003".to_vec(), Surprise::Length),
            (b"0004".to_vec(), Surprise::Length),
            (b"fff1".to_vec(), Surprise::Length),
            (b"ffff".to_vec(), Surprise::Length),
            (b"fff0".to_vec(), Surprise::Cut),
            (b"+00a".to_vec(), Surprise::Length),
            (b"00 a".to_vec(), Surprise::Length),
            (b"<html>".to_vec(), Surprise::Length),
            ("\u{661}\u{662}".into(), Surprise::Length),
        ] {
            assert_eq!(read(&answer), Err(expected), "{:?}", String::from_utf8_lossy(&answer));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_invent_a_head(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..140,
        ) {
            let good = packets(&[&format!("{ONE} refs/heads/main\n"), &format!("{TWO} refs/heads/release\n")]);
            read(&noise).ok();
            let mut broken = good.clone();
            let at = at.min(broken.len());
            broken.splice(at.., noise);
            if let Ok(read) = read(&broken) {
                for (_, id) in read {
                    prop_assert!(id == "none" || id.len() == 40);
                }
            }
        }
    }
}
