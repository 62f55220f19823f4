//! All printing: the format, colour, widths, and what others wrote made harmless for a terminal.

use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use super::CliError;
pub use crate::model::text::{clean, clean_lines, cut};

/// How to print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON value (`watch`: one a line).
    Json,
    /// One YAML document (`watch`: one an entry).
    Yaml,
}

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Also into files and pipes.
    Always,
    /// Not at all.
    Never,
}

/// What a colour is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Broken.
    Bad,
    /// On its way, or not known.
    Busy,
    /// Of less weight.
    Faint,
}

/// Characters a line that is cut may have where no terminal says.
const WIDTH: u16 = 160;
/// Below this a table is not made narrower.
const NARROWEST: u16 = 80;

/// How and where to print.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// The format.
    pub format: Format,
    /// Whether stdout takes colours.
    pub colour: bool,
    /// Characters in a line.
    pub width: u16,
    /// Whether somebody is looking: stdout and stderr are a terminal and the format is for people.
    pub live: bool,
}

impl Output {
    /// Looks at stdout and the environment once.
    pub fn new(format: Format, colour: Colour) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = comfy_table::Table::new().width().unwrap_or(WIDTH);
        Self {
            format,
            colour: coloured(colour, terminal, refused),
            width: width.max(NARROWEST),
            live: terminal && std::io::stderr().is_terminal() && format == Format::Table,
        }
    }

    /// Prints a value as data, or the text that is made of it for people.
    pub fn show<T: Serialize>(&self, value: &T, text: impl FnOnce(&Self) -> String) -> Result<(), CliError> {
        match data(self.format, value)? {
            Some(data) => print(&data),
            None => print(&text(self)),
        }
    }

    /// Prints one entry of a sequence: a line of JSON, a YAML document, or the text for people.
    pub fn entry<T: Serialize>(&self, value: &T, text: impl FnOnce(&Self) -> String) -> Result<(), CliError> {
        match self.format {
            Format::Table => print(&text(self)),
            Format::Json => print(&serde_json::to_string(value).map_err(|error| json_error(&error))?),
            Format::Yaml => print(&format!("---\n{}", yaml(value)?.trim_end())),
        }
    }
}

fn coloured(colour: Colour, terminal: bool, refused: bool) -> bool {
    match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => terminal && !refused,
    }
}

fn json_error(error: &serde_json::Error) -> CliError {
    CliError::Format { format: "JSON", message: error.to_string() }
}

fn yaml<T: Serialize>(value: &T) -> Result<String, CliError> {
    serde_yaml::to_string(value)
        .map_err(|error| CliError::Format { format: "YAML", message: error.to_string() })
}

/// Renders a value as data; `None` for the format for people.
pub fn data<T: Serialize>(format: Format, value: &T) -> Result<Option<String>, CliError> {
    match format {
        Format::Table => Ok(None),
        Format::Json => serde_json::to_string_pretty(value).map(Some).map_err(|error| json_error(&error)),
        Format::Yaml => yaml(value).map(|text| Some(text.trim_end().to_owned())),
    }
}

/// Writes text and a line's end to stdout. A reader that has gone away is no error.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::Stdout(error)),
        _ => Ok(()),
    }
}

/// Colours a text for a terminal.
pub fn paint(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Busy => "33",
        Tone::Faint => "2",
    };
    if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Breaks a text between words into lines of so many characters, at least one line; a longer word stands alone.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        for (colour, terminal, refused, wanted) in [
            (Colour::Auto, true, false, true),
            (Colour::Auto, true, true, false),
            (Colour::Auto, false, false, false),
            (Colour::Always, false, true, true),
            (Colour::Never, true, false, false),
        ] {
            assert_eq!(coloured(colour, terminal, refused), wanted, "{colour:?} {terminal} {refused}");
        }
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {}

    #[test]
    fn data_is_json_or_yaml() {
        let value = serde_json::json!({"a": [1], "b": "yes"});
        assert_eq!(data(Format::Table, &value).unwrap(), None);
        let read = |text: String| serde_yaml::from_str::<serde_json::Value>(&text).unwrap();
        assert_eq!(read(data(Format::Json, &value).unwrap().unwrap()), value);
        assert_eq!(read(data(Format::Yaml, &value).unwrap().unwrap()), value);
    }
}
