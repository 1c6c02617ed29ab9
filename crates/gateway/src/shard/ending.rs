//! The effects of the core, carried out: ending connections, waiting for full sockets, logging.
//!
//! [`ShardThread::input`] calls it after each input, with the core not borrowed.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use gatewayworker_protocol::CloseReason;
use tracing::{info, warn};

use super::ShardThread;
use super::connection::{ClientConnection, GatewayPorts};
use super::trace::unix_ms;
use crate::closes::Closed;
use crate::closing;
use crate::core::effects::{Effect, Finished, Notice};
use crate::core::event_spans::SpanChange;
use crate::core::flush::Writable;
use crate::core::outbox::Flushed;
use crate::core::ports::Transmit;
use crate::core::table::Key;
use crate::transmit::flush_last;

impl ShardThread {
    pub(super) fn carry_out(self: &Rc<Self>, effect: Effect<GatewayPorts>) {
        match effect {
            Effect::WaitWritable(key) => self.wait_writable(key),
            Effect::Resume(key) => self.resume(key),
            Effect::Finish(finished) => self.finish(*finished),
            Effect::Admitted(asked_ms) => {
                if let Some(timings) = &self.shared.timings {
                    timings.admissions.observe_us(self.now_ms().saturating_sub(asked_ms) * 1000);
                }
            }
            Effect::Log(notice) => self.log(notice),
            Effect::NewToken(key, message) => self.check_new_token(key, message),
            Effect::Traced(traced) => self.carry_traced(*traced),
            Effect::Span(change) => self.note_span(*change),
        }
    }

    /// Notes that the span of a traced event begins or ends now.
    fn note_span(&self, change: SpanChange) {
        #[cfg(feature = "otel")]
        self.spans.borrow_mut().note(change, self.shared.span_exporter.as_ref());
        // No core makes one without the feature.
        #[cfg(not(feature = "otel"))]
        drop(change);
    }

    /// Wakes the task that reads from a client.
    fn resume(&self, key: Key) {
        let mut core = self.core.borrow_mut();
        if let Some(connection) = core.connection(key) {
            connection.resume();
        }
    }

    /// Starts the task that writes to a client whose socket is full.
    fn wait_writable(self: &Rc<Self>, key: Key) {
        let mut core = self.core.borrow_mut();
        let Some(connection) = core.connection(key) else { return };
        let task = tokio::task::spawn_local(self.clone().write_when_writable(key));
        connection.set_unblocker(Some(task.abort_handle()));
    }

    /// Writes to a client whenever its socket has room, until its outbox is empty. Aborted when the
    /// client is closed.
    async fn write_when_writable(self: Rc<Self>, key: Key) {
        let gone = || Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        loop {
            let writable = poll_fn(|cx| {
                self.with_socket(key, |socket| {
                    socket.map_or_else(gone, |socket| socket.tcp().poll_write_ready(cx))
                })
            });
            if writable.await.is_err() {
                return self.input(|core| core.read_ended(key));
            }
            if self.input(|core| core.writable(key)) == Writable::Done {
                if let Some(connection) = self.core.borrow_mut().connection(key) {
                    connection.set_unblocker(None);
                }
                return;
            }
        }
    }

    /// Ends the connection of a client that the core has removed from its table.
    fn finish(&self, finished: Finished<ClientConnection>) {
        let Finished { mut connection, mut outbox, id, address, reason, ending, detail, record } = finished;
        connection.abort_tasks();
        self.shared.clients.fetch_sub(1, Ordering::Relaxed);
        self.shared.closes.count(reason);
        let age_ms = self.now_ms().saturating_sub(record.connected_ms);
        self.shared.last_closes.push(Closed { id, address, reason, record, at_ms: unix_ms(), age_ms });
        if let Some(detail) = detail {
            let address = client_address(address, &connection);
            self.shared.logs.client_silent.log(move |clients| {
                info!(client = %id, %address, reason = detail, clients, "a silent client was closed");
            });
        }
        let Some(socket) = &connection.socket else { return };
        // One try for the queued messages: the only one where the client has left or is destroyed.
        let flushed = match ending.has_left || ending.at_once {
            true => flush_last(socket, &mut outbox),
            false => socket.flush(&mut outbox),
        };
        let is_over = match flushed {
            Flushed::Broken => true,
            Flushed::Empty => ending.at_once || ending.has_left,
            // The client neither answers nor reads.
            Flushed::Blocked => ending.at_once || reason == CloseReason::TimedOut,
        };
        if is_over {
            if flushed == Flushed::Empty {
                socket.close_notify();
            }
            return;
        }
        self.closing.spawn_local(async move {
            let is_slow = reason == CloseReason::SlowConsumer;
            if let Some(socket) = &connection.socket {
                closing::end(socket, &mut outbox, ending.with_close_frame, is_slow).await;
            }
        });
    }

