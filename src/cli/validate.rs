//! `idp validate`: checks declarations as the daemon will, and shows each fault with the line that it is in.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::output::{Tone, clean, paint};
use super::{CliError, Exit, Output};
use crate::declare::{self, Diagnostic, Diagnostics, Severity};

/// Where a repository's declaration is.
const DEFAULT: &str = ".idp/deploy.yaml";

/// Which files to check.
#[derive(Debug, Clone, Args)]
pub struct ValidateArgs {
    /// Files, or folders that hold .idp/deploy.yaml
    #[arg(default_value = DEFAULT)]
    pub paths: Vec<PathBuf>,
}

/// What became of all files.
#[derive(Serialize)]
struct Report {
    ok: bool,
    files: Vec<Checked>,
}

/// One file and what was found in it.
#[derive(Serialize)]
struct Checked {
    path: String,
    ok: bool,
    /// Why it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    diagnostics: Diagnostics,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    spec: Option<declare::Spec>,
}

/// Checks the files and prints what was found. Good: all are right; Bad: one is refused; Usage: one cannot be read.
pub fn run(args: &ValidateArgs, output: &Output) -> Result<Exit, CliError> {
    let files = check_all(&args.paths);
    let exit = match () {
        () if files.iter().any(|file| file.error.is_some()) => Exit::Usage,
        () if files.iter().any(|file| !file.ok) => Exit::Bad,
        () => Exit::Good,
    };
    let report = Report { ok: exit == Exit::Good, files };
    output.show(&report, |output| {
        let files: Vec<String> = report.files.iter().map(|file| text(file, output.colour)).collect();
        files.join("\n")
    })?;
    Ok(exit)
}

/// Checks each file, and that their services do not wait for each other.
fn check_all(paths: &[PathBuf]) -> Vec<Checked> {
    let mut files: Vec<Checked> = paths.iter().map(|path| check(path)).collect();
    let right = files.iter().enumerate().filter_map(|(number, file)| Some((number, file.spec.as_ref()?)));
    let (numbers, specs): (Vec<usize>, Vec<&declare::Spec>) = right.unzip();
    let found: Vec<(Option<usize>, Diagnostic)> = declare::check_order(&specs)
        .into_iter()
        .map(|(index, said)| (numbers.get(index).copied(), said))
        .collect();
    for (number, said) in found {
        if let Some(file) = number.and_then(|number| files.get_mut(number)) {
            file.ok = false;
            file.diagnostics.push(said);
        }
    }
    files
}

/// Reads and checks one file.
fn check(path: &Path) -> Checked {
    let path = if path.is_dir() { path.join(DEFAULT) } else { path.to_owned() };
    let name = path.to_string_lossy().into_owned();
    let bytes = match read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let (error, diagnostics) = (Some(error.to_string()), Diagnostics::default());
            return Checked { path: name, ok: false, error, diagnostics, text: String::new(), spec: None };
        }
    };
    let (spec, diagnostics) = match declare::parse(&name, &bytes) {
        Ok(spec) => (Some(spec.clone()), spec.notes().clone()),
        Err(found) => (None, found),
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Checked { path: name, ok: !diagnostics.has_errors(), error: None, diagnostics, text, spec }
}

/// Reads a file; of one that is too large no more than is needed to say so.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(declare::FILE_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(file: &Checked, colour: bool) -> String {
    let mut out = String::new();
    for finding in &file.diagnostics {
        show(&mut out, finding, &file.text, colour);
    }
    let errors = file.diagnostics.iter().filter(|finding| finding.severity == Severity::Error).count();
    let verdict = match (&file.error, errors) {
        (Some(error), _) => paint(&format!("cannot be read: {error}"), Tone::Bad, colour),
        (None, 0) => paint("is right", Tone::Good, colour),
        (None, 1) => paint("has 1 error", Tone::Bad, colour),
        (None, more) => paint(&format!("has {more} errors"), Tone::Bad, colour),
    };
    let _ = write!(out, "{} {verdict}", clean(&file.path));
    out
}

/// Shows one finding: where and what, the line with a caret, why and how to mend it.
fn show(out: &mut String, finding: &Diagnostic, text: &str, colour: bool) {
    let Diagnostic { code, severity, file, place, what, why, fix, repaired } = finding;
    let word = match severity {
        Severity::Error => paint(&format!("error[{code}]"), Tone::Bad, colour),
        Severity::Note => paint(&format!("note[{code}]"), Tone::Busy, colour),
    };
    let _ = writeln!(out, "{}:{}:{}: {word}: {}", clean(file), place.line, place.column, clean(what));
    if let Some(line) = text.lines().nth(place.line.saturating_sub(1)) {
        snippet(out, line, finding, colour);
    }
    for (name, sentence) in [("why:", why), ("fix:", fix)] {
        if !sentence.is_empty() {
            let _ = writeln!(out, "  {} {}", paint(name, Tone::Faint, colour), clean(sentence));
        }
    }
    if let Some(repaired) = repaired {
        let _ = writeln!(out, "  {}", paint("the repaired file:", Tone::Faint, colour));
        repaired.lines().for_each(|line| {
            let _ = writeln!(out, "{}", clean(line));
        });
    }
    out.push('\n');
}

