//! The keepalive of a worker's links: pings to the worker, and the judgement that it is silent.
//!
//! Each of the two links of an epoch has one. Only the event link carries pings to
//! the worker: answers on a call link have no frame. The worker pings on both. What decides is
//! [`Liveness`]; here are the timer and the look at the socket. A link that belongs to no epoch, a PHP
//! worker's or a client library's, may be silent for as long as it likes.

use std::cell::Cell;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker_net::{AwakeDeadline, LinkWriter, limit_retransmission_pause};
use gatewayworker_protocol::{Command, PingBody};
use socket2::SockRef;
use tokio::sync::SetOnce;

use super::HELLO_TIMEOUT;
use super::error::LinkError;
use crate::core::liveness::Liveness;
use crate::epochs::Epoch;
use crate::shard::ShardThread;

/// The keepalive of one link.
pub(super) struct Keepalive {
    shard: Rc<ShardThread>,
    pub(super) writer: Arc<LinkWriter>,
    /// The epoch that the link belongs to, once it does.
    epoch: SetOnce<Arc<Epoch>>,
    liveness: Cell<Option<Liveness>>,
}

impl Keepalive {
    pub(super) fn new(shard: Rc<ShardThread>, writer: Arc<LinkWriter>) -> Self {
        Self { shard, writer, epoch: SetOnce::new(), liveness: Cell::new(None) }
    }

    /// Makes the link one of an epoch. Does nothing where it is one already.
    pub(super) fn set_epoch(&self, epoch: Arc<Epoch>) {
        let silence = Duration::from_millis(self.shard.shared.config.link_timing().timeout_ms);
        limit_retransmission_pause(self.writer.socket(), silence);
        let _ = self.epoch.set(epoch);
    }

    /// Returns the epoch that the link belongs to.
    pub(super) fn epoch(&self) -> Option<&Arc<Epoch>> {
        self.epoch.get()
    }

    /// Notes that something has come from the peer.
    #[inline]
    pub(super) fn heard(&self) {
        if let Some(mut liveness) = self.liveness.get() {
            liveness.heard(self.shard.now_ms());
            self.liveness.set(Some(liveness));
        }
    }

    /// Waits for the end of the epoch that the link belongs to, if it ever does.
    ///
    /// Cancel safe.
    pub(super) async fn over(&self) {
        self.epoch.wait().await.over().await;
    }

    /// Pings a worker, and returns why its link has to end: nobody attaches to the event link, or
    /// nothing is heard on the link. Never returns for a link of no epoch.
    ///
    /// Cancel safe.
    pub(super) async fn watch(&self) -> LinkError {
        let epoch = self.epoch.wait().await;
        let is_event_link = Arc::ptr_eq(&epoch.events, &self.writer);
        if is_event_link && !self.is_attached(epoch).await {
            return LinkError::NoCallLink;
        }
        let timing = self.shard.shared.config.link_timing();
        let mut next_ping_ms = if is_event_link { 0 } else { u64::MAX };
        let now_ms = self.shard.now_ms();
        self.liveness.set(Some(Liveness::new(timing, now_ms)));
        loop {
            let Some(mut liveness) = self.liveness.get() else { return std::future::pending().await };
            let now_ms = self.shard.now_ms();
            if now_ms >= next_ping_ms {
                self.ping();
                next_ping_ms = now_ms + timing.ping_interval_ms;
            }
            if now_ms >= liveness.deadline_ms() {
                if self.has_input() {
                    liveness.heard(now_ms);
                } else if liveness.is_over(now_ms) {
                    return LinkError::Silent(Duration::from_millis(liveness.silent_ms(now_ms)));
                }
                self.liveness.set(Some(liveness));
            }
            self.shard.sleep_until_ms(liveness.deadline_ms().min(next_ping_ms)).await;
        }
    }

    /// Waits for the call link of an event link; false where none has come in time. ATTACH comes on another
    /// connection, which may wait to be read when this process has stood still.
    async fn is_attached(&self, epoch: &Epoch) -> bool {
        let mut deadline = AwakeDeadline::new(HELLO_TIMEOUT, self.shard.now_ms());
        loop {
            tokio::select! {
                biased;
                _ = epoch.worker.wait() => return true,
                () = self.shard.sleep_until_ms(deadline.next_deadline()) => {
                    if deadline.has_passed(self.shard.now_ms()) {
                        return false;
                    }
                }
            }
        }
    }

    /// Pings the worker, unless something else waits to be written: a worker that does not read must
    /// not be sent more and more.
    fn ping(&self) {
        let ping = Command::Ping(PingBody::Empty.encode());
        if self.writer.push_within(1, |out| ping.encode(out)).is_ok() {
            self.writer.flush_soon();
        }
    }

    /// Returns whether something has arrived that was not read yet, or the end of the connection. Asks
    /// the system: the runtime may not know yet of what came while this thread was held up.
    fn has_input(&self) -> bool {
        let socket = SockRef::from(self.writer.socket());
        match socket.peek(&mut [MaybeUninit::uninit()]) {
            Err(error) => error.kind() != ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }
}
