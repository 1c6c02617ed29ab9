//! The latest records of one client, for a report about what went wrong with it.
//!
//! `handled` enters them, `report` shows them.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::record::{Event, Kind};

/// So many records are kept, and so many follow the first violation.
const KEPT: usize = 24;
const KEPT_BEHIND: usize = 8;

/// So many are kept of a client whose close was handled, and with which nothing went wrong.
const KEPT_OF_CLOSED: usize = 4;

/// The latest records of one client, or those around its first violation.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<Entry>,
    /// How many are still entered, after a violation.
    left: Option<usize>,
}

/// One record, in short.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    at: Duration,
    what: What,
    worker: u32,
    kind: Kind,
    redelivered: bool,
}

/// What a handler has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Begins,
    Ends,
    IsCancelled,
}

impl Recent {
    pub(super) fn enter(&mut self, what: What, event: &Event, at: Duration) {
        if let Some(left) = &mut self.left {
            let Some(fewer) = left.checked_sub(1) else { return };
            *left = fewer;
        }
        let Event { worker, kind, redelivered, .. } = *event;
        self.entries.push_back(Entry { at, what, worker, kind, redelivered });
        self.keep(KEPT);
        if (what, kind) == (What::Ends, Kind::Close) && self.left.is_none() {
            self.keep(KEPT_OF_CLOSED);
            self.entries.shrink_to_fit();
        }
    }

    fn keep(&mut self, number: usize) {
        while self.entries.len() > number {
            self.entries.pop_front();
        }
    }

    /// The record that was entered last is a violation.
    pub(super) fn has_violation(&mut self) {
        self.left.get_or_insert(KEPT_BEHIND);
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Begins => "begins",
            What::Ends => "ends",
            What::IsCancelled => "is cancelled",
        };
        let mark = if self.redelivered { ", marked" } else { "" };
        write!(f, "{:.4} s: in worker {} ", self.at.as_secs_f64(), self.worker)?;
        match self.kind {
            Kind::Connect => f.write_str("on_connect"),
            Kind::Handshake => f.write_str("on_websocket_connect"),
            Kind::Message(number) => write!(f, "message {number}"),
            Kind::Close => f.write_str("on_close"),
        }?;
        write!(f, " {what}{mark}")
    }
}
