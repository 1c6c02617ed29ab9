//! One end of a link in this scenario: what has arrived, and what is still to be written.

use std::rc::Rc;

use bytes::BytesMut;

use crate::link_buffer::LinkBuffer;
use crate::network::{ReadOutcome, Socket, SocketId};

/// The port of call links,
pub(super) const CALL: u16 = 1;

/// and of interest links.
pub(super) const INTEREST: u16 = 2;

/// What a link holds that its peer does not read; with more the gateway cuts a subscriber off.
const OUTBOX: usize = 32 * 1024;

/// An end of a link.
#[derive(Debug)]
pub(super) struct Link {
    socket: Rc<Socket>,
    pub(super) buffer: LinkBuffer,
    pub(super) arrived: BytesMut,
}

impl Link {
    pub(super) fn new(socket: Socket) -> Self {
        let socket = Rc::new(socket);
        Self { buffer: LinkBuffer::new(socket.clone(), OUTBOX), socket, arrived: BytesMut::new() }
    }

    pub(super) fn id(&self) -> SocketId {
        self.socket.id()
    }

    /// The number of the connection, which both ends have.
    pub(super) fn connection(&self) -> u64 {
        self.socket.id().number() >> 1
    }

    /// Reads all that has arrived. Returns how the reading ended: not with bytes.
    pub(super) fn read(&mut self) -> ReadOutcome {
        let mut scratch = [0; 1024];
        loop {
            match self.socket.try_read(&mut scratch) {
                ReadOutcome::Bytes(n) => self.arrived.extend_from_slice(&scratch[..n]),
                outcome => return outcome,
            }
        }
    }
}
