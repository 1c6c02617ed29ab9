//! A process's end of a connection. Nodes read and write here; what they write is delivered by `network/mod.rs`.
//!
//! Nothing here waits: a node hears of what it waits for by an input. A socket that is dropped is
//! closed as the system closes one: with a reset if bytes have arrived that nobody has read.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::{Network, ProcessId};

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
