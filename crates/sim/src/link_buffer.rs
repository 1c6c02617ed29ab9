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
    /// Bytes that the socket has taken.
    written: u64,
    limit: usize,
    /// `None` when the link is closed.
    socket: Option<Rc<Socket>>,
    finishing: bool,
    broken: bool,
}

impl LinkBuffer {
    /// Creates the buffer of `socket`; it is full with `limit` bytes and more.
    pub fn new(socket: Rc<Socket>, limit: usize) -> Self {
        let waiting = BytesMut::new();
        let inner =
            Inner { waiting, written: 0, limit, socket: Some(socket), finishing: false, broken: false };
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

    /// Returns how many bytes make it full.
    pub fn limit(&self) -> usize {
        self.0.borrow().limit
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

    /// Says whether the link was found broken.
    pub fn is_broken(&self) -> bool {
        self.0.borrow().broken
    }

    /// Says whether the socket was let go: all is written and the direction ended, or the link is broken.
    pub fn is_let_go(&self) -> bool {
        self.0.borrow().socket.is_none()
    }

    /// Returns how many bytes were pushed by now.
    pub fn pushed(&self) -> u64 {
        let inner = self.0.borrow();
        inner.written + inner.waiting.len() as u64
    }

    /// Returns how many bytes the socket has taken by now.
    pub fn written(&self) -> u64 {
        self.0.borrow().written
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
                Written::Bytes(n) => {
                    inner.waiting.advance(n);
                    inner.written += n as u64;
                }
                Written::Blocked => return,
                Written::Broken => {
                    inner.broken = true;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Network, NetworkOptions};

    /// A link to a process that never reads.
    fn link(limit: usize) -> (LinkBuffer, Rc<Socket>) {
        let options = NetworkOptions { capacity: 10..=10, ..NetworkOptions::default() };
        let socket = Rc::new(Network::connect(&Network::new(1, 2, options), 0, 1, 0));
        (LinkBuffer::new(socket.clone(), limit), socket)
    }

    #[test]
    fn what_the_socket_does_not_take_waits_and_fills_the_buffer() {
        let (link, _socket) = link(5);
        link.push(|out| out.extend_from_slice(b"0123456789")).unwrap();
        assert!(link.is_full());
        link.flush();
        assert!(!link.is_full() && link.waiting() == 0);
        link.push(|out| out.extend_from_slice(b"abcde")).unwrap();
        link.flush();
        assert!(link.is_full() && link.waiting() == 5 && !link.is_closed());
    }

    #[test]
    fn a_link_that_is_broken_or_finishing_takes_nothing() {
        let (broken, socket) = link(5);
        broken.push(|out| out.extend_from_slice(b"x")).unwrap();
        socket.reset();
        broken.flush();
        assert!(broken.is_closed() && broken.waiting() == 0);
        assert_eq!(broken.push(|_| panic!("nobody reads it")), Err(LinkClosed));

        let (finishing, socket) = link(5);
        finishing.push(|out| out.extend_from_slice(b"the last")).unwrap();
        finishing.finish();
        assert_eq!(finishing.push(|_| panic!("it is too late")), Err(LinkClosed));
        assert_eq!((finishing.waiting(), socket.try_write(b"x")), (0, Written::Broken));
    }
}
