//! The report about a broken promise: which clients it has met, with their messages and the latest records.

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::handled::{Handled, Violations};
use super::{Connection, Ending, Ledger};

/// About so many clients the report says everything.
const CLIENTS: usize = 5;

impl Ledger {
    /// Returns a paragraph for each client with which something went wrong, whether its row allows that or not. Empty
    /// if nothing did.
    pub fn report(&self) -> Vec<String> {
        let mut clients: Vec<_> = self.sent.keys().map(|connection| self.client(*connection)).collect();
        // Clients that have never said who they are.
        let unknown = self.handled.iter().filter(|(_, handled)| handled.connection.is_none());
        clients.extend(unknown.map(|(id, handled)| {
            let wrong = wrong_in(handled, true);
            describe(&format!("client id {id:020x}"), &wrong, Some(handled))
        }));
        let mut report: Vec<_> = clients.into_iter().flatten().collect();
        let others = report.len().saturating_sub(CLIENTS);
        report.truncate(CLIENTS);
        if others > 0 {
            report.push(format!("and {others} clients more"));
        }
        report
    }

    /// Says what went wrong with a connection, if something did.
    fn client(&self, connection: Connection) -> Option<String> {
        let sent = &self.sent[&connection];
        let id = self.client_ids.get(&connection);
        let handled = id.and_then(|id| self.handled.get(id));
        let has_handled = |number: u32| handled.is_some_and(|handled| handled.has_handled(number));
        let mut wrong = Vec::new();
        let lost: Vec<_> = (1..=self.owed(connection, sent)).filter(|number| !has_handled(*number)).collect();
        if let Some(first) = lost.first() {
            let at = sent
                .unanswered
                .get(first)
                .map(|at| format!(", {first} was sent at {:.4} s", at.as_secs_f64()));
            wrong.push(format!("lost messages {}{}", ranges(&lost), at.unwrap_or_default()));
        }
        let is_harmed = self.was_harmed(sent) || self.poisoned.contains(&connection);
        let has_left = matches!(sent.ended, Some((Ending::Left, _)));
        if !is_harmed && !sent.was_not_admitted() {
            if !has_left && !sent.unanswered.is_empty() {
                let numbers: Vec<_> = sent.unanswered.keys().copied().collect();
                wrong.push(format!("no answer to messages {}", ranges(&numbers)));
            }
            if !sent.was_ended_by_client() {
                wrong.push("cut off".into());
            }
        }
        wrong.extend(handled.iter().flat_map(|handled| wrong_in(handled, sent.ended.is_some())));
        wrong.extend(self.unheard(connection));
        let mut who = format!("client {} connection {}", connection.client, connection.number);
        if let Some(id) = id {
            let _ = write!(who, ", id {id:020x}");
        }
        let _ = write!(who, ", at gateway {} from {:.4} s", sent.gateway, sent.opened.as_secs_f64());
        if let Some((ending, at)) = sent.ended {
            let _ = write!(who, " to {:.4} s ({ending:?})", at.as_secs_f64());
        }
        let _ = write!(who, ", {} messages", sent.messages);
        describe(&who, &wrong, handled)
    }

    /// Says what observers have not heard, or not as they should, about a connection's messages.
    fn unheard(&self, connection: Connection) -> Vec<String> {
        let mut wrong = Vec::new();
        for (index, observer) in self.observers.iter().enumerate() {
            let lost = self.lost_to(observer, index, connection);
            if !lost.is_empty() {
                wrong.push(format!("the observer at {} has not heard {}", observer.gateway, ranges(&lost)));
            }
            let reordered = observer.arrived(connection).map_or(0, |arrived| arrived.reordered);
            if reordered > 0 {
                wrong
                    .push(format!("the observer at {} has heard {reordered} out of order", observer.gateway));
            }
        }
        wrong
    }
}

/// Says what went wrong in the handlers of a client.
fn wrong_in(handled: &Handled, has_ended: bool) -> Vec<String> {
    let Violations {
        reordered, reordered_marked, behind_close, overlapped, overlapped_marked, stale, ..
    } = handled.violations;
    let counts = [
        (reordered + reordered_marked, "out of order"),
        (behind_close, "behind the close"),
        (overlapped + overlapped_marked, "overlapped"),
        (stale, "with a stale session"),
        (handled.doubled_unmarked(), "doubled without the mark"),
        (handled.close.doubled_unmarked(), "closes doubled without the mark"),
        (handled.connects_missing(), "connects missing"),
        (u64::from(has_ended && handled.was_connected() && handled.close.ended == 0), "closes missing"),
    ];
    counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

/// Puts a paragraph together, if something went wrong.
fn describe(who: &str, wrong: &[String], handled: Option<&Handled>) -> Option<String> {
    if wrong.is_empty() {
        return None;
    }
    let mut text = format!("{who}: {}", wrong.join("; "));
    for entry in handled.iter().flat_map(|handled| handled.recent.entries()) {
        let _ = write!(text, "\n  {entry}");
    }
    Some(text)
}

/// Writes rising numbers with their gaps: `3-5, 9`.
fn ranges(numbers: &[u32]) -> String {
    let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end() + 1 == *number => *last = *last.start()..=*number,
            _ => ranges.push(*number..=*number),
        }
    }
    let show = |range: &RangeInclusive<u32>| match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    };
    ranges.iter().map(show).collect::<Vec<_>>().join(", ")
}
