//! Writing to clients and workers, once a turn.
//!
//! Whoever queued something has rung the bell; the task here runs after the
//! tasks that were ready before it, so that all they queued leaves together. A
//! broadcast to many is flushed in slices, and before each the replies to single
//! clients: an echo does not wait behind 18,000 writes.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewayworker_protocol::CloseReason;

use super::table::{Client, Key};
use super::{Shard, State};
use crate::closing;
use crate::door::Speaks;
use crate::outbox::Flushed;
use crate::socket::Socket;

/// Clients of a broadcast that are written to before others get a turn.
const SLICE: usize = 256;

/// How long a flush waits for more to leave with it, while more keeps coming. A write
/// to a client costs as much as several looks for more.
const GATHER: Duration = Duration::from_micros(100);

impl Shard {
    pub(super) async fn flush_for_ever(self: Rc<Self>) {
        loop {
            self.dirty.notified().await;
            self.gather().await;
            while self.flush_slice() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Lets those have their turn that have become ready meanwhile, as long as there
    /// are any, for a moment: what they queue leaves in the same writes.
    async fn gather(&self) {
        let since = Instant::now();
        let mut rung = self.rung.replace(false);
        while rung && since.elapsed() < GATHER {
            tokio::task::yield_now().await;
            rung = self.rung.replace(false);
        }
    }

    /// Asks for a flush at the end of this turn.
    pub(super) fn flush_later(&self) {
        self.rung.set(true);
        self.dirty.notify_one();
    }

    /// Flushes links, replies, and a slice of the broadcast; says whether there
    /// is more to flush: of that, or of what came up meanwhile.
    pub(crate) fn flush_slice(self: &Rc<Self>) -> bool {
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
        if state.bulk.is_empty() {
            // A broadcast to a crowd may have been the last for long.
            state.bulk.shrink_to(1024);
        }
        !state.bulk.is_empty() || !state.links.is_empty()
    }

    fn flush_client(self: &Rc<Self>, state: &mut State, key: Key) {
        let Some(client) = state.table.get(key) else { return };
        client.turn = None;
        if client.blocked.is_some() {
            return;
        }
        match client.outbox.flush(&client.socket) {
            Flushed::Empty => {}
            Flushed::Blocked => {
                let unblocking = self.clone().unblock(key, client.socket.clone());
                client.blocked = Some(tokio::task::spawn_local(unblocking).abort_handle());
                state.blocked_bytes += client.outbox.bytes();
            }
            Flushed::Broken => self.close_in(state, key, CloseReason::ClientLeft, None),
        }
    }

    /// Writes to a client whose socket was full, as it takes it; aborted when the
    /// client is closed.
    async fn unblock(self: Rc<Self>, key: Key, socket: Rc<Socket>) {
        loop {
            if socket.tcp().writable().await.is_err() {
                return self.close(key, CloseReason::ClientLeft, None);
            }
            let mut state = self.state.borrow_mut();
            let Some(client) = state.table.get(key) else { return };
            let before = client.outbox.bytes();
            let flushed = client.outbox.flush(&client.socket);
            let written = before - client.outbox.bytes();
            if flushed == Flushed::Empty {
                client.blocked = None;
            }
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
        let left = reason == CloseReason::ClientLeft;
        // What is last at a WebSocket listener ends with a close frame, which a client that
        // has sent one does not answer again.
        let with_close_frame = last.is_some() && !left && matches!(client.door.speaks, Speaks::WebSocket(_));
        if reason == CloseReason::SlowConsumer {
            // It would not read it soon, and is to hear why it is closed.
            client.outbox.drop_unsent(&client.socket);
        }
        // One try for what is queued. If the peer is gone, or is to be gone now, that is all.
        let at_once = match reason {
            CloseReason::Destroyed => true,
            CloseReason::TimedOut => last.is_none(),
            _ => false,
        };
        if let Some(last) = last {
            client.outbox.push(last);
        }
        let flushed = match left || at_once {
            true => client.outbox.flush_last(&client.socket),
            false => client.outbox.flush(&client.socket),
        };
        let is_over = match flushed {
            Flushed::Broken => true,
            Flushed::Empty => at_once || left,
            // Nothing was heard of it, and it takes nothing.
            Flushed::Blocked => at_once || reason == CloseReason::TimedOut,
        };
        if is_over {
            if flushed == Flushed::Empty {
                client.socket.say_goodbye();
            }
            return;
        }
        self.closing.spawn_local(async move {
            let socket = client.socket.clone();
            let slow = reason == CloseReason::SlowConsumer;
            closing::end(&socket, &mut client.outbox, with_close_frame, slow).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use gatewayworker_protocol::command::code;
    use gatewayworker_protocol::{Frame, MAX_FRAME_LEN, Payload};
    use socket2::SockRef;
    use tokio::io::AsyncReadExt;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::super::testing;
    use super::*;
    use crate::config::Config;
    use crate::order::Order;

    fn send(shard: &Rc<Shard>, bytes: usize) {
        let message = Payload::plain(vec![b'x'; bytes]);
        shard.obey([Order::SendToOne(1, message)]);
    }

    #[tokio::test]
    async fn the_close_of_a_client_that_is_found_gone_while_flushing_is_told_at_once() {
        let test = async {
            let shard = testing::shard(Config::default());
            let (worker, mut peer) = testing::worker(&shard.shared, 1000).await;
            let (key, _client) = testing::client(&shard, 1, &worker).await;
            let socket = shard.state.borrow_mut().table.get(key).unwrap().socket.clone();
            SockRef::from(socket.tcp()).shutdown(std::net::Shutdown::Write).unwrap();
            spawn_local(shard.clone().flush_for_ever());
            send(&shard, 1);
            let mut buffer = BytesMut::new();
            let told = async {
                loop {
                    if let Some(frame) = Frame::parse(&mut buffer, MAX_FRAME_LEN).unwrap() {
                        return frame.cmd;
                    }
                    peer.read_buf(&mut buffer).await.unwrap();
                }
            };
            let told = tokio::time::timeout(Duration::from_secs(10), told).await;
            assert_eq!(told.expect("a close that waits for the next event"), code::ON_CLOSE);
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn a_client_whose_socket_is_full_is_let_go_of_when_it_is_destroyed() {
        let test = async {
            let shard = testing::shard(Config::default());
            let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
            let (key, _client) = testing::client(&shard, 1, &worker).await;
            spawn_local(shard.clone().flush_for_ever());
            let is = |what: fn(&Client) -> bool| what(shard.state.borrow_mut().table.get(key).unwrap());
            while !is(|client| client.blocked.is_some()) {
                send(&shard, 900_000);
                while is(|client| client.turn.is_some()) {
                    yield_now().await;
                }
            }
            assert!(shard.state.borrow().blocked_bytes > 0);
            let socket = Rc::downgrade(&shard.state.borrow_mut().table.get(key).unwrap().socket);
            shard.obey(vec![Order::Destroy(1)]);
            assert_eq!(shard.state.borrow().blocked_bytes, 0);
            for _ in 0..100 {
                yield_now().await;
            }
            assert_eq!(socket.strong_count(), 0, "somebody holds the connection open");
        };
        LocalSet::new().run_until(test).await;
    }
}
