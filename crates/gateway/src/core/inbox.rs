//! The bytes that a client has sent and that are no whole message yet.
//!
//! Whole messages are taken out by the rules of what the client's listener speaks, and passed
//! to an [`Outlet`]: the shard, which tells the client's worker (`reading`). An inbox knows
//! neither shard nor socket. Mostly it is empty, and owns no memory.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::{CloseReason, MAX_MESSAGE_LEN};
use tracing::debug;

use super::events::Route;
use super::listener_policy::ListenerPolicy;
use super::protocol::{Decoded, Input, Protocol};
use super::websocket::decode::{Decoder, Event, ProtocolError, Step, Terms, is_control};
use super::websocket::encode;

/// Bytes that a frame may have beside its message, in a protocol that is not WebSocket.
const FRAMING: usize = 1024;

/// One client's inbox. Every idle client has one: it is kept small.
pub struct Inbox {
    decoder: Decoder,
    partial: Vec<u8>,
    /// No message is whole while `partial` has fewer bytes than this.
    wanted: u32,
    /// How many bytes of `partial` have been looked through in vain.
    seen: u32,
    /// The longest message that its listener takes.
    limit: u32,
    /// What it speaks is not WebSocket: its listener knows what.
    is_framed: bool,
    /// It has offered permessage-deflate.
    may_compress: bool,
}

/// Where a client's messages go.
pub(super) trait Outlet {
    /// The outgoing side of a worker's link.
    type Buffer;

    /// What the client speaks, where that is not WebSocket.
    fn protocol(&mut self) -> Option<Arc<dyn Protocol>>;

    /// Says whether the next message can be passed on.
    fn check_route(&mut self) -> Result<(), Stop<Self::Buffer>>;

    /// Passes a message on.
    ///
    /// # Errors
    /// With why the client has to be closed.
    fn message(&mut self, binary: bool, message: &[u8]) -> Result<(), CloseReason>;

    /// Answers a WebSocket ping.
    fn pong(&mut self, frame: Bytes);
}

/// Why no more messages are taken.
#[derive(Debug)]
pub enum Stop<B> {
    /// There is no whole one.
    Starved,
    /// The next one has nowhere to go.
    Paused(Route<B>),
    /// There will be none.
    Closed(CloseReason, Option<Bytes>),
}

impl Inbox {
    /// The inbox of a client that has just come to a listener, with what it has sent behind its
    /// handshake. It may compress its messages if it has offered that.
    pub fn new(policy: &ListenerPolicy, partial: Vec<u8>, may_compress: bool) -> Self {
        Self {
            decoder: Decoder::default(),
            partial,
            wanted: 0,
            seen: 0,
            limit: policy.max_message_bytes.min(MAX_MESSAGE_LEN) as u32,
            is_framed: !policy.is_websocket(),
            may_compress,
        }
    }

    /// Deals with `fresh` bytes, behind what was left before.
    pub(super) fn advance<O: Outlet>(&mut self, outlet: &mut O, fresh: &mut [u8]) -> Stop<O::Buffer> {
        if self.partial.is_empty() {
            // The usual case: whole messages, passed on from where they were read to.
            let (taken, stop) = self.take_messages(outlet, fresh);
            self.partial.extend_from_slice(&fresh[taken..]);
            return stop;
        }
        self.partial.extend_from_slice(fresh);
        if self.partial.len() < self.wanted as usize {
            return Stop::Starved;
        }
        let mut partial = std::mem::take(&mut self.partial);
        let (taken, stop) = self.take_messages(outlet, &mut partial);
        // The buffer grew to what a message needed; what is left behind one needs less.
        self.partial = if taken == 0 { partial } else { partial[taken..].to_vec() };
        stop
    }

