//! `idp validate`: checks declarations as the daemon will, and shows each fault with the line that it is in.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::declare::{self, Diagnostic, Diagnostics, Severity};

/// Where a repository's declaration is.
const DEFAULT: &str = ".idp/deploy.yaml";

/// Check declarations the way the daemon does.
///
/// Exit 0: all are right. 1: at least one is refused. 2: a file could not be read.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Files, or folders that hold .idp/deploy.yaml.
    #[arg(default_value = DEFAULT)]
    pub paths: Vec<PathBuf>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: the line, a caret under the fault, why and how to mend it.
    Text,
    /// One object: {"ok", "files": [{"path", "ok", "diagnostics"}]}.
    Json,
}

/// One file and what was found in it.
struct Checked {
    path: String,
    text: String,
    found: Diagnostics,
}

/// Checks the files and prints what was found. Colour on a terminal only, and not where `NO_COLOR` is set.
pub fn run(args: &ValidateArgs) -> ExitCode {
    let mut checked = Vec::new();
    let mut unread = false;
    for path in &args.paths {
        match check(path) {
            Ok(file) => checked.push(file),
            Err(error) => {
                unread = true;
                let _ = writeln!(io::stderr(), "error: read {}: {error}", path.display());
            }
        }
    }
    let refused = checked.iter().any(|file| file.found.has_errors());
    let color =
        io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let shown = match args.output {
        Output::Text => checked.iter().map(|file| text(file, color)).collect(),
        Output::Json => format!("{:#}\n", report(&checked, !refused && !unread)),
    };
    match io::stdout().lock().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(2),
        _ if unread => ExitCode::from(2),
        _ => ExitCode::from(u8::from(refused)),
    }
}

/// Reads and checks one file; of one that is too large no more than is needed to say so.
fn check(path: &Path) -> io::Result<Checked> {
    let path = if path.is_dir() { path.join(DEFAULT) } else { path.to_owned() };
    let mut bytes = Vec::new();
    let limit = u64::try_from(declare::FILE_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    File::open(&path)?.take(limit).read_to_end(&mut bytes)?;
    let path = path.to_string_lossy().into_owned();
    let found = match declare::parse(&path, &bytes) {
        Ok(spec) => spec.notes().clone(),
        Err(found) => found,
    };
    Ok(Checked { path, text: String::from_utf8_lossy(&bytes).into_owned(), found })
}

fn report(checked: &[Checked], ok: bool) -> serde_json::Value {
    let file = |file: &Checked| json!({"path": file.path, "ok": !file.found.has_errors(), "diagnostics": file.found});
    json!({"ok": ok, "files": checked.iter().map(file).collect::<Vec<_>>()})
}

fn text(file: &Checked, color: bool) -> String {
    let paint = Paint(color);
    let mut out = String::new();
    for finding in &file.found {
        show(&mut out, finding, &file.text, paint);
    }
    let errors = file.found.iter().filter(|finding| finding.severity == Severity::Error).count();
    let verdict = match errors {
        0 => format!("{} {}", file.path, paint.good("is right")),
        1 => format!("{} {}", file.path, paint.bad("has 1 error")),
        more => format!("{} {}", file.path, paint.bad(&format!("has {more} errors"))),
    };
    let _ = writeln!(out, "{verdict}");
    out
}

/// Shows one finding: where and what, the line with a caret, why and how to mend it.
fn show(out: &mut String, finding: &Diagnostic, text: &str, paint: Paint) {
    let Diagnostic { code, severity, file, place, what, why, fix, repaired } = finding;
    let word = match severity {
        Severity::Error => paint.bad(&format!("error[{code}]")),
        Severity::Note => paint.dim(&format!("note[{code}]")),
    };
    let _ =
        writeln!(out, "{file}:{}:{}: {word}: {}", place.line, place.column, paint.strong(&printable(what)));
    if let Some(line) = text.lines().nth(place.line.saturating_sub(1)) {
        snippet(out, line, finding, paint);
    }
    for (name, sentence) in [("why", why), ("fix", fix)] {
        if !sentence.is_empty() {
            let _ = writeln!(out, "  {} {}", paint.dim(&format!("{name}:")), printable(sentence));
        }
    }
    if let Some(repaired) = repaired {
        let _ = writeln!(out, "  {}", paint.dim("the repaired file:"));
        let _ = writeln!(out, "{}", repaired.trim_end());
    }
    out.push('\n');
}

/// The widest part of a line that is shown, in characters.
const WIDTH: usize = 100;

fn snippet(out: &mut String, line: &str, finding: &Diagnostic, paint: Paint) {
    let place = finding.place;
    let number = place.line.to_string();
    let start = place.column.saturating_sub(1);
    // Of a very long line the part around the fault.
    let from = if start < WIDTH { 0 } else { start - WIDTH / 2 };
    let shown: String = line.chars().skip(from).take(WIDTH).collect();
    let caret = " ".repeat(start - from)
        + &"^".repeat(place.length.clamp(1, WIDTH.saturating_sub(start - from).max(1)));
    let bar = paint.dim("|");
    let margin = " ".repeat(number.len());
    let _ = writeln!(out, "  {} {bar} {}", paint.dim(&number), printable(&shown));
    let _ = writeln!(out, "  {margin} {bar} {}", paint.bad(&caret));
}

/// Control characters of a file never reach a terminal; each is one column wide.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Colours, or none.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Checked {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DEFAULT);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let mut checked = check(folder.path()).unwrap();
        checked.path = "deploy.yaml".into();
        checked
    }

    #[test]
    fn a_fault_is_shown_in_its_line() {
        let file = checked("service: {name: api, team: pay}\nworkload:\n  prot: 80\n");
        let shown = text(&file, false);
        assert!(shown.contains("  3 |   prot: 80\n    |   ^^^^\n"), "{shown}");
        assert!(shown.contains("fix: did you mean `port`?"), "{shown}");
        assert!(shown.ends_with("deploy.yaml has 1 error\n"), "{shown}");
        assert!(!shown.contains('\u{1b}'));
        assert!(text(&file, true).contains("\u{1b}[1;31m"));
    }

    #[test]
    fn a_right_file_says_so_and_notes_do_not_refuse_it() {
        let file = checked("service: {name: api, team: pay}\ncanary: [{weight: 10}]\n");
        let shown = text(&file, false);
        assert!(shown.contains("note[N_FINAL_STEP]") && shown.ends_with("is right\n"), "{shown}");
        assert_eq!(report(&[file], true)["files"][0]["ok"], true);
    }

    #[test]
    fn the_fault_of_a_very_long_line_is_in_sight_and_nothing_drives_the_terminal() {
        let long =
            format!("service: {{name: api, team: pay, description: \"{}\", bogus: 1}}\n", "x".repeat(500));
        let shown = text(&checked(&long), false);
        assert!(shown.contains("bogus: 1") && shown.contains("^^^^^"), "{shown}");
        let shown = text(&checked("service: {name: \"a\u{1b}[31m\"}\n"), false);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn json_has_code_and_place() {
        let file = checked("service: {name: api}\n");
        let report = report(&[file], false);
        assert_eq!(report["ok"], false);
        assert_eq!(report["files"][0]["diagnostics"][0]["code"], "E_MISSING");
        assert_eq!(report["files"][0]["diagnostics"][0]["line"], 1);
    }
}
