//! A table on a terminal or in a pipe. `connections`, `groups` and `status --register-address` print one.
//!
//! What clients and applications have chosen, a uid or a group, may hold anything: [`text`] makes it harmless for a
//! terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Rows of text below a heading.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: impl Into<Vec<&'static str>>) -> Self {
        Self { head: head.into(), rows: Vec::new() }
    }

    /// Adds a row, with a cell for each column.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        debug_assert_eq!(row.len(), self.head.len());
        self.rows.push(row);
    }

    /// Returns its lines, the heading first, cut to `width` columns where there is one.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let head: Vec<String> = self.head.iter().map(|name| (*name).to_owned()).collect();
        let rows: Vec<&Vec<String>> = std::iter::once(&head).chain(&self.rows).collect();
        let of_column = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..head.len()).map(of_column).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| pad(cell, *width));
            let line = cells.collect::<Vec<_>>().join("  ");
            width.map_or_else(|| line.trim_end().to_owned(), |width| cut(line.trim_end(), width))
        };
        rows.into_iter().map(line).collect()
    }
}

/// Returns a text of somebody else's without the characters by which it could write elsewhere on a terminal.
pub(crate) fn text(text: &str) -> String {
    let harmless =
        |c: char| if c.is_control() || c.width().is_none() || is_direction(c) { '\u{fffd}' } else { c };
    text.chars().map(harmless).collect()
}

/// Whether the character changes the direction of what stands behind it.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn pad(cell: &str, width: usize) -> String {
    format!("{cell}{}", " ".repeat(width.saturating_sub(cell.width())))
}

/// Cuts a line that takes more than `width` columns; its last one says so.
pub(crate) fn cut(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or_default();
        taken < width
    };
    let mut cut: String = line.chars().take_while(fits).collect();
    if width > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_also_where_characters_are_wide() {
        let mut table = Table::new(["UID", "N"]);
        table.push(vec!["小明".into(), "1".into()]);
        table.push(vec!["ann".into(), "20".into()]);
        assert_eq!(table.lines(None), ["UID   N", "小明  1", "ann   20"]);
    }

    #[test]
    fn a_line_is_cut_to_the_width_of_the_terminal() {
        let mut table = Table::new(["NAME", "MORE"]);
        table.push(vec!["abc".into(), "defghi".into()]);
        assert_eq!(table.lines(Some(8)), ["NAME  M…", "abc   d…"]);
        for width in 0..10 {
            assert!(table.lines(Some(width)).iter().all(|line| line.width() <= width), "{width}");
        }
        assert_eq!(cut("小明", 3), "小…");
        assert_eq!(cut("小明", 2), "…");
    }

    #[test]
    fn a_name_cannot_write_elsewhere_on_the_terminal() {
        assert_eq!(
            text("ann\x1b[2J\r\nbob\u{9b}\u{202e}"),
            "ann\u{fffd}[2J\u{fffd}\u{fffd}bob\u{fffd}\u{fffd}"
        );
        assert_eq!(text("小明 é"), "小明 é");
    }
}