    /// Takes whole messages off the front of `buffer`, and says how many bytes.
    fn take_messages<O: Outlet>(&mut self, outlet: &mut O, buffer: &mut [u8]) -> (usize, Stop<O::Buffer>) {
        let protocol = if self.is_framed { outlet.protocol() } else { None };
        let limit = self.limit as usize;
        let terms = Terms { limit, may_compress: self.may_compress };
        let mut seen = std::mem::take(&mut self.seen) as usize;
        self.wanted = 0;
        let mut taken = 0;
        while taken < buffer.len() {
            let front = &mut buffer[taken..];
            let one = match &protocol {
                None => take_frame(&mut self.decoder, outlet, terms, front),
                Some(protocol) => take_framed(&**protocol, outlet, Input::new(front, seen, limit)),
            };
            seen = 0;
            match one {
                Ok(Took::All(len)) => taken += len,
                Ok(Took::Wants(wanted)) => {
                    // Both are within the limit and what a frame has beside a message.
                    self.wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
                    self.seen = u32::try_from(front.len()).unwrap_or_default();
                    break;
                }
                Err(stop) => return (taken, stop),
            }
        }
        (taken, Stop::Starved)
    }
}

/// What was taken off the front of the buffer.
enum Took {
    /// A message of so many bytes.
    All(usize),
    /// Nothing: it could be a message with so many bytes.
    Wants(usize),
}

fn take_frame<O: Outlet>(
    decoder: &mut Decoder,
    outlet: &mut O,
    terms: Terms,
    front: &mut [u8],
) -> Result<Took, Stop<O::Buffer>> {
    // Control frames are between the client and us: they need no worker.
    if !is_control(front[0]) {
        outlet.check_route()?;
    }
    let (len, event) = match decoder.step(front, terms) {
        Ok(Step::Frame { len, event }) => (len, event),
        Ok(Step::Incomplete(wanted)) => return Ok(Took::Wants(wanted)),
        Err(error) => return Err(failed(error)),
    };
    let told = match event {
        Event::Message { binary, payload } => outlet.message(binary, &front[payload]),
        Event::Assembled { binary, payload } => outlet.message(binary, &payload),
        Event::Ping(payload) => {
            outlet.pong(encode::pong(&front[payload]));
            Ok(())
        }
        Event::Pong | Event::Fragment => Ok(()),
        Event::Close(code) => {
            return Err(Stop::Closed(CloseReason::ClientLeft, Some(encode::close(code, ""))));
        }
    };
    told.map(|()| Took::All(len)).map_err(|reason| match reason {
        CloseReason::NotAdmitted => Stop::Closed(reason, Some(encode::close(Some(1013), ""))),
        _ => failed(ProtocolError::TooLarge),
    })
}

fn failed<B>(error: ProtocolError) -> Stop<B> {
    let reason = match error {
        ProtocolError::TooLarge => CloseReason::TooLarge,
        ProtocolError::Malformed(_) | ProtocolError::NotUtf8 => CloseReason::ProtocolError,
    };
    Stop::Closed(reason, Some(encode::close(Some(error.close_code()), &error.to_string())))
}

fn take_framed<O: Outlet>(
    protocol: &dyn Protocol,
    outlet: &mut O,
    front: Input<'_>,
) -> Result<Took, Stop<O::Buffer>> {
    let too_large = || Stop::Closed(CloseReason::TooLarge, None);
    outlet.check_route()?;
    let (here, limit) = (front.len(), front.limit());
    match protocol.decode(front) {
        Ok(Decoded::Message { payload, .. }) if payload.len() > limit => Err(too_large()),
        Ok(Decoded::Message { len, payload }) if (1..=here).contains(&len) => {
            outlet.message(false, &payload).map_err(|_| too_large())?;
            Ok(Took::All(len))
        }
        Ok(Decoded::Nothing(len)) if (1..=here).contains(&len) => Ok(Took::All(len)),
        Ok(Decoded::Incomplete(wanted)) if wanted.max(here) > limit.saturating_add(FRAMING) => {
            Err(too_large())
        }
        Ok(Decoded::Incomplete(wanted)) => Ok(Took::Wants(wanted)),
        Ok(Decoded::Message { len, .. } | Decoded::Nothing(len)) => {
            debug!(len, here, "a protocol took a message that is not there");
            Err(Stop::Closed(CloseReason::ProtocolError, None))
        }
        Err(violation) => {
            debug!(%violation, "a client broke its protocol");
            Err(Stop::Closed(CloseReason::ProtocolError, None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_has_a_small_one() {
        assert!(size_of::<Inbox>() <= 48, "{} bytes", size_of::<Inbox>());
    }
}
