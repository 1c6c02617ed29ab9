//! The page with the table, as Markdown: `docs/reliability.md` is made of it.

use std::fmt::Write;

use crate::launcher::Played;
use crate::outcome::Outcome;

const HEAD: &str = "| row | promised | seen | messages | lost | doubled (marked) | reordered | overlapped | sessions stale | closes missing | closes doubled (marked) | noticed after | longest stall |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|---|---|\n";

/// What stands above the table.
const INTRODUCTION: &str = "\
# Reliability

[中文](zh/reliability.md)

What becomes of messages when processes die, hosts vanish and cables are cut. [What a handler may rely on](guide/delivery.md)
says what follows for an application.

Each row is a cluster of real processes under load, and a fault. Every message is numbered and accounted for at both
ends: by its client, which notes what it has sent and was answered, and by the handlers of a worker, which note their
begin and their end in a pipe that survives the worker's death. Cables are cut between network namespaces.

";

/// What the columns mean.
const COLUMNS: &str = "
- **messages**: sent by clients. Connects, handshakes and closes come on top.
- **lost**: no handler has handled it to its end. What a gateway had not passed on when it died is not counted: its
  client has seen its connection end without an answer. *Seen* says how many these were.
- **doubled (marked)**: events that were handled again, and those of them with `client.redelivered()`.
- **reordered**: events handled behind a later event of their client, or behind its close.
- **overlapped**: handlers that began while another handler of their client ran. *At the cut*: handlers that ran
  in a worker when it was frozen or cut off, and had a successor before they ended.
- **sessions stale**: handlers that found an older session than an earlier handler of their client had left. The sessions
  of a gateway's clients end with it: *seen* says how many handlers noticed that.
- **closes missing**, **closes doubled (marked)**: connections whose `on_connect` ran, without or with a second `on_close`.
- **noticed after**: from the fault until another worker had an event of one of the clients concerned; at a gateway's
  death, until the `on_close` of one of its clients.
- **longest stall**: the longest that a message waited for its answer, or a client for its connection.
";

/// Returns the page. `command` is the command line that made it, `load` says what the load was.
pub fn page(played: &[Played], command: &str, load: &str) -> String {
    let table = table(played);
    format!("{INTRODUCTION}Made by this command; {load}:\n\n```sh\n{command}\n```\n\n{table}{COLUMNS}")
}

fn table(played: &[Played]) -> String {
    let mut table = HEAD.to_owned();
    for one in played {
        let promised = one.row.promised;
        let name = one.row.name;
        match (&one.outcome, one.row.cannot_run) {
            (_, Some(reason)) => {
                let _ =
                    writeln!(table, "| {name} | {promised} | cannot be run: {reason} {}|", "| ".repeat(10));
            }
            (Ok(outcome), None) => table += &line(outcome),
            (Err(error), None) => {
                let error = format!("{error:#}").replace(['|', '\n'], " ");
                let _ = writeln!(table, "| {name} | {promised} | not played: {error} {}|", "| ".repeat(10));
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
        "| {row} | {promised} | {seen} | {} | {} | {} | {} | {overlapped} | {} | {} | {} | {noticed} | {} |\n",
        counts.messages,
        counts.lost,
        marked(counts.doubled, counts.doubled_unmarked),
        counts.reordered,
        counts.stale,
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
