//! Writing to clients and workers, once a turn.
//!
//! Whoever queued something has rung the bell; the task here runs after the
//! tasks that were ready before it, so that all they queued leaves together. A
//! broadcast to many is flushed in slices, and before each the replies to single
//! clients: an echo does not wait behind 18,000 writes.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::tcp::OwnedWriteHalf;

use super::table::{Client, Key};
use super::{Shard, State};
use crate::close_reason::CloseReason;
use crate::outbox::Flushed;

/// Clients of a broadcast that are written to before others get a turn.
const SLICE: usize = 128;

/// How long a connection may take to end: to take what is left for it, and to
/// close its side. RFC 6455 section 7.1.1 lets the server wait for that.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Shard {
    pub(super) async fn flush_for_ever(self: Rc<Self>) {
        loop {
            self.dirty.notified().await;
            while self.flush_slice() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Flushes links, replies, and a slice of the broadcast; says whether there
    /// is more of it.
    fn flush_slice(self: &Rc<Self>) -> bool {
        let mut state = self.state.borrow_mut();
        for link in state.links.drain(..) {
            link.writer.flush();
        }
        let mut urgent = std::mem::take(&mut state.urgent);
        for key in urgent.drain(..) {
            self.flush_client(&mut state, key);
        }
        state.urgent = urgent;
        for _ in 0..SLICE {
            let Some(key) = state.bulk.pop_front() else { break };
            self.flush_client(&mut state, key);
        }
        !state.bulk.is_empty()
    }

    fn flush_client(self: &Rc<Self>, state: &mut State, key: Key) {
        let Some(client) = state.table.get(key) else { return };
        client.dirty = false;
        if client.blocked {
            return;
        }
        match client.outbox.flush(client.socket.as_ref().as_ref()) {
            Flushed::Empty => {}
            Flushed::Blocked => {
                client.blocked = true;
                let (bytes, socket) = (client.outbox.bytes(), client.socket.clone());
                state.blocked_bytes += bytes;
                tokio::task::spawn_local(self.clone().unblock(key, socket));
            }
            Flushed::Broken => self.close_in(state, key, CloseReason::ClientLeft, None),
        }
    }

    /// Writes to a client whose socket was full, as it takes it.
    async fn unblock(self: Rc<Self>, key: Key, socket: Rc<OwnedWriteHalf>) {
        loop {
            if socket.as_ref().as_ref().writable().await.is_err() {
                return self.close(key, CloseReason::ClientLeft, None);
            }
            let mut state = self.state.borrow_mut();
            let Some(client) = state.table.get(key) else { return };
            let before = client.outbox.bytes();
            let flushed = client.outbox.flush(client.socket.as_ref().as_ref());
            let written = before - client.outbox.bytes();
            client.blocked = flushed != Flushed::Empty;
            state.blocked_bytes -= written;
            match flushed {
                Flushed::Empty => return,
                Flushed::Blocked => {}
                Flushed::Broken => {
                    drop(state);
                    return self.close(key, CloseReason::ClientLeft, None);
                }
            }
        }
    }

    /// Ends the connection of a client that is out of the table already.
    pub(super) fn finish(&self, mut client: Client, reason: CloseReason, last: Option<Bytes>) {
        if let Some(last) = last {
            client.outbox.push(last);
        }
        // One try for what is queued. If the peer is gone, or is to be gone now, that is all.
        let flushed = client.outbox.flush(client.socket.as_ref().as_ref());
        let at_once = matches!(reason, CloseReason::Destroyed | CloseReason::TimedOut);
        let left = reason == CloseReason::ClientLeft && flushed == Flushed::Empty;
        if flushed == Flushed::Broken || at_once || left {
            return;
        }
        self.closing.spawn_local(async move {
            // Whoever takes longer is cut off.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, end(client)).await;
        });
    }
}

/// Writes what is left, says that nothing more will come, and reads until the
/// peer says the same: closing with unread bytes would reset the connection, and
/// could take the last message with it.
async fn end(mut client: Client) {
    let socket = client.socket.as_ref().as_ref();
    while client.outbox.flush(socket) == Flushed::Blocked {
        if socket.writable().await.is_err() {
            return;
        }
    }
    if SockRef::from(socket).shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let mut sink = [0; 1024];
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        match socket.try_read(&mut sink) {
            Ok(0) => return,
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}
