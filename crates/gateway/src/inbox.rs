//! What a client has sent and nobody has dealt with: whole messages are taken out of
//! it, by the rules of what is spoken at its door, and passed on to its worker.
//!
//! Mostly it is empty, and owns no memory. It knows neither shard nor socket: what it
//! finds goes to an [`Outlet`].

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::{CloseReason, MAX_MESSAGE_LEN};
use tracing::debug;

use crate::door::{Door, Speaks};
use crate::protocol::{Decoded, Input, Protocol};
use crate::shard::{Key, Route, Shard};
use crate::websocket::decode::{Decoder, Event, ProtocolError, Step, Terms, is_control};
use crate::websocket::encode;

/// Bytes that a frame may have beside its message, in a protocol that is not WebSocket.
const FRAMING: usize = 1024;

/// One client's. Every idle client has one: it is kept small.
pub(crate) struct Inbox {
    decoder: Decoder,
    partial: Vec<u8>,
    /// No message is whole while `partial` has fewer bytes than this.
    wanted: u32,
    /// How many bytes of `partial` have been looked through in vain.
    seen: u32,
    /// The longest message that its door takes.
    limit: u32,
    /// What it speaks is not WebSocket: its door knows what.
    framed: bool,
    /// It has offered permessage-deflate.
    may_compress: bool,
}

/// Where what a client says goes.
pub(crate) trait Outlet {
    /// What the client speaks, where that is not WebSocket.
    fn protocol(&self) -> Option<Arc<dyn Protocol>>;

    /// Says whether the next message can be passed on.
    fn check_route(&self) -> Result<(), Stop>;

    /// Passes a message on.
    ///
    /// # Errors
    /// With why the client has to be closed.
    fn message(&mut self, binary: bool, message: &[u8]) -> Result<(), CloseReason>;

    /// Answers a WebSocket ping.
    fn pong(&mut self, frame: Bytes);
}

/// The outlet of a gateway's client: messages go to its worker.
pub(crate) struct ToShard<'s> {
    pub(crate) shard: &'s Rc<Shard>,
    pub(crate) key: Key,
}

impl Outlet for ToShard<'_> {
    fn protocol(&self) -> Option<Arc<dyn Protocol>> {
        self.shard.protocol_of(self.key)
    }

    fn check_route(&self) -> Result<(), Stop> {
        match self.shard.route(self.key) {
            Route::Open => Ok(()),
            Route::Gone => Err(Stop::Closed(CloseReason::ClientLeft, None)),
            elsewhere => Err(Stop::Paused(elsewhere)),
        }
    }

    fn message(&mut self, binary: bool, message: &[u8]) -> Result<(), CloseReason> {
        self.shard.tell_message(self.key, binary, message)
    }

    fn pong(&mut self, frame: Bytes) {
        self.shard.send_frame(self.key, frame);
    }
}

/// Why no more messages are taken.
#[derive(Debug)]
pub(crate) enum Stop {
    /// There is no whole one.
    Starved,
    /// Their events have nowhere to go.
    Paused(Route),
    /// There will be none.
    Closed(CloseReason, Option<Bytes>),
}

impl Inbox {
    /// That of a client who has just come to `door`.
    pub(crate) fn new(door: &Door) -> Self {
        Self::with_limit(door.max_message_bytes, matches!(door.speaks, Speaks::Framed(_)))
    }

    /// One that takes messages of at most `limit` bytes.
    pub(crate) fn with_limit(limit: usize, framed: bool) -> Self {
        Self {
            decoder: Decoder::default(),
            partial: Vec::new(),
            wanted: 0,
            seen: 0,
            limit: limit.min(MAX_MESSAGE_LEN) as u32,
            framed,
            may_compress: false,
        }
    }

    /// Begins with what a client has sent behind its handshake.
    pub(crate) fn begin_with(&mut self, partial: Vec<u8>, may_compress: bool) {
        self.partial = partial;
        self.may_compress = may_compress;
    }

    /// Deals with `fresh` bytes, behind what was left before.
    pub(crate) fn advance(&mut self, outlet: &mut impl Outlet, fresh: &mut [u8]) -> Stop {
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
    fn take_messages(&mut self, outlet: &mut impl Outlet, buffer: &mut [u8]) -> (usize, Stop) {
        let protocol = if self.framed { outlet.protocol() } else { None };
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

fn take_frame(
    decoder: &mut Decoder,
    outlet: &mut impl Outlet,
    terms: Terms,
    front: &mut [u8],
) -> Result<Took, Stop> {
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

fn failed(error: ProtocolError) -> Stop {
    let reason = match error {
        ProtocolError::TooLarge => CloseReason::TooLarge,
        ProtocolError::Malformed(_) | ProtocolError::NotUtf8 => CloseReason::ProtocolError,
    };
    Stop::Closed(reason, Some(encode::close(Some(error.close_code()), &error.to_string())))
}

fn take_framed(protocol: &dyn Protocol, outlet: &mut impl Outlet, front: Input<'_>) -> Result<Took, Stop> {
    const TOO_LARGE: Stop = Stop::Closed(CloseReason::TooLarge, None);

    outlet.check_route()?;
    let (here, limit) = (front.len(), front.limit());
    match protocol.decode(front) {
        Ok(Decoded::Message { payload, .. }) if payload.len() > limit => Err(TOO_LARGE),
        Ok(Decoded::Message { len, payload }) if (1..=here).contains(&len) => {
            outlet.message(false, &payload).map_err(|_| TOO_LARGE)?;
            Ok(Took::All(len))
        }
        Ok(Decoded::Nothing(len)) if (1..=here).contains(&len) => Ok(Took::All(len)),
        Ok(Decoded::Incomplete(wanted)) if wanted.max(here) > limit.saturating_add(FRAMING) => Err(TOO_LARGE),
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
