//! What is wrong with a file, where, why it matters and how to mend it; and the collector that gathers all of it.

use std::cell::RefCell;
use std::fmt;

use serde::{Serialize, Serializer};

/// A place in a file, for people: lines and columns from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// How many characters of the line are meant, at least 1.
    pub length: usize,
}

impl Place {
    /// The beginning of a file.
    pub const START: Self = Self { line: 1, column: 1, length: 1 };
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The stable name of a kind of fault. Messages may get better; codes stay.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the code as text.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// More than 256 KiB.
    TooLarge = "E_TOO_LARGE",
    /// Not UTF-8, or with control characters.
    Encoding = "E_ENCODING",
    /// Nothing in it.
    Empty = "E_EMPTY",
    /// Not YAML.
    Yaml = "E_YAML",
    /// A tab where spaces indent.
    Tab = "E_TAB",
    /// More than one document.
    Documents = "E_DOCUMENTS",
    /// Nested too deeply.
    Depth = "E_DEPTH",
    /// More values than a declaration can have, aliases expanded.
    Budget = "E_BUDGET",
    /// The same key twice in one map.
    DuplicateKey = "E_DUPLICATE_KEY",
    /// The whole file has lost its indentation.
    Indentation = "E_INDENTATION",
    /// `>1%` without quotes.
    BlockScalar = "E_BLOCK_SCALAR",
    /// `yes` or `no`, which YAML reads in two ways.
    YesNo = "E_YES_NO",
    /// A key that version 1 does not have.
    UnknownKey = "E_UNKNOWN_KEY",
    /// A key or value of version 1 that is not enforced yet.
    Unsupported = "E_UNSUPPORTED",
    /// A key that is the platform's to set.
    Platform = "E_PLATFORM",
    /// A key that may not differ between environments.
    Override = "E_OVERRIDE",
    /// A required key is missing.
    Missing = "E_MISSING",
    /// A text where a map is wanted, and the like.
    Type = "E_TYPE",
    /// Outside the allowed values.
    Value = "E_VALUE",
    /// Not a name.
    Name = "E_NAME",
    /// Not a duration.
    Duration = "E_DURATION",
    /// Not a threshold.
    Threshold = "E_THRESHOLD",
    /// Not a quantity.
    Quantity = "E_QUANTITY",
    /// Canary weights out of order or range.
    Weights = "E_WEIGHTS",
    /// Two values that exclude each other.
    Conflict = "E_CONFLICT",
    /// One section in two of its places.
    Twice = "E_TWICE",
    /// A template that nobody fills in.
    Template = "E_TEMPLATE",
    /// An environment that the platform does not have, or that the file does not name.
    Environment = "E_ENVIRONMENT",
    /// Too long for what is made of it.
    Limit = "E_LIMIT",
    /// More faults than are shown.
    More = "E_MORE",
    /// A canary's last step was added.
    FinalStep = "N_FINAL_STEP",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Whether a file is refused for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is refused; the running version stays.
    Error,
    /// The file is accepted.
    Note,
}

/// One fault or note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// Error or note.
    pub severity: Severity,
    /// The file, as the caller named it.
    pub file: String,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong, one clause.
    pub what: String,
    /// Why it matters, one clause; may be empty where `what` says it.
    pub why: String,
    /// How to mend it, one clause.
    pub fix: String,
    /// The whole file, mended, where that can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<String>,
}

impl Diagnostic {
    /// Makes an error; the file is filled in when it is collected.
    pub(super) fn error(code: Code, place: Place, what: impl Into<String>) -> Self {
        let (why, fix) = (String::new(), String::new());
        let file = String::new();
        Self { code, severity: Severity::Error, file, place, what: what.into(), why, fix, repaired: None }
    }

