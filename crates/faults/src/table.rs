//! The page with the table, as Markdown: `docs/reliability.md` is made of it.

use std::fmt::Write;

use crate::launcher::Played;
use crate::ledger::SaidCounts;
use crate::outcome::Outcome;

const HEAD: &str = "| row | promised | seen | messages | lost | doubled (marked) | reordered | overlapped | sessions stale | closes missing | closes doubled (marked) | said to others | noticed after | longest stall |\n\
                    |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";

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
- **reordered**: events handled behind a later event of their client, or behind its close. *Behind the close*: first
  handled behind an `on_close` that a worker ran as it had taken the client's gateway for lost.
- **overlapped**: handlers that began while another handler of their client ran. *At the cut*: handlers that ran
  in a worker when it was frozen or cut off, and had a successor before they ended. *In two workers*: marked events of a
  client whose gateway was killed when the client was on its way from one worker to the other.
- **sessions stale**: handlers that found an older session than an earlier handler of their client had left. The sessions
  of a gateway's clients end with it: *seen* says how many handlers noticed that.
- **closes missing**, **closes doubled (marked)**: connections whose `on_connect` ran, without or with a second `on_close`.
- **said to others**: what handlers of messages said to clients of other gateways, where the row looks at that: a client
  at each gateway hears them, in a group and by its client id. *Unreached*, *fenced*: the handler was told that it is
  not sent, as its worker had no link to that gateway, or as the gateway of its own client was gone. *Gone with the
  gateway, the link*: it was on its way there when that was killed or cut. *Doubled*: the message was handled again.
  *Reordered*: behind what another worker said later about the same client.
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
                    writeln!(table, "| {name} | {promised} | cannot be run: {reason} {}|", "| ".repeat(11));
            }
            (Ok(outcome), None) => table += &line(outcome),
            (Err(error), None) => {
                // The logs follow in the next lines.
                let error = format!("{error:#}").lines().next().unwrap_or_default().replace('|', " ");
                let _ = writeln!(table, "| {name} | {promised} | not played: {error} {}|", "| ".repeat(11));
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
    let and = |count: u64, others: u64, what: &str| match others {
        0 => count.to_string(),
        others => format!("{count}, and {others} {what}"),
    };
    let overlapped = and(counts.overlapped, counts.overlapped_at_the_cut, "at the cut");
    let overlapped = match counts.in_two_workers {
        0 => overlapped,
        events => format!("{overlapped}, and {events} in two workers"),
    };
    let reordered = and(counts.reordered, counts.behind_close_with_gateway, "behind the close");
    let said = counts.said.as_ref().map_or("–".into(), said);
    let noticed = counts.detection_ms.map_or("–".into(), seconds);
    format!(
        "| {row} | {promised} | {seen} | {} | {} | {} | {reordered} | {overlapped} | {} | {} | {} | {said} | {noticed} | {} |\n",
        counts.messages,
        counts.lost,
        marked(counts.doubled, counts.doubled_unmarked),
        counts.stale,
        counts.closes_missing,
        marked(counts.closes_doubled, counts.closes_doubled_unmarked),
        seconds(counts.longest_stall_ms),
    )
}

/// Says how much was said to others, and what of it has not arrived once and in order.
fn said(said: &SaidCounts) -> String {
    let mut cell = format!("{}, {} lost", said.owed, said.lost);
    let others = [
        (said.unreached, "unreached"),
        (said.fenced, "fenced"),
        (said.gone_with_gateway, "gone with the gateway"),
        (said.gone_with_link, "gone with the link"),
        (said.doubled, "doubled"),
        (said.reordered + said.reordered_between_workers, "reordered"),
    ];
    for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(cell, ", {count} {what}");
    }
    cell
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
            report: Vec::new(),
            notes: vec!["a note".into()],
            seconds: 1.0,
        };
        let line = line(&outcome);
        let columns = |line: &str| line.matches('|').count();
        assert_eq!(columns(&line), columns(HEAD.lines().next().unwrap()));
        assert!(line.contains("3 (2)") && line.contains("0.12 s") && line.contains("; a note"), "{line}");
    }
}
