//! Takes a commit object apart: the signature in its header, and the bytes that were signed, which are all the others.

use super::Refusal;

/// Largest signature that is read, in bytes.
pub(super) const SIGNATURE_LIMIT: usize = 64 << 10;

/// A signed commit, taken apart.
#[derive(Debug)]
pub(super) struct Signed {
    /// The commit object without its signature.
    pub(super) payload: Vec<u8>,
    /// The armored signature.
    pub(super) armor: String,
}

/// Splits the raw bytes of a commit object, as `git verify-commit` does. What Git would leave room for (a second signature, one over
/// the object's SHA-256 form) is refused.
pub(super) fn split(raw: &[u8]) -> Result<Signed, Refusal> {
    let mut payload = Vec::with_capacity(raw.len());
    let mut armor: Option<Vec<u8>> = None;
    let mut inside = false;
    let mut rest = raw;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(end + 1);
        if line == b"\n" {
            break;
        }
        rest = after;
        if let (true, Some(text), Some(armor)) = (inside, line.strip_prefix(b" "), &mut armor) {
            append(armor, text)?;
            continue;
        }
        inside = false;
        if line.starts_with(b"gpgsig-sha256 ") {
            return Err(Refusal::Sha256);
        }
        let Some(text) = line.strip_prefix(b"gpgsig ") else {
            payload.extend_from_slice(line);
            continue;
        };
        if armor.is_some() {
            return Err(Refusal::Form("there are two"));
        }
        inside = true;
        append(armor.insert(Vec::new()), text)?;
    }
    payload.extend_from_slice(rest);
    let armor = armor.ok_or(Refusal::NotSigned)?;
    let armor = String::from_utf8(armor).map_err(|_| Refusal::Form("it is not text"))?;
    Ok(Signed { payload, armor })
}

fn append(armor: &mut Vec<u8>, text: &[u8]) -> Result<(), Refusal> {
    if armor.len() + text.len() > SIGNATURE_LIMIT {
        return Err(Refusal::TooLarge);
    }
    armor.extend_from_slice(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_cut_out_and_nothing_else() {
        let head = "tree 1\nauthor A\ncommitter B\n";
        let raw = format!("{head}gpgsig -----BEGIN\n x\n \n -----END\nencoding y\n z\n\ngpgsig no\n more");
        let signed = split(raw.as_bytes()).unwrap();
        assert_eq!(signed.armor, "-----BEGIN\nx\n\n-----END\n");
        let payload = format!("{head}encoding y\n z\n\ngpgsig no\n more");
        assert_eq!(String::from_utf8(signed.payload).unwrap(), payload);
    }

    #[test]
    fn what_is_not_one_signature_is_refused() {
        let large = format!("tree 1\ngpgsig a\n{}\n", " x\n".repeat(SIGNATURE_LIMIT));
        for (raw, reason) in [
            ("", "is not signed"),
            ("tree 1\n\ngpgsig x\n", "is not signed"),
            ("tree 1\ngpgsig\n x\n\n", "is not signed"),
            ("gpgsig a\ngpgsig b\n\n", "there are two"),
            ("gpgsig a\nx y\ngpgsig b\n\n", "there are two"),
            ("tree 1\ngpgsig-sha256 a\n\n", "gpgsig-sha256"),
            ("gpgsig a\ngpgsig-sha256 a\n\n", "gpgsig-sha256"),
            (large.as_str(), "more than 64 KiB"),
        ] {
            let text = split(raw.as_bytes()).unwrap_err().to_string();
            assert!(text.contains(reason), "{raw:.40}: {text}");
        }
        assert!(matches!(split(b"gpgsig \xff\n\n"), Err(Refusal::Form(_))));
    }
}
