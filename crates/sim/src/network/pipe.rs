//! One direction of a connection: an ordered stream of bytes with a bounded buffer.
//!
//! It knows neither time nor events; `network/mod.rs` says when something is delivered.

use std::collections::VecDeque;

use super::ProcessId;
use crate::rng::Rng;

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After all of its bytes (FIN).
    Closed,
    /// At once; bytes that are under way are lost (RST).
    Reset,
}

/// What a delivery was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The beginning of the connection.
    Opening,
    /// Bytes, or the end.
    Readable,
    Nothing,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) from: ProcessId,
    pub(super) to: ProcessId,
    /// Written and not read; the first `arrived` can be read.
    bytes: VecDeque<u8>,
    arrived: usize,
    capacity: usize,
    /// The beginning of the connection has not arrived.
    pub(super) opening: bool,
    /// What the sender has put behind its bytes.
    pub(super) end: Option<End>,
    pub(super) arrived_end: Option<End>,
    /// A delivery is in the event queue.
    pub(super) is_scheduled: bool,
    /// The sender has found the buffer full.
    pub(super) wants_room: bool,
    pub(super) rng: Rng,
}

impl Pipe {
    pub(super) fn new(from: ProcessId, to: ProcessId, capacity: usize, rng: Rng) -> Self {
        Self {
            from,
            to,
            bytes: VecDeque::new(),
            arrived: 0,
            capacity: capacity.max(1),
            opening: false,
            end: None,
            arrived_end: None,
            is_scheduled: false,
            wants_room: false,
            rng,
        }
    }

    /// Bytes that the buffer takes now.
    pub(super) fn room(&self) -> usize {
        self.capacity - self.bytes.len()
    }

    /// Appends what there is room for, and returns how many bytes that was.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        self.bytes.extend(&bytes[..n]);
        n
    }

    /// Bytes that can be read.
    pub(super) fn readable(&self) -> usize {
        self.arrived
    }

    /// Takes bytes that have arrived, at most as many as `buffer` holds.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let n = buffer.len().min(self.arrived);
        let (front, back) = self.bytes.as_slices();
        let from_front = n.min(front.len());
        buffer[..from_front].copy_from_slice(&front[..from_front]);
        buffer[from_front..n].copy_from_slice(&back[..n - from_front]);
        self.bytes.drain(..n);
        self.arrived -= n;
        n
    }

    /// Drops all bytes and ends the stream with a reset.
    pub(super) fn reset(&mut self) {
        self.bytes = VecDeque::new();
        self.arrived = 0;
        self.end = Some(End::Reset);
    }

    /// Drops what has arrived, as nobody is there to read it; returns whether that was anything.
    pub(super) fn discard(&mut self) -> bool {
        let discarded = self.arrived > 0;
        self.bytes.drain(..self.arrived);
        self.arrived = 0;
        discarded
    }

    /// Something is on its way.
    pub(super) fn is_under_way(&self) -> bool {
        self.arrived_end != Some(End::Reset)
            && (self.opening || self.bytes.len() > self.arrived || self.end != self.arrived_end)
    }

    /// Lets the next thing that is under way arrive: of bytes all, or in `piece_percent` of the
    /// cases only some.
    pub(super) fn deliver(&mut self, piece_percent: u64) -> Delivery {
        if !self.is_under_way() {
            return Delivery::Nothing;
        }
        if self.end == Some(End::Reset) {
            self.arrived_end = self.end;
            return Delivery::Readable;
        }
        if self.opening {
            self.opening = false;
            return Delivery::Opening;
        }
        let under_way = self.bytes.len() - self.arrived;
        let is_piece = under_way > 1 && self.rng.chance(piece_percent);
        self.arrived += match is_piece {
            true => 1 + self.rng.below(under_way as u64 - 1) as usize,
            false => under_way,
        };
        // The end comes with the last bytes, or by itself.
        if !is_piece && (under_way == 0 || self.rng.chance(50)) {
            self.arrived_end = self.end;
        }
        Delivery::Readable
    }
}
