//! A file whose lines all begin at the margin: recognised, and its indentation put back from what each key can stand under.

use super::diagnostic::{Code, Diagnostic, Place};
use super::keys::{self, Shape};

/// A file with its indentation put back.
pub(super) struct Repair {
    text: String,
    at: Place,
}

impl Repair {
    /// Says what happened and shows the repaired file.
    pub(super) fn said(self) -> Diagnostic {
        let what = "`service` is empty and its keys stand at the margin: the file has lost its indentation";
        let said = Diagnostic::error(Code::Indentation, self.at, what)
            .why("YAML tells by indentation alone what belongs to what")
            .fix("write the repaired file below in its place");
        Diagnostic { repaired: Some(self.text), ..said }
    }
}

/// Puts the indentation back if the file has lost it: an empty `service:` at the margin, and one of its keys at the margin right after.
pub(super) fn repair(text: &str) -> Option<Repair> {
    let significant = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let mut lines = text.lines().enumerate().filter(|(_, line)| significant(line));
    let (index, _) = lines.find(|(_, line)| key_of(line) == Some("service") && value_of(line).is_empty())?;
    let (_, next) = lines.next()?;
    if !matches!(key_of(next)?, "name" | "team") {
        return None;
    }
    let mut mender = Mender { open: vec![Level { shape: keys::file(), indent: 0 }], shift: 0 };
    let lines: Vec<String> = text.lines().map(|line| mender.mend(line)).collect();
    Some(Repair { text: lines.join("\n") + "\n", at: Place { line: index + 1, column: 1, length: 7 } })
}

/// Returns the key of a line `key: …` at the margin; none of comments, blanks and indented lines.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(':')?;
    let word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    (!key.is_empty() && !key.starts_with('-') && key.chars().all(word)).then_some(key)
}

fn value_of(line: &str) -> &str {
    let value = line.split_once(':').map_or("", |(_, value)| value).trim();
    if value.starts_with('#') { "" } else { value }
}

/// A map that is open at this line.
struct Level {
    shape: &'static Shape,
    indent: usize,
}

struct Mender {
    open: Vec<Level>,
    /// What the last line at the margin was moved by; lines that kept some indentation move with it.
    shift: usize,
}

impl Mender {
    fn mend(&mut self, line: &str) -> String {
        let bare = line.trim_end();
        if bare.is_empty() || bare.starts_with('#') {
            return bare.to_owned();
        }
        if bare.starts_with(' ') {
            return format!("{}{bare}", " ".repeat(self.shift));
        }
        if let Some(item) = bare.strip_prefix('-') {
            self.item(item.trim_start());
        } else if let Some(key) = key_of(bare) {
            self.key(key, value_of(bare).is_empty());
        }
        format!("{}{bare}", " ".repeat(self.shift))
    }

    /// A list item belongs to the innermost open list.
    fn item(&mut self, rest: &str) {
        while self.open.len() > 1 {
            let Some(level) = self.open.last() else { return };
            if let Some(shape) = level.shape.item() {
                let indent = level.indent;
                self.shift = indent;
                if key_of(rest).is_some() {
                    self.open.push(Level { shape, indent: indent + 2 });
                }
                return;
            }
            self.open.pop();
        }
    }

    /// A key belongs to the innermost open map that knows it.
    fn key(&mut self, key: &str, empty: bool) {
        while self.open.len() > 1 && self.open.last().is_none_or(|level| level.shape.key(key).is_none()) {
            self.open.pop();
        }
        let Some(level) = self.open.last() else { return };
        self.shift = level.indent;
        if let Some(shape) = level.shape.key(key).filter(|shape| empty && shape.has_inside()) {
            let indent = level.indent + 2;
            self.open.push(Level { shape, indent });
        }
    }
}