    fn log(&self, notice: Notice) {
        let logs = &self.shared.logs;
        match notice {
            Notice::SessionTooLarge { client, bytes, limit } => logs.session_not_stored.log(move |times| {
                warn!(%client, bytes, limit, times, "a session over max_session_bytes was not stored");
            }),
            Notice::SessionNotMerged { client, error } => logs.session_not_stored.log(move |times| {
                warn!(%client, error, times, "a session that cannot be merged was left as it was");
            }),
            Notice::EventsMiscounted { client, worker, events } => logs.events_miscounted.log(move |times| {
                warn!(
                    %client, worker, events, times,
                    "a worker has finished more events of a client than it was given: those beyond are ignored"
                );
            }),
            Notice::Undeliverable { client, command, tries } => logs.undeliverable.log(move |events| {
                warn!(
                    %client, command, tries, events,
                    "an event was dropped and its client closed with 1011: the connections of max_deliveries \
                     workers have ended while they had it; see what the handler does with it"
                );
            }),
            Notice::MessageTooLarge { client, bytes, worker, limit } => {
                logs.message_too_large.log(move |clients| {
                    warn!(
                        %client, bytes, worker, limit, clients,
                        "a message with its session is too long for a frame to its worker: the client was \
                         closed with 1009; set max_message_bytes lower, or use workers that take larger frames"
                    );
                });
            }
            Notice::CloseTooLarge { client, bytes, worker, limit } => {
                logs.close_too_large.log(move |clients| {
                    warn!(
                        %client, bytes, worker, limit, clients,
                        "a close with its session is too long for a frame to its worker: on_close is lost; set \
                         max_session_bytes lower, or use workers that take larger frames"
                    );
                });
            }
            Notice::OverRate { client, limit, is_closed: false } => {
                self.shared.limits.count_throttled();
                logs.client_throttled.log(move |times| {
                    info!(%client, limit, times, "a client sends faster than it may: the gateway reads from it more slowly");
                });
            }
            Notice::OverRate { client, limit, is_closed: true } => logs.client_too_fast.log(move |clients| {
                info!(%client, limit, clients, "a client that sent faster than it may was closed with 1008");
            }),
            Notice::CommandRefused { client, limit } => {
                self.shared.limits.count_refused(limit);
                let limit = limit.setting();
                logs.command_refused.log(move |times| {
                    warn!(
                        %client, limit, times,
                        "a command of a worker was not executed: it would have given the client more than \
                         the limit allows; set it higher, or mend the application"
                    );
                });
            }
        }
    }
}

/// Returns the address of a client for the log. The core holds IPv4 addresses only; for IPv6 this is
/// the address of the connection, which may be a proxy's.
fn client_address(address: SocketAddrV4, connection: &ClientConnection) -> SocketAddr {
    match connection.socket.as_ref().map(|socket| socket.tcp().peer_addr()) {
        Some(Ok(peer)) if address.ip().is_unspecified() => peer,
        _ => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::BytesMut;
    use gatewayworker_protocol::{Command, Payload};
    use tokio::io::AsyncReadExt;
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::super::testing;
    use super::*;
    use crate::config::Config;
    use crate::core::link::LinkState;

    fn execute(shard: &Rc<ShardThread>, command: Command) {
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        let mut link = LinkState::new(gatewayworker_protocol::SecretKey::default(), 16 << 20, 1);
        assert!(link.next(&mut bytes, || 0).unwrap().is_none());
        shard.input(|core| core.execute(link.pending.remove(0)));
    }

    #[tokio::test]
    async fn the_connection_of_a_destroyed_client_is_dropped_even_if_its_socket_is_full() {
        let test = async {
            let shard = testing::shard(Config::default());
            let (worker, _peer) = testing::worker(&shard.shared, 1000).await;
            let (key, mut client) = testing::client(&shard, 1, &worker).await;
            let message = Payload::plain(vec![b'x'; 900_000]);
            while shard.look(|core| core.blocked_bytes()) == 0 {
                execute(&shard, Command::SendToOne { to: 1, message: message.clone() });
                while shard.input(|core| core.flush()) {}
            }
            execute(&shard, Command::Destroy(1));
            assert_eq!(shard.look(|core| core.blocked_bytes()), 0);
            shard.with_socket(key, |socket| assert!(socket.is_none()));
            let mut rest = Vec::new();
            let end = client.read_to_end(&mut rest);
            let _ = timeout(Duration::from_secs(10), end).await.expect("nothing holds the connection open");
        };
        LocalSet::new().run_until(test).await;
    }
}
