//! [`EventCalls`]: what the handler of one event has told gateways, whether it is written yet, and whether the
//! fence has refused a call.
//!
//! A businessworker says that an event is done only when all that its handler said is in the
//! sockets. What was said to the event's own gateway needs no look: it stands in front of that word
//! on the same link. So a handler that answers its client costs nothing here; one that sends to
//! others leaves an entry for each gateway. `link/mod.rs` notes each command, `gateway.rs` each refusal, the
//! businessworker asks.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Unreached;
use crate::call_connection::CallConnection;

/// The commands that the handler of one event has given to other gateways than the event's own, and whether
/// calls of it were refused.
///
/// It is reached through [`SessionObserver::calls`](super::worker::SessionObserver::calls), so it
/// can live in what the worker keeps for each event anyway.
#[derive(Debug)]
pub struct EventCalls {
    own: SocketAddrV4,
    /// Another gateway was told something.
    has_entries: AtomicBool,
    /// A call was refused, as the epoch was over.
    was_fenced: AtomicBool,
    /// The handler has given the event back, and has done something of it.
    is_begun: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    mark: WrittenMark,
    /// The mark was taken: what a clone of the handle says later belongs to no event.
    is_taken: bool,
}

/// Positions on call links: everything up to there is to be written. See [`EventCalls::take_mark`].
#[derive(Debug, Default)]
pub struct WrittenMark {
    positions: Vec<(Arc<CallConnection>, u64)>,
    dead: Vec<SocketAddrV4>,
}

/// How far the links of a [`WrittenMark`] are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The sockets have taken everything.
    Written,
    /// Something is still to be written.
    Waiting,
    /// The call links to these gateways were dead, or have ended before everything was written: a
    /// part is lost. Everything else is written.
    Dead(Vec<SocketAddrV4>),
}

impl EventCalls {
    /// The calls of the handler of an event that came from the gateway `own`.
    #[must_use]
    pub fn new(own: SocketAddrV4) -> Self {
        Self {
            own,
            has_entries: AtomicBool::new(false),
            was_fenced: AtomicBool::new(false),
            is_begun: AtomicBool::new(false),
            told: Mutex::default(),
        }
    }

    /// Whether the [`Fence`](super::worker::Fence) has refused a call of the handler: it has not said all that
    /// it had to say.
    pub fn was_fenced(&self) -> bool {
        self.was_fenced.load(Ordering::Acquire)
    }

    /// Notes that the handler has not said what it had to say, as if a call had been refused: the event is handled once
    /// more. `is_begun` says that the handler has done something of it.
    pub fn note_unhandled(&self, is_begun: bool) {
        self.is_begun.store(is_begun, Ordering::Release);
        self.note_fenced();
    }

    /// Whether the handler has given the event back, and has done something of it.
    pub fn is_begun(&self) -> bool {
        self.is_begun.load(Ordering::Acquire)
    }

    /// Notes that a call was refused.
    pub(crate) fn note_fenced(&self) {
        self.was_fenced.store(true, Ordering::Release);
    }

    /// Takes the positions that are to be written before the event is done, or `None` where the
    /// handler has told no other gateway anything. What is said afterwards is not noted.
    pub fn take_mark(&self) -> Option<WrittenMark> {
        if !self.has_entries.load(Ordering::Acquire) {
            return None;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.is_taken = true;
        Some(std::mem::take(&mut told.mark))
    }

    /// Notes that a command was pushed to a gateway's call link, or that there was none.
    pub(crate) fn note(&self, gateway: SocketAddrV4, told: &Result<Arc<CallConnection>, Unreached>) {
        if gateway == self.own {
            return;
        }
        let mut noted = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_taken {
            return;
        }
        match told {
            Ok(connection) => noted.mark.add(connection),
            Err(Unreached::NotConnected) => noted.mark.add_dead(gateway),
            // The handler is told that the gateway does not take it: that is no death.
            Err(_) => return,
        }
        self.has_entries.store(true, Ordering::Release);
    }
}

impl WrittenMark {
    /// Looks how far the links are. Takes no lock where everything is written.
    pub fn state(&self) -> Written {
        let mut dead = self.dead.clone();
        for (connection, position) in &self.positions {
            if connection.writer.written() >= *position {
                continue;
            }
            if !connection.writer.has_ended() {
                return Written::Waiting;
            }
            dead.push(connection.gateway);
        }
        if dead.is_empty() { Written::Written } else { Written::Dead(dead) }
    }

    /// Everything pushed to this connection by now is to be written.
    fn add(&mut self, connection: &Arc<CallConnection>) {
        let pushed = connection.writer.pushed();
        if let Some((known, position)) =
            self.positions.iter_mut().find(|(known, _)| known.gateway == connection.gateway)
        {
            if Arc::ptr_eq(known, connection) {
                *position = pushed;
                return;
            }
            let (old, up_to) = (std::mem::replace(known, connection.clone()), *position);
            *position = pushed;
            if old.writer.written() < up_to {
                self.add_dead(old.gateway);
            }
            return;
        }
        self.positions.push((connection.clone(), pushed));
    }

    fn add_dead(&mut self, gateway: SocketAddrV4) {
        if !self.dead.contains(&gateway) {
            self.dead.push(gateway);
        }
    }
}
