//! `idp simulate --matrix`: the crash matrix, played whole, as the table that the documentation shows.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::output::{Tone, paint};
use super::{CliError, Exit, Output};
use crate::simulation::effects::EFFECTS;
use crate::simulation::{self, Column, Cuts, Matrix};

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    runs: u32,
    /// By story and effect, how many writes were cut.
    stories: std::collections::BTreeMap<&'a str, &'a std::collections::BTreeMap<&'static str, u32>>,
    wrong: &'a [String],
    seconds: f64,
}

/// Plays it on so many threads. Good: every cut ended as the run without one; Bad: one did not.
pub fn run(threads: usize, output: &Output) -> Result<Exit, CliError> {
    let begun = Instant::now();
    let told = |story: &str| eprintln!("{story}: {:.0?}", begun.elapsed());
    let cuts = Cuts { first: 1, stride: 1, threads };
    let matrix = simulation::matrix(cuts, told).map_err(CliError::Simulation)?;
    let took = begun.elapsed();
    let report = Report {
        ok: matrix.holds(),
        runs: matrix.runs(),
        stories: matrix.stories.iter().map(|column| (column.story, &column.cut)).collect(),
        wrong: &matrix.wrong,
        seconds: took.as_secs_f64(),
    };
    output.show(&report, |output| text(&matrix, took, output.colour))?;
    Ok(if matrix.holds() { Exit::Good } else { Exit::Bad })
}

fn text(matrix: &Matrix, took: Duration, colour: bool) -> String {
    let mut out = table(&matrix.stories);
    // Writing to a string does not fail.
    let _ = writeln!(out, "{} runs with a crash, {:.1} s", matrix.runs(), took.as_secs_f64());
    for column in matrix.stories.iter().filter(|column| !column.missing.is_empty()) {
        let _ = writeln!(out, "{}: no write is of {}", column.story, column.missing.join(", "));
    }
    for wrong in &matrix.wrong {
        let _ = writeln!(out, "{wrong}");
    }
    out.push_str(&if matrix.holds() {
        paint("every cut ended as the run without one", Tone::Good, colour)
    } else {
        paint("a cut ends otherwise than the run without one", Tone::Bad, colour)
    });
    out
}

/// One row an effect, one column a story, in Markdown.
fn table(stories: &[Column]) -> String {
    let names: Vec<&str> = stories.iter().map(|column| column.story).collect();
    let mut out =
        format!("| effect | the write | {} |\n|---|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (effect, what) in EFFECTS {
        let cells: Vec<String> = stories
            .iter()
            .map(|column| column.cut.get(effect).map_or(String::new(), ToString::to_string))
            .collect();
        let _ = writeln!(out, "| {effect} | {what} | {} |", cells.join(" | "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_an_effect() {
        let column = Column { story: "back", cut: [("A1", 2)].into(), missing: vec!["A2"] };
        let matrix = Matrix { stories: vec![column], wrong: Vec::new() };
        let text = text(&matrix, Duration::from_secs(3), false);
        assert!(
            text.contains("| A1 | the record of the verdict | 2 |\n| A2 | the route's weight to 0 |  |\n"),
            "{text}"
        );
        assert!(
            text.contains("6 runs with a crash, 3.0 s\nback: no write is of A2\na cut ends otherwise"),
            "{text}"
        );
    }
}
