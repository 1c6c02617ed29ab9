//! The events of one client that no worker has finished: those that its worker was given, and behind
//! them those that wait to be given.
//!
//! Plain data: it gives nothing and counts nothing on a link. `delivery` and `moving` do, with the
//! numbers that are returned here. A log is only there while it holds something; its memory is used
//! again ([`FreeLogs`]), so that a message costs no allocation.

mod free_logs;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use gatewayworker_protocol::code;
use gatewayworker_protocol::frame::FLAG_REDELIVERED;

use super::delivery_settings::{DeliveryMode, DeliverySettings};
use super::worker_link::WorkerLink;
pub(super) use free_logs::FreeLogs;

/// An event, without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// The command: an event's, or ADOPT.
    pub(super) cmd: u8,
    /// The frame's flag bits.
    pub(super) flag: u8,
    /// How many workers have ended while this was the first event that they had of the client.
    pub(super) tries: u8,
    /// The length of the body.
    len: u32,
    /// What the link of the worker that has the event counts for it.
    counted: u32,
}

/// The log of one client.
#[derive(Debug)]
pub(super) struct EventLog<B> {
    events: VecDeque<Event>,
    /// The events' bodies, in their order, from `start` on.
    bodies: Vec<u8>,
    start: usize,
    /// The first so many events are with the worker,
    given: usize,
    /// and so many bytes of bodies are theirs.
    given_len: usize,
    /// The first event is with the worker and counts as suspect in the directory.
    pub(super) is_suspect_given: bool,
    /// The first event that waits is suspect, and the client is on the shard's list of those that wait for
    /// their turn as one.
    pub(super) is_suspect_waiting: bool,
    /// The client is refused, not admitted, or one of its events cannot be handled: no handler runs for it
    /// any more, but `on_close`.
    is_cut_short: bool,
    /// The worker has returned what waits, and its link is still open: that it drains is about to be
    /// read on its other link. It would return the events again.
    pub(super) is_returned: bool,
    /// The worker that had the client before, until the ADOPT is done, or is lost while no other worker
    /// is linked.
    pub(super) moved_from: Option<Arc<WorkerLink<B>>>,
    /// Since when the first event is the first.
    since_ms: u64,
}

/// Events that have left the worker's hands, for the counters of its link.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// How many.
    pub(super) events: usize,
    /// What the link counted for them.
    pub(super) bytes: usize,
    /// An ADOPT was among them.
    pub(super) is_adopted: bool,
    /// The first event was suspect, and is no more with a worker.
    pub(super) was_suspect: bool,
}

/// What became of the events that a worker had when it went.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    /// The events that are with the worker no more.
    pub(super) ended: Ended,
    /// How many of them are given again.
    pub(super) again: usize,
    /// How many of them are dropped.
    pub(super) dropped: usize,
    /// How many workers have ended with what is now the first event.
    pub(super) tries: u8,
}

impl<B> Default for EventLog<B> {
    fn default() -> Self {
        Self {
            events: VecDeque::new(),
            bodies: Vec::new(),
            start: 0,
            given: 0,
            given_len: 0,
            is_suspect_given: false,
            is_suspect_waiting: false,
            is_cut_short: false,
            is_returned: false,
            moved_from: None,
            since_ms: 0,
        }
    }
}

impl<B> EventLog<B> {
    /// Appends an event that waits.
    pub(super) fn push(&mut self, cmd: u8, flag: u8, body: &[u8]) {
        self.bodies.extend_from_slice(body);
        // A body fits into a frame, whose length has 32 bits.
        self.events.push_back(Event { cmd, flag, tries: 0, len: body.len() as u32, counted: 0 });
    }

    /// Appends an event that the worker was given already, behind events that it has all been given.
    #[inline]
    pub(super) fn push_given(&mut self, cmd: u8, flag: u8, body: &[u8], counted: usize) {
        self.bodies.extend_from_slice(body);
        let (len, counted) = (body.len() as u32, counted as u32);
        self.events.push_back(Event { cmd, flag, tries: 0, len, counted });
        self.given += 1;
        self.given_len += body.len();
    }

