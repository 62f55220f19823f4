//! What is wrong with a configuration file: every problem with line, column and how to mend it.

use std::fmt;
use std::path::PathBuf;

/// A place in the file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

impl From<serde_yaml::Location> for Place {
    fn from(location: serde_yaml::Location) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: Place,
    /// The field, as in `sources[0].url`; empty for the file as a whole.
    pub field: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl Problem {
    pub(super) fn new(at: Place, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at, field: field.into(), message: message.into() }
    }
}

/// Every problem of a configuration, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file, where it came from one.
    pub file: Option<PathBuf>,
    /// The problems.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(super) fn one(problem: Problem) -> Self {
        Self { file: None, problems: vec![problem] }
    }

    pub(super) fn in_order(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.at);
        Self { file: None, problems }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_ref().map_or_else(|| "configuration".to_owned(), |p| p.display().to_string());
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{file}:{}:{}: ", problem.at.line, problem.at.column)?;
            if !problem.field.is_empty() {
                write!(f, "{}: ", problem.field)?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
