//! The table as Markdown.

use std::fmt::Write;

use crate::launcher::Played;
use crate::outcome::Outcome;

const HEAD: &str = "| row | promised | seen | messages | lost | doubled (marked) | reordered | overlapped | closes missing | closes doubled (marked) | noticed after | longest stall |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|---|\n";

/// Returns the table of all rows.
pub fn markdown(played: &[Played]) -> String {
    let mut table = HEAD.to_owned();
    for one in played {
        let promised = one.row.promised;
        let name = one.row.name;
        match (&one.outcome, one.row.cannot_run) {
            (_, Some(reason)) => {
                let _ =
                    writeln!(table, "| {name} | {promised} | cannot be run: {reason} {}|", "| ".repeat(9));
            }
            (Ok(outcome), None) => table += &line(outcome),
            (Err(error), None) => {
                let error = format!("{error:#}").replace(['|', '\n'], " ");
                let _ = writeln!(table, "| {name} | {promised} | not played: {error} {}|", "| ".repeat(9));
            }
        }
    }
    table
}

fn line(outcome: &Outcome) -> String {
    let Outcome { row, promised, counts, .. } = outcome;
    let mut seen = match outcome.broken.as_slice() {
        [] => "kept".to_owned(),
        broken => format!("**broken**: {}", broken.join(", ")),
    };
    for note in &outcome.notes {
        let _ = write!(seen, "; {note}");
    }
    let marked = |all: u64, unmarked: u64| format!("{all} ({})", all - unmarked);
    let overlapped = match counts.overlapped_at_the_cut {
        0 => counts.overlapped.to_string(),
        at_the_cut => format!("{}, and {at_the_cut} at the cut", counts.overlapped),
    };
    let noticed = counts.detection_ms.map_or("–".into(), seconds);
    format!(
        "| {row} | {promised} | {seen} | {} | {} | {} | {} | {overlapped} | {} | {} | {noticed} | {} |\n",
        counts.messages,
        counts.lost,
        marked(counts.doubled, counts.doubled_unmarked),
        counts.reordered,
        counts.closes_missing,
        marked(counts.closes_doubled, counts.closes_doubled_unmarked),
        seconds(counts.longest_stall_ms),
    )
}

fn seconds(ms: u64) -> String {
    format!("{:.2} s", ms as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Counts;

    #[test]
    fn a_line_has_as_many_columns_as_the_head() {
        let outcome = Outcome {
            row: "worker-killed".into(),
            promised: "Nothing is lost.".into(),
            counts: Counts { doubled: 3, doubled_unmarked: 1, detection_ms: Some(120), ..Counts::default() },
            broken: vec!["1 events doubled without the mark".into()],
            notes: vec!["a note".into()],
            seconds: 1.0,
        };
        let line = line(&outcome);
        let columns = |line: &str| line.matches('|').count();
        assert_eq!(columns(&line), columns(HEAD.lines().next().unwrap()));
        assert!(line.contains("3 (2)") && line.contains("0.12 s") && line.contains("; a note"), "{line}");
    }
}