/// The widest part of a line that is shown, in characters.
const WIDTH: usize = 100;

fn snippet(out: &mut String, line: &str, finding: &Diagnostic, colour: bool) {
    let place = finding.place;
    let number = place.line.to_string();
    let start = place.column.saturating_sub(1);
    // Of a very long line the part around the fault.
    let from = if start < WIDTH { 0 } else { start - WIDTH / 2 };
    let shown: String = line.chars().skip(from).take(WIDTH).collect();
    let length = place.length.clamp(1, WIDTH.saturating_sub(start - from).max(1));
    let caret = format!("{}{}", " ".repeat(start - from), paint(&"^".repeat(length), Tone::Bad, colour));
    let bar = paint("|", Tone::Faint, colour);
    let _ = writeln!(out, "  {} {bar} {}", paint(&number, Tone::Faint, colour), clean(&shown));
    let _ = writeln!(out, "  {} {bar} {caret}", " ".repeat(number.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Checked {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DEFAULT);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let mut checked = check(folder.path());
        checked.path = "deploy.yaml".into();
        checked
    }

    #[test]
    fn a_fault_is_shown_in_its_line() {
        let file = checked("service: {name: api, team: pay}\nworkload:\n  prot: 80\n");
        let shown = text(&file, false);
        assert!(shown.contains("  3 |   prot: 80\n    |   ^^^^\n"), "{shown}");
        assert!(shown.contains("fix: did you mean `port`?"), "{shown}");
        assert!(shown.ends_with("deploy.yaml has 1 error"), "{shown}");
        assert!(!shown.contains('\u{1b}'));
        assert!(text(&file, true).contains("\u{1b}[31m"));
    }

    #[test]
    fn a_right_file_says_so_and_notes_do_not_refuse_it() {
        let file = checked("service: {name: api, team: pay}\ncanary: [{weight: 10}]\n");
        let shown = text(&file, false);
        assert!(shown.contains("note[N_FINAL_STEP]") && shown.ends_with("is right"), "{shown}");
        assert!(file.ok);
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
        let report = serde_json::to_value(Report { ok: false, files: vec![file] }).unwrap();
        assert_eq!(report["ok"], false);
        assert_eq!(report["files"][0]["diagnostics"][0]["code"], "E_MISSING");
        assert_eq!(report["files"][0]["diagnostics"][0]["line"], 1);
        assert_eq!(report["files"][0].get("text"), None);
    }

    #[test]
    fn services_that_wait_for_each_other_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, after: &str| {
            let path = folder.path().join(name).join(DEFAULT);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = format!(
                "service: {{name: {name}, team: t}}\ndeploy: {{{after}}}\nenvironments: {{qa: {{}}}}\n"
            );
            std::fs::write(&path, text).unwrap();
            folder.path().join(name)
        };
        let paths = [
            file("a", "after: [b]"),
            file("b", "after: [c, x]"),
            file("c", "after: [a]"),
            file("d", "after: [a]"),
        ];
        let checked = check_all(&paths);
        assert_eq!(checked.iter().map(|file| file.ok).collect::<Vec<_>>(), [false, false, false, true]);
        let shown = text(&checked[0], false);
        assert!(shown.contains("`deploy.after` leads round in a circle: a, b, c, a"), "{shown}");
        assert!(shown.contains("  2 | deploy: {after: [b]}\n"), "{shown}");

        let paths = [file("e", "after: [f], group: g"), file("f", "group: g"), file("h", "after: [f]")];
        let checked = check_all(&paths);
        assert_eq!(checked.iter().map(|file| file.ok).collect::<Vec<_>>(), [false, true, true]);
        let shown = text(&checked[0], false);
        assert!(shown.contains("`deploy.after` names f, which is of the same group g"), "{shown}");
    }

    #[test]
    fn a_file_that_is_not_there_says_so() {
        let file = check(Path::new("/nowhere/deploy.yaml"));
        assert!(!file.ok && text(&file, false).starts_with("/nowhere/deploy.yaml cannot be read: "));
    }
}
