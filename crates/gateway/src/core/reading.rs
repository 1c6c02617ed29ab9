//! Bytes of a client come in; its messages go to its worker, and its pings are answered.
//!
//! The shell reads from the socket. A [`Reading`] tells it what to do next.

#[cfg(test)]
mod tests;

use gatewayworker_protocol::close_code::POLICY_VIOLATION;
use gatewayworker_protocol::inspect::FrameKind;
use gatewayworker_protocol::{ClientCloseFrame, CloseReason};

use super::Shard;
use super::client::Waits;
use super::effects::{Effect, Notice};
use super::events::Route;
use super::inbox::{Inbox, MessageRules, Outlet, Progress};
use super::ports::Ports;
use super::rate_limits::OverRate;
use super::table::Key;
use super::websocket::compression::CompressedSizes;
use super::websocket::encode;

/// What the reader of a client's socket does next.
#[derive(Debug)]
pub enum Reading<B> {
    /// Read, and call [`Shard::receive`].
    More,
    /// Wait until the client's events can go somewhere (for [`Effect::Resume`](super::effects::Effect)
    /// or for room in the buffer), then call [`Shard::resume`]. The client feels that as a socket that
    /// takes no more.
    Paused(Route<B>),
    /// Wait until this time, in ms of the shard's clock, then call [`Shard::resume`]. The client
    /// sends faster than it may.
    Delayed(u64),
    /// Read no more: the client is closed.
    Closed,
}

impl<P: Ports> Shard<P> {
    /// Takes bytes that a client has sent. Its silence begins anew.
    pub fn receive(
        &mut self,
        key: Key,
        inbox: &mut Inbox,
        bytes: &mut [u8],
        now_ms: u64,
    ) -> Reading<P::Buffer> {
        self.set_now(now_ms);
        self.settings.counters.bytes_received.add(bytes.len() as u64);
        let Some(client) = self.table.get(key) else { return Reading::Closed };
        client.silent_since_ms = now_ms;
        client.pings = 0;
        let rules = MessageRules::new(client.policy(), client.compression);
        let mut outlet = ToWorker { shard: self, key };
        let progress = inbox.advance(&mut outlet, &rules, bytes, now_ms);
        self.close_pending();
        match progress {
            Progress::NeedMore => Reading::More,
            Progress::Blocked(route) => {
                self.set_paused(key, true);
                Reading::Paused(route)
            }
            Progress::Closed(reason, last) => {
                self.close(key, reason, last);
                Reading::Closed
            }
            Progress::ClosedByClient { reason: CloseReason::ClientLeft, frame, .. }
                if means_cut(frame.as_deref()) && self.detach(key) =>
            {
                Reading::Closed
            }
            Progress::ClosedByClient { reason, frame, answer } => {
                self.close_by_client(key, reason, frame.as_deref(), answer);
                Reading::Closed
            }
            Progress::OverRate(over) => self.slow_down(key, over),
        }
    }

    /// Throttles or closes a client that sends faster than it may.
    fn slow_down(&mut self, key: Key, over: OverRate) -> Reading<P::Buffer> {
        let Some(client) = self.table.get(key) else { return Reading::Closed };
        let OverRate { limit, until_ms } = over;
        let id = client.id(self.settings.address);
        let is_closed = until_ms.is_none();
        self.effects.list.push_back(Effect::Log(Notice::OverRate { client: id, limit, is_closed }));
        if let Some(until_ms) = until_ms {
            self.set_paused(key, true);
            return Reading::Delayed(until_ms);
        }
        let last = client.policy().close_frame(POLICY_VIOLATION, "you send too fast");
        self.close(key, CloseReason::RateLimited, last);
        Reading::Closed
    }

    /// Goes on with a client that was paused, or that has just been inserted, with the bytes
    /// that its inbox has.
    pub fn resume(&mut self, key: Key, inbox: &mut Inbox, now_ms: u64) -> Reading<P::Buffer> {
        self.set_now(now_ms);
        self.set_paused(key, false);
        if let Some(client) = self.table.get(key) {
            client.waits = Waits::No;
        }
        self.receive(key, inbox, &mut [], now_ms)
    }

    pub(super) fn set_paused(&mut self, key: Key, is_paused: bool) {
        if let Some(client) = self.table.get(key)
            && client.is_paused != is_paused
        {
            client.is_paused = is_paused;
            self.paused.note(is_paused, self.now_ms);
        }
    }

    /// The client has ended its side, or its connection has failed.
    pub fn read_ended(&mut self, key: Key) {
        if !self.detach(key) {
            self.close(key, CloseReason::ClientLeft, None);
        }
    }
}

/// Whether a client that sends this close frame has only lost its connection: what is no leaving of a page or a program.
fn means_cut(frame: Option<&ClientCloseFrame>) -> bool {
    frame.is_some_and(|frame| match frame.code {
        1000 => false,
        1001 => !frame.reason.is_empty(),
        3000..=4998 => frame.code == GIVEN_UP,
        _ => true,
    })
}

/// The code with which a client gives up a line that seems dead.
const GIVEN_UP: u16 = 3999;

/// The outlet of a client's inbox.
struct ToWorker<'s, P: Ports> {
    shard: &'s mut Shard<P>,
    key: Key,
}

impl<P: Ports> Outlet for ToWorker<'_, P> {
    type Buffer = P::Buffer;

    fn check_route(&mut self) -> Result<(), Progress<P::Buffer>> {
        match self.shard.route(self.key) {
            Route::Open => Ok(()),
            Route::Gone => Err(Progress::Closed(CloseReason::ClientLeft, None)),
            elsewhere => Err(Progress::Blocked(elsewhere)),
        }
    }

    fn message(&mut self, is_binary: bool, message: &[u8]) -> Result<(), CloseReason> {
        self.shard.tell_message(self.key, is_binary, message)
    }

    fn decompressed(&mut self, sizes: CompressedSizes) {
        self.shard.settings.counters.decompressed.add(sizes);
    }

    fn ping(&mut self, payload: &[u8]) {
        self.shard.trace_control(self.key, FrameKind::Ping, payload);
        self.shard.send_own_frame(self.key, encode::pong(payload));
        self.shard.close_pending();
    }

    fn pong(&mut self, payload: &[u8]) {
        self.shard.trace_control(self.key, FrameKind::Pong, payload);
    }
}