    /// Makes a note.
    pub(super) fn note(code: Code, place: Place, what: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(code, place, what) }
    }

    /// Says which file it is of, where it is not collected.
    pub(super) fn of(mut self, file: &str) -> Self {
        file.clone_into(&mut self.file);
        self
    }

    /// Says why it matters.
    pub(super) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// Says how to mend it.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, severity, file, place, what, why, fix, repaired } = self;
        let word = match severity {
            Severity::Error => "error",
            Severity::Note => "note",
        };
        write!(f, "{file}:{}:{}: {word}[{code}]: {what}", place.line, place.column)?;
        for (name, text) in [("why", why), ("fix", fix)] {
            if !text.is_empty() {
                write!(f, "\n  {name}: {text}")?;
            }
        }
        match repaired {
            Some(text) => write!(f, "\n  the repaired file:\n{}", text.trim_end()),
            None => Ok(()),
        }
    }
}

/// Everything that was found in one file, in the order of its lines. Its `Display` prints all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Returns the findings, in the order of their lines.
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.0
    }

    /// Adds what was found by looking at several files.
    pub fn push(&mut self, finding: Diagnostic) {
        self.0.push(finding);
    }

    /// Iterates over the findings.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// Returns the errors as one line for a status, an event or a log: the first few, each with its line, its code and its remedy.
    pub fn sentence(&self) -> String {
        let errors = || self.0.iter().filter(|finding| finding.severity == Severity::Error);
        let told = errors().take(TOLD).map(|Diagnostic { code, place, what, fix, repaired, .. }| {
            let fix = if fix.is_empty() { String::new() } else { format!(": {fix}") };
            let mended = if repaired.is_some() { "; `idp validate` prints the file mended" } else { "" };
            format!("line {}: {what} ({code}){fix}{mended}", place.line)
        });
        let mut told: Vec<String> = told.collect();
        let more = errors().count().saturating_sub(TOLD);
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        told.join("; ")
    }

    /// Tells whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether the file is refused.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Errors that one sentence tells.
const TOLD: usize = 3;
/// Findings of one file that are shown at most.
const SHOWN: usize = 100;

/// Gathers findings while a file is read. One place says one thing of a kind only once, however many environments it is read for.
pub(super) struct Findings {
    file: String,
    list: RefCell<Vec<Diagnostic>>,
}

impl Findings {
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), list: RefCell::new(Vec::new()) }
    }

    /// Adds a finding; beyond [`SHOWN`] only the fact that there is more.
    pub(super) fn add(&self, mut finding: Diagnostic) {
        let mut list = self.list.borrow_mut();
        let same = |old: &Diagnostic| {
            old.code == finding.code
                && (old.place.line, old.place.column) == (finding.place.line, finding.place.column)
        };
        if list.iter().any(same) || list.len() > SHOWN {
            return;
        }
        if list.len() == SHOWN {
            finding = Diagnostic::error(Code::More, finding.place, "there is more wrong than is shown")
                .fix("mend what is shown and look again");
        }
        finding.file.clone_from(&self.file);
        list.push(finding);
    }

    /// Tells whether nothing more is taken: explaining further faults would be work for nothing.
    pub(super) fn is_full(&self) -> bool {
        self.list.borrow().len() > SHOWN
    }

    pub(super) fn has_errors(&self) -> bool {
        self.list.borrow().iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Returns what was found, in the order of the lines.
    pub(super) fn finish(self) -> Diagnostics {
        let mut list = self.list.into_inner();
        list.sort_by_key(|finding| (finding.code == Code::More, finding.place));
        Diagnostics(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_tells_the_first_errors_and_how_many_more_there_are() {
        let findings = Findings::new("f");
        for line in 1..=5 {
            let place = Place { line, column: 3, length: 1 };
            findings.add(Diagnostic::error(Code::UnknownKey, place, "no key `x`").fix("remove it"));
        }
        let sentence = findings.finish().sentence();
        assert!(
            sentence.starts_with("line 1: no key `x` (E_UNKNOWN_KEY): remove it; line 2: "),
            "{sentence}"
        );
        assert!(sentence.ends_with("; and 2 more") && !sentence.contains("line 4"), "{sentence}");
    }
}
