//! A process's end of a connection. Nodes read and write here; what they write is delivered by `network/mod.rs`.
//!
//! Nothing here waits: a node hears of what it waits for by an input. A socket that is dropped is
//! closed as the system closes one: with a reset if bytes have arrived that nobody has read.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::pipe::{End, Pipe};
use super::{Network, ProcessId};
use crate::rng::mix;

/// The name of a socket; never used twice in a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SocketId {
    pub(super) slot: u32,
    pub(super) generation: u32,
    /// 0 for the end that connected, 1 for the one that accepted.
    pub(super) side: u8,
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.side == 0 { "c" } else { "s" };
        write!(f, "{}.{}{end}", self.slot, self.generation)
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// So many bytes were taken, at least one.
    Bytes(usize),
    /// The buffer is full. An input `Writable` follows when it has room.
    Blocked,
    /// The connection was reset, or this end has said that it writes no more.
    Broken,
}

/// What became of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes are in the buffer, at least one.
    Bytes(usize),
    /// Nothing has arrived. An input `Readable` follows when something does.
    Empty,
    /// The peer writes no more.
    End,
    /// The connection was refused or reset.
    Reset,
}

/// One end of a connection.
pub struct Socket {
    id: SocketId,
    peer: ProcessId,
    network: Rc<RefCell<Network>>,
}

impl Socket {
    pub(super) fn new(id: SocketId, peer: ProcessId, network: Rc<RefCell<Network>>) -> Self {
        Self { id, peer, network }
    }

    /// Returns the name that inputs have for this socket.
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// Returns the process at the other end.
    pub fn peer(&self) -> ProcessId {
        self.peer
    }

    /// Writes as much of `bytes` as there is room for. Writing nothing takes 0 bytes.
    pub fn try_write(&self, bytes: &[u8]) -> Written {
        self.network.borrow_mut().write(self.id, bytes)
    }

    /// Reads what has arrived, as far as `buffer` reaches.
    pub fn try_read(&self, buffer: &mut [u8]) -> ReadOutcome {
        self.network.borrow_mut().read(self.id, buffer)
    }

    /// Ends the direction from here to the peer, after what was written before.
    pub fn shutdown_write(&self) {
        self.network.borrow_mut().shutdown_write(self.id);
    }

    /// Resets the connection: bytes that are under way are lost, in both directions.
    pub fn reset(&self) {
        self.network.borrow_mut().reset(self.id);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({:?})", self.id)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Where a panic unwinds out of the network there is nothing to close any more.
        if let Ok(mut network) = self.network.try_borrow_mut() {
            network.close(self.id);
        }
    }
}

/// What sockets do to their connections.
impl Network {
    fn write(&mut self, id: SocketId, bytes: &[u8]) -> Written {
        let Some(connection) = self.connection(id) else { return Written::Broken };
        let [out, back] = connection.pipes_of(id);
        if out.end.is_some() || back.arrived_end == Some(End::Reset) {
            return Written::Broken;
        }
        let n = out.write(bytes);
        if n < bytes.len() {
            out.wants_room = true;
        }
        if n == 0 && !bytes.is_empty() {
            return Written::Blocked;
        }
        self.digest(&bytes[..n]);
        self.schedule(id);
        Written::Bytes(n)
    }

    fn read(&mut self, id: SocketId, buffer: &mut [u8]) -> ReadOutcome {
        let Some(connection) = self.connection(id) else { return ReadOutcome::Reset };
        let [out, incoming] = connection.pipes_of(id);
        let n = incoming.read(buffer);
        if n == 0 && !(buffer.is_empty() && incoming.readable() > 0) {
            return match (incoming.arrived_end, out.end) {
                (Some(End::Reset), _) | (_, Some(End::Reset)) => ReadOutcome::Reset,
                (Some(End::Closed), _) => ReadOutcome::End,
                (None, _) => ReadOutcome::Empty,
            };
        }
        // The news of room travels as what this end writes does.
        if incoming.wants_room && !self.is_cut(id) {
            if let Some(pipe) = self.pipe(id.peer()) {
                pipe.wants_room = false;
            }
            self.schedule_room(id.peer());
        }
        self.digest(&buffer[..n]);
        ReadOutcome::Bytes(n)
    }

    fn shutdown_write(&mut self, id: SocketId) {
        if let Some(pipe) = self.pipe(id) {
            pipe.end.get_or_insert(End::Closed);
        }
        self.schedule(id);
    }

    /// Resets both directions: this end finds out when it next reads or writes.
    pub(super) fn reset(&mut self, id: SocketId) {
        let Some(connection) = self.connection(id) else { return };
        connection.pipes.iter_mut().for_each(Pipe::reset);
        self.schedule(id);
        self.schedule(id.peer());
    }

    fn close(&mut self, id: SocketId) {
        let side = usize::from(id.side);
        let Some(connection) = self.connection(id) else { return };
        if !std::mem::take(&mut connection.open[side]) {
            return;
        }
        let [out, incoming] = connection.pipes_of(id);
        if incoming.readable() > 0 {
            out.reset();
        } else {
            out.end.get_or_insert(End::Closed);
        }
        self.schedule(id);
        self.free_if_over(id);
    }

    fn digest(&mut self, bytes: &[u8]) {
        let mut hash = self.hash ^ bytes.len() as u64;
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = mix(hash ^ u64::from_le_bytes(word));
        }
        self.hash = hash;
    }
}
