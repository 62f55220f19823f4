//! Bytes → tree: what must hold before there is YAML at all, and the faults that YAML itself explains badly.

use serde_yaml::granit_parser::{ErrorKind, ScanError};

use super::diagnostic::{Code, Diagnostic, Findings, Place};
use super::indent;
use super::tree::{self, Node, Stop};

/// The bytes that a file may have.
pub(super) const LIMIT: usize = 256 * 1024;

/// Lines with an unquoted `>1%` that are mended in memory, so that what comes after them is looked at too.
const REPAIRS: usize = 16;

/// Reads a file's bytes. Faults are added to `findings`; `None` where no tree could be made.
pub(super) fn load(bytes: &[u8], findings: &Findings) -> Option<Node> {
    let text = decode(bytes).map_err(|said| findings.add(*said)).ok()?;
    if let Some(repair) = indent::repair(text) {
        findings.add(repair.said());
        return None;
    }
    let mut text = text.to_owned();
    for _ in 0..REPAIRS {
        match tree::read(&text, findings) {
            Ok(Some(node)) => return Some(node),
            Ok(None) => {
                findings.add(empty());
                return None;
            }
            Err(Stop::Said(said)) => {
                findings.add(*said);
                return None;
            }
            Err(Stop::Scan(error)) => {
                let Some((said, mended)) = unquoted(&text, &error) else {
                    findings.add(explain(&text, &error));
                    return None;
                };
                findings.add(said);
                text = mended;
            }
        }
    }
    None
}

fn empty() -> Diagnostic {
    Diagnostic::error(Code::Empty, Place::START, "there is nothing in this file")
        .fix("the smallest file is: service: {name: my-service, team: my-team}")
}

/// Checks size, encoding and characters, and takes a byte order mark off.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Box<Diagnostic>> {
    if bytes.len() > LIMIT {
        let what = format!("the file has {} bytes, at most {LIMIT} are read", bytes.len());
        let fix = "put large contents into the image, or into files of their own";
        return Err(Diagnostic::error(Code::TooLarge, Place::START, what).fix(fix).into());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let at = place_at_end(&String::from_utf8_lossy(good));
        Box::new(Diagnostic::error(Code::Encoding, at, "this is not UTF-8").fix("save the file as UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let bad = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    if let Some((index, c)) = text.char_indices().find(|(_, c)| bad(*c)) {
        let what = format!("the character U+{:04X} may not stand in YAML", u32::from(c));
        let at = place_at_end(text.get(..index).unwrap_or_default());
        let fix = "remove it; in quotes it can be written as an escape";
        return Err(Diagnostic::error(Code::Encoding, at, what).fix(fix).into());
    }
    Ok(text)
}

/// The place of the character after a text.
fn place_at_end(text: &str) -> Place {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { line, column, length: 1 }
}

fn line(text: &str, number: usize) -> &str {
    text.lines().nth(number.saturating_sub(1)).unwrap_or_default()
}

/// Finds an unquoted threshold (`key: >1%`) where YAML stopped, and the text with it quoted.
fn unquoted(text: &str, error: &ScanError) -> Option<(Diagnostic, String)> {
    let number = error.marker().line();
    let candidates = [number, number.saturating_sub(1)];
    candidates.into_iter().filter(|number| *number > 0).find_map(|number| {
        let whole = line(text, number);
        let (start, value) = threshold(whole)?;
        let column = whole.get(..start)?.chars().count() + 1;
        let at = Place { line: number, column, length: value.chars().count() };
        let quoted = format!("{}\"{value}\"{}", whole.get(..start)?, whole.get(start + value.len()..)?);
        let mut lines: Vec<&str> = text.lines().collect();
        *lines.get_mut(number - 1)? = &quoted;
        let key = whole.split(':').next()?.trim();
        Some((block_scalar(at, key, value), lines.join("\n") + "\n"))
    })
}

/// Says that a threshold was read as a block scalar: `what` stands without quotes, `value` is an example with them.
pub(super) fn block_scalar(at: Place, what: &str, value: &str) -> Diagnostic {
    Diagnostic::error(Code::BlockScalar, at, format!("the value of `{what}` has no quotes"))
        .why("YAML reads a `>` without quotes as the beginning of a block of text")
        .fix(format!("quote it: \"{value}\""))
}

/// Finds `>1%` after a `key:`: where it begins, and the threshold without comment and blanks.
fn threshold(line: &str) -> Option<(usize, &str)> {
    let colon = line.find(": ")?;
    let rest = line.get(colon + 1..)?;
    let start = colon + 1 + (rest.len() - rest.trim_start().len());
    let value = line.get(start..)?.split(" #").next()?.trim_end();
    let after = value.strip_prefix('>')?.trim_start_matches(['=', ' ']);
    after.starts_with(|c: char| c.is_ascii_digit()).then_some((start, value))
}

/// Says what YAML found, in words that help.
fn explain(text: &str, error: &ScanError) -> Diagnostic {
    let marker = error.marker();
    let number = marker.line().max(1);
    let at = Place { line: number, column: marker.col() + 1, length: 1 };
    let around = [number, number.saturating_sub(1), number + 1];
    let tab = around.into_iter().filter(|number| *number > 0).find_map(|number| {
        let whole = line(text, number);
        let blank = whole.get(..whole.len() - whole.trim_start().len())?;
        let column = blank.chars().position(|c| c == '\t')? + 1;
        Some(Place { line: number, column, length: 1 })
    });
    if let Some(at) = tab {
        return Diagnostic::error(Code::Tab, at, "this line is indented with a tab")
            .why("YAML indents with spaces only")
            .fix("write two spaces for each level");
    }
    match error.kind() {
        ErrorKind::UnknownAnchor => {
            Diagnostic::error(Code::Yaml, at, "there is no anchor of this name above")
                .fix("define it with &name before, or put the text into quotes")
        }
        ErrorKind::RecursionLimitExceeded => tree::too_deep(at),
        kind => {
            let fix =
                "look at the indentation, quotes, brackets and colons of this line and of the one above";
            Diagnostic::error(Code::Yaml, at, format!("this is not YAML: {kind}")).fix(fix)
        }
    }
}
