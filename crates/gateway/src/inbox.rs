//! What a client has sent and nobody has dealt with: whole messages are taken out of
//! it, by the rules of what is spoken at its door, and passed on to its worker.
//!
//! Mostly it is empty, and owns no memory.

use std::rc::Rc;

use bytes::Bytes;
use gatewayworker_protocol::{CloseReason, MAX_FRAME_LEN};
use tracing::debug;

use crate::door::{Door, Speaks};
use crate::protocol::{Decoded, Input, Protocol};
use crate::shard::{Key, Route, Shard};
use crate::websocket::decode::{Decoder, Event, ProtocolError, Step, is_control};
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
}

/// Why no more messages are taken.
pub(crate) enum Stop {
    /// There is no whole one.
    Starved,
    /// Their events have nowhere to go.
    Paused(Route),
    /// There will be none.
    Closed(CloseReason, Option<Bytes>),
}

impl Inbox {
    /// That of a client who has just come to `door`, and has sent `partial` already.
    pub(crate) fn new(door: &Door, partial: Vec<u8>) -> Self {
        Self {
            decoder: Decoder::default(),
            partial,
            wanted: 0,
            seen: 0,
            // No message is longer than a frame of the inner protocol.
            limit: door.max_message_bytes.min(MAX_FRAME_LEN) as u32,
            framed: matches!(door.speaks, Speaks::Framed(_)),
        }
    }

    /// Deals with `fresh` bytes, behind what was left before.
    pub(crate) fn advance(&mut self, shard: &Rc<Shard>, key: Key, fresh: &mut [u8]) -> Stop {
        if self.partial.is_empty() {
            // The usual case: whole messages, passed on from where they were read to.
            let (taken, stop) = self.take_messages(shard, key, fresh);
            self.partial.extend_from_slice(&fresh[taken..]);
            return stop;
        }
        self.partial.extend_from_slice(fresh);
        if self.partial.len() < self.wanted as usize {
            return Stop::Starved;
        }
        let mut partial = std::mem::take(&mut self.partial);
        let (taken, stop) = self.take_messages(shard, key, &mut partial);
        // The buffer grew to what a message needed; what is left behind one needs less.
        self.partial = if taken == 0 { partial } else { partial[taken..].to_vec() };
        stop
    }

    /// Takes whole messages off the front of `buffer`, and says how many bytes.
    fn take_messages(&mut self, shard: &Rc<Shard>, key: Key, buffer: &mut [u8]) -> (usize, Stop) {
        let protocol = if self.framed { shard.protocol_of(key) } else { None };
        let limit = self.limit as usize;
        let mut seen = std::mem::take(&mut self.seen) as usize;
        self.wanted = 0;
        let mut taken = 0;
        while taken < buffer.len() {
            let front = &mut buffer[taken..];
            let one = match &protocol {
                None => take_frame(&mut self.decoder, shard, key, limit, front),
                Some(protocol) => take_framed(&**protocol, shard, key, Input::new(front, seen, limit)),
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

/// Whether a client's next message can be passed on.
fn check_route(shard: &Shard, key: Key) -> Result<(), Stop> {
    match shard.route(key) {
        Route::Open => Ok(()),
        Route::Gone => Err(Stop::Closed(CloseReason::ClientLeft, None)),
        elsewhere => Err(Stop::Paused(elsewhere)),
    }
}

fn take_frame(
    decoder: &mut Decoder,
    shard: &Rc<Shard>,
    key: Key,
    limit: usize,
    front: &mut [u8],
) -> Result<Took, Stop> {
    // Control frames are between the client and us: they need no worker.
    if !is_control(front[0]) {
        check_route(shard, key)?;
    }
    let (len, event) = match decoder.step(front, limit) {
        Ok(Step::Frame { len, event }) => (len, event),
        Ok(Step::Incomplete(wanted)) => return Ok(Took::Wants(wanted)),
        Err(error) => return Err(failed(error)),
    };
    let told = match event {
        Event::Message { binary, payload } => shard.tell_message(key, binary, &front[payload]),
        Event::Assembled { binary, payload } => shard.tell_message(key, binary, &payload),
        Event::Ping(payload) => {
            shard.send_frame(key, encode::pong(&front[payload]));
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

fn take_framed(protocol: &dyn Protocol, shard: &Rc<Shard>, key: Key, front: Input<'_>) -> Result<Took, Stop> {
    const TOO_LARGE: Stop = Stop::Closed(CloseReason::TooLarge, None);

    check_route(shard, key)?;
    let (here, limit) = (front.len(), front.limit());
    match protocol.decode(front) {
        Ok(Decoded::Message { payload, .. }) if payload.len() > limit => Err(TOO_LARGE),
        Ok(Decoded::Message { len, payload }) if (1..=here).contains(&len) => {
            shard.tell_message(key, false, &payload).map_err(|_| TOO_LARGE)?;
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
            debug!(client = key.connection_id(), %violation, "a client broke its protocol");
            Err(Stop::Closed(CloseReason::ProtocolError, None))
        }
    }
}