    /// Puts an ADOPT before all others. No event may be with the worker.
    pub(super) fn push_adopt(&mut self, flag: u8) {
        self.events.push_front(Event { cmd: code::ADOPT, flag, tries: 0, len: 0, counted: 0 });
    }

    /// The first event, whether the worker has it or not.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn first(&self) -> Option<Event> {
        self.events.front().copied()
    }

    /// The first event that waits, and its body.
    pub(super) fn next(&self) -> Option<(Event, &[u8])> {
        let event = *self.events.get(self.given)?;
        let from = self.start + self.given_len;
        Some((event, &self.bodies[from..from + event.len as usize]))
    }

    /// All events in their order, with their bodies.
    pub(super) fn bodies(&self) -> impl Iterator<Item = (Event, &[u8])> {
        self.events.iter().scan(self.start, |from, event| {
            let body = *from..*from + event.len as usize;
            *from = body.end;
            Some((*event, &self.bodies[body]))
        })
    }

    /// The command of the first event that waits.
    pub(super) fn next_cmd(&self) -> Option<u8> {
        self.events.get(self.given).map(|event| event.cmd)
    }

    /// The first event that waits is with the worker now, whose link counts so many bytes for it.
    pub(super) fn give_next(&mut self, counted: usize) {
        if let Some(event) = self.events.get_mut(self.given) {
            event.counted = counted as u32;
            self.given += 1;
            self.given_len += event.len as usize;
        }
    }

    /// Inserts bytes into the body of the first event that waits, behind its first ones, and sets a flag of it.
    pub(super) fn insert_into_next(&mut self, flag: u8, behind: usize, bytes: &[u8]) {
        if let Some(event) = self.events.get_mut(self.given) {
            let at = self.start + self.given_len + behind.min(event.len as usize);
            self.bodies.splice(at..at, bytes.iter().copied());
            event.len += bytes.len() as u32;
            event.flag |= flag;
        }
    }

    /// Takes the last event out, with its body, where it waits, no worker was given it before, and it has such a command.
    pub(super) fn take_last_waiting(&mut self, is_such: impl Fn(u8) -> bool) -> Option<(Event, Vec<u8>)> {
        let last = *self.events.back()?;
        if !self.has_waiting() || last.flag & FLAG_REDELIVERED != 0 || !is_such(last.cmd) {
            return None;
        }
        self.events.pop_back();
        let body = self.bodies.split_off(self.bodies.len() - last.len as usize);
        self.compact();
        Some((last, body))
    }

    /// Takes the first event that waits out.
    pub(super) fn remove_next(&mut self) {
        let at = self.given;
        self.retain(|index, _| index != at);
    }

    /// The first events are finished, and others are left: the wait for the next one begins.
    #[inline]
    pub(super) fn restart(&mut self, now_ms: u64) {
        self.since_ms = now_ms;
    }

    /// Takes the first events that the worker has out: it has finished so many.
    #[inline]
    pub(super) fn finish(&mut self, events: usize) -> Ended {
        let mut ended = Ended { events: events.min(self.given), ..Ended::default() };
        for _ in 0..ended.events {
            let Some(event) = self.events.pop_front() else { break };
            ended.bytes += event.counted as usize;
            self.start += event.len as usize;
            self.given_len -= event.len as usize;
            if event.cmd == code::ADOPT {
                ended.is_adopted = true;
            } else if self.is_suspect_given {
                self.is_suspect_given = false;
                ended.was_suspect = true;
            }
        }
        self.given -= ended.events;
        self.compact();
        ended
    }

    /// Drops the bytes of finished events, when they are most of what is held.
    #[inline]
    fn compact(&mut self) {
        if self.events.is_empty() {
            self.bodies.clear();
            self.start = 0;
        } else if self.start > self.bodies.len() / 2 {
            self.bodies.drain(..self.start);
            self.start = 0;
        }
    }

    /// Takes the last events back that the worker has and has not finished: they wait again. An ADOPT
    /// among them is dropped. The first of them is marked as redelivered where it `is_begun`; the others were not.
    pub(super) fn take_back(&mut self, events: usize, is_begun: bool) -> Ended {
        let mut ended = Ended { events: events.min(self.given), ..Ended::default() };
        for _ in 0..ended.events {
            self.given -= 1;
            let event = self.events[self.given];
            ended.bytes += event.counted as usize;
            self.given_len -= event.len as usize;
            if event.cmd == code::ADOPT {
                self.events.pop_front();
            } else if event.tries > 0 && self.is_suspect_given {
                self.is_suspect_given = false;
                ended.was_suspect = true;
            }
        }
        if is_begun
            && ended.events > 0
            && let Some(first) = self.events.get_mut(self.given)
        {
            first.flag |= FLAG_REDELIVERED;
        }
        if self.is_cut_short {
            self.drop_waiting();
        }
        ended
    }

    /// The worker is gone: what it had waits again, marked as redelivered, or is dropped, as the mode
    /// says. Where its connection has ended, that counts as a try of the first event.
    pub(super) fn settle(&mut self, mode: DeliveryMode, has_ended: bool) -> Settled {
        let is_suspect = std::mem::take(&mut self.is_suspect_given);
        let mut settled = Settled::default();
        let given = self.given;
        settled.ended.events = given;
        settled.ended.bytes = self.events.range(..given).map(|event| event.counted as usize).sum();
        settled.ended.was_suspect = is_suspect;
        let mut is_first = true;
        let is_cut_short = self.is_cut_short;
        for event in self.events.range_mut(..given).filter(|event| event.cmd != code::ADOPT) {
            event.flag |= FLAG_REDELIVERED;
            event.tries = event.tries.saturating_add(u8::from(has_ended && is_first));
            is_first = false;
        }
        (self.given, self.given_len) = (0, 0);
        self.retain(|index, event| {
            let is_adopt = event.cmd == code::ADOPT;
            if is_cut_short && !is_adopt && !matches!(event.cmd, code::ON_CONNECT | code::ON_CLOSE) {
                return false;
            }
            let is_dropped = index < given && mode == DeliveryMode::AtMostOnce && event.cmd != code::ON_CLOSE;
            settled.again += usize::from(index < given && !is_dropped && !is_adopt);
            settled.dropped += usize::from(is_dropped && !is_adopt);
            !is_dropped && !is_adopt
        });
        settled.tries = self.events.front().map_or(0, |event| event.tries);
        settled
    }

    /// Drops the events that wait, and those that come back from a worker: all but ON_CLOSE, and the
    /// ON_CONNECT that it answers.
    pub(super) fn cut_short(&mut self) {
        self.is_cut_short = true;
        self.drop_waiting();
    }

    fn drop_waiting(&mut self) {
        let given = self.given;
        self.retain(|index, event| index < given || matches!(event.cmd, code::ON_CONNECT | code::ON_CLOSE));
    }

    /// Takes the first event out, which no worker has.
    pub(super) fn remove_first(&mut self) -> Option<Event> {
        let first = *self.events.front()?;
        self.retain(|index, _| index != 0);
        Some(first)
    }

    /// Keeps some events; those that are with the worker must be among them.
    fn retain(&mut self, mut keep: impl FnMut(usize, &Event) -> bool) {
        let (mut from, mut to, mut index) = (self.start, self.start, 0);
        let bodies = &mut self.bodies;
        self.events.retain(|event| {
            let body = from..from + event.len as usize;
            from = body.end;
            let is_kept = keep(index, event);
            index += 1;
            if is_kept {
                let len = body.len();
                if body.start != to {
                    bodies.copy_within(body, to);
                }
                to += len;
            }
            is_kept
        });
        self.bodies.truncate(to);
        self.compact();
    }

    /// Whether it holds nothing: no event, and no worker that is to be told of a move.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.moved_from.is_none()
    }

    /// Returns since when the oldest event is the first one here, in ms of the shard's clock. It is the time of the
    /// shard's last input that had one: the event came before that, or at that time.
    pub(super) fn oldest_since_ms(&self) -> u64 {
        self.since_ms
    }

    /// How many events there are, with the worker or not.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// How many events are with the worker.
    #[inline]
    pub(super) fn given(&self) -> usize {
        self.given
    }

    /// Whether an event waits to be given.
    #[inline]
    pub(super) fn has_waiting(&self) -> bool {
        self.events.len() > self.given
    }

    /// Whether the client has to be quiet: so many events, or bytes of them, are unfinished or wait.
    #[inline]
    pub(super) fn is_window_full(&self, settings: &DeliverySettings) -> bool {
        self.events.len() >= settings.window_events || self.bytes() >= settings.window_bytes
    }

    /// Whether a client that had to be quiet may go on.
    pub(super) fn is_window_half_empty(&self, settings: &DeliverySettings) -> bool {
        self.events.len() <= settings.window_events / 2 && self.bytes() <= settings.window_bytes / 2
    }

    /// The bytes of all bodies.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.bodies.len() - self.start
    }

    /// Whether the client's handshake is among the events.
    pub(super) fn has_handshake(&self) -> bool {
        self.events.iter().any(|event| event.cmd == code::ON_WEBSOCKET_CONNECT)
    }

    /// Whether the handshake waits to be given.
    pub(super) fn is_handshake_waiting(&self) -> bool {
        self.events.range(self.given..).any(|event| event.cmd == code::ON_WEBSOCKET_CONNECT)
    }

    /// Whether `on_connect` has not been begun for the client by any worker.
    pub(super) fn is_unheard_of(&self) -> bool {
        let mut waiting = self.events.range(self.given..);
        waiting
            .next()
            .is_some_and(|event| event.cmd == code::ON_CONNECT && event.flag & FLAG_REDELIVERED == 0)
            && waiting.all(|event| event.cmd != code::ON_MESSAGE)
    }

    /// Whether some worker was given one of the events before.
    pub(super) fn was_given_before(&self) -> bool {
        self.events.iter().any(|event| event.flag & FLAG_REDELIVERED != 0)
    }

    /// What the link of the worker counts for the events that the worker has.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn counted(&self) -> usize {
        self.events.range(..self.given).map(|event| event.counted as usize).sum()
    }

    /// Checks that the log agrees with itself.
    ///
    /// # Errors
    /// With what does not agree.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn check(&self) -> Result<(), String> {
        let len = |events: std::collections::vec_deque::Iter<'_, Event>| -> usize {
            events.map(|event| event.len as usize).sum()
        };
        if self.is_empty() {
            return Err("an empty log is kept".to_owned());
        }
        if self.given > self.events.len() {
            return Err(format!("{} of {} events are given", self.given, self.events.len()));
        }
        if (len(self.events.iter()), len(self.events.range(..self.given))) != (self.bytes(), self.given_len) {
            return Err("the bytes of a log are counted wrongly".to_owned());
        }
        let behind = self.events.iter().filter(|event| event.cmd != code::ADOPT).skip(1);
        if behind.into_iter().any(|event| event.tries > 0)
            || self.events.iter().skip(1).any(|event| event.cmd == code::ADOPT)
        {
            return Err("an event that is not the first is an ADOPT, or has been tried".to_owned());
        }
        Ok(())
    }

    /// The commands of all events, for tests.
    #[cfg(any(test, feature = "internals"))]
    pub(super) fn commands(&self) -> impl Iterator<Item = u8> {
        self.events.iter().map(|event| event.cmd)
    }
}
