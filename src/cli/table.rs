//! Tables without lines, bounded in width: every column as wide as its content, the last takes what is left.

use comfy_table::{
    Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Table, presets,
};

use super::output::{Tone, clean, cut};

/// Characters that a cell before the last shows.
const CELL: usize = 48;
/// Characters that the last column has at least.
const LAST: usize = 20;

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// Makes a cell of what anybody wrote; an empty one shows `-`.
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = clean(text.as_ref());
        Self { text: if text.trim().is_empty() { "-".to_owned() } else { text }, tone: None }
    }

    /// Colours it.
    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = Some(tone);
        self
    }

    fn rendered(&self) -> comfy_table::Cell {
        let cell = comfy_table::Cell::new(&self.text);
        match self.tone {
            None => cell,
            Some(Tone::Good) => cell.fg(Color::Green),
            Some(Tone::Bad) => cell.fg(Color::Red),
            Some(Tone::Busy) => cell.fg(Color::Yellow),
            Some(Tone::Faint) => cell.add_attribute(Attribute::Dim),
        }
    }
}

/// Renders a table with a header line; no line is longer than `width` unless the columns before the last already are.
pub fn render(header: &[&str], rows: Vec<Vec<Cell>>, width: u16, colour: bool) -> String {
    let rows = bounded(header, rows, usize::from(width));
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    if header.iter().any(|title| !title.is_empty()) {
        table.set_header(Row::from(header.iter().map(comfy_table::Cell::new).collect::<Vec<_>>()));
    }
    for row in rows {
        table.add_row(Row::from(row.iter().map(Cell::rendered).collect::<Vec<_>>()));
    }
    table.set_constraints(header.iter().map(|_| ColumnConstraint::ContentWidth));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2)).set_cell_alignment(CellAlignment::Left);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

fn bounded(header: &[&str], mut rows: Vec<Vec<Cell>>, width: usize) -> Vec<Vec<Cell>> {
    let last = header.len().saturating_sub(1);
    for row in &mut rows {
        for cell in row.iter_mut().take(last) {
            cell.text = cut(&cell.text, CELL);
        }
    }
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
        let title = header.get(column).map_or(0, |title| title.chars().count());
        cells.chain([title]).max().unwrap_or(0)
    };
    let before: usize = (0..last).map(|column| widest(column) + 2).sum();
    let left = width.saturating_sub(before).max(LAST);
    for row in &mut rows {
        if let Some(cell) = row.get_mut(last) {
            cell.text = cut(&cell.text, left);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_gives_way() {
        let rows =
            vec![vec![Cell::new("a"), Cell::new("x".repeat(100))], vec![Cell::new("bbb"), Cell::new("")]];
        let text = render(&["ONE", "TWO"], rows, 40, false);
        assert_eq!(text, format!("ONE  TWO\na    {}…\nbbb  -", "x".repeat(34)));
    }

    #[test]
    fn colour_only_where_it_is_wanted() {
        let rows = || vec![vec![Cell::new("ok").tone(Tone::Good), Cell::new("x")]];
        assert!(!render(&["A", "B"], rows(), 80, false).contains('\u{1b}'));
        assert!(render(&["A", "B"], rows(), 80, true).contains('\u{1b}'));
    }
}
