//! The sending end of a link: a bounded buffer in front of a socket, as `LinkWriter` is in the daemons.
//!
//! Cores push frames into it; the node flushes it at the end of each step and when the socket is
//! writable. Clones share one buffer. Nothing is lost while the link is open: who pushes looks at
//! `is_full` before it takes more work on.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::{Buf, BytesMut};

use crate::network::{Socket, Written};

/// The link is closed; what was pushed is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkClosed;

/// The sending end of a link.
#[derive(Debug, Clone)]
pub struct LinkBuffer(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    waiting: BytesMut,
    limit: usize,
    /// `None` when the link is closed.
    socket: Option<Rc<Socket>>,
    finishing: bool,
}

impl LinkBuffer {
    /// Creates the buffer of `socket`; it is full with `limit` bytes and more.
    pub fn new(socket: Rc<Socket>, limit: usize) -> Self {
        let inner = Inner { waiting: BytesMut::new(), limit, socket: Some(socket), finishing: false };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Lets `write` append frames.
    ///
    /// # Errors
    /// When the link is closed; then `write` is not called.
    pub fn push(&self, write: impl FnOnce(&mut BytesMut)) -> Result<(), LinkClosed> {
        let mut inner = self.0.borrow_mut();
        if inner.socket.is_none() || inner.finishing {
            return Err(LinkClosed);
        }
        write(&mut inner.waiting);
        Ok(())
    }

    /// Says whether pushing more should wait until a flush has made room.
    pub fn is_full(&self) -> bool {
        let inner = self.0.borrow();
        inner.waiting.len() >= inner.limit
    }

    /// Says whether the link takes nothing any more.
    pub fn is_closed(&self) -> bool {
        let inner = self.0.borrow();
        inner.socket.is_none() || inner.finishing
    }

    /// Returns how many bytes wait.
    pub fn waiting(&self) -> usize {
        self.0.borrow().waiting.len()
    }

    /// Writes what the socket takes. A socket that is broken closes the link.
    pub fn flush(&self) {
        let mut inner = self.0.borrow_mut();
        let Some(socket) = inner.socket.clone() else { return };
        while !inner.waiting.is_empty() {
            match socket.try_write(&inner.waiting) {
                Written::Bytes(n) => inner.waiting.advance(n),
                Written::Blocked => return,
                Written::Broken => {
                    inner.waiting.clear();
                    inner.socket = None;
                    return;
                }
            }
        }
        if inner.finishing {
            socket.shutdown_write();
            inner.socket = None;
        }
    }

    /// Takes no more, and ends this direction once all is written.
    pub fn finish(&self) {
        self.0.borrow_mut().finishing = true;
        self.flush();
    }

    /// Drops what waits and lets go of the socket.
    pub fn close(&self) {
        let mut inner = self.0.borrow_mut();
        inner.waiting.clear();
        inner.socket = None;
    }
}
