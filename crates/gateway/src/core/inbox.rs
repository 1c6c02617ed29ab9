//! The bytes that a client has sent and that are no whole message yet.
//!
//! Whole messages are taken out by the rules of what the client's listener speaks, and passed
//! to an [`Outlet`]: the shard, which tells the client's worker (`reading`). An inbox knows neither shard nor
//! socket. Mostly it is [idle](Inbox::is_idle), and the shell keeps none.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::close_code::TRY_AGAIN_LATER;
use gatewayworker_protocol::{ClientCloseFrame, CloseReason, MAX_MESSAGE_LEN};
use tracing::debug;

use super::events::Route;
use super::listener_policy::{Framing, ListenerPolicy};
use super::protocol::{Decoded, Input, Protocol};
use super::rate_limits::{OverRate, RateLimiter};
use super::websocket::compression::{CompressedSizes, Compression};
use super::websocket::decode::{Content, DecodeOptions, Decoder, Step, is_close, is_control, is_limited};
use super::websocket::encode;
use super::websocket::error::WebSocketError;

/// Bytes that a frame may have beside its message, in a protocol that is not WebSocket.
const FRAMING: usize = 1024;

/// One client's inbox.
#[derive(Debug, Default)]
pub struct Inbox {
    decoder: Decoder,
    partial: Vec<u8>,
    /// No message is whole while `partial` has fewer bytes than this.
    wanted: u32,
    /// So many bytes of `partial` have been searched in vain.
    seen: u32,
    /// Where its listener limits how fast it may send. Boxed: few listeners do.
    rate_limiter: Option<Box<RateLimiter>>,
}

/// How a client's bytes are taken apart.
pub(super) struct MessageRules {
    /// What it speaks, where that is not WebSocket.
    protocol: Option<Arc<dyn Protocol>>,
    /// The longest message that its listener takes, and whether it may be compressed.
    options: DecodeOptions,
}

impl MessageRules {
    /// The rules of a client of a listener that may compress its messages like this.
    #[inline]
    pub(super) fn new(policy: &ListenerPolicy, compression: Compression) -> Self {
        let protocol = match &policy.framing {
            Framing::WebSocket(_) => None,
            Framing::Other(other) => Some(other.protocol.clone()),
        };
        let limit = policy.max_message_bytes.min(MAX_MESSAGE_LEN);
        Self { protocol, options: DecodeOptions { limit, compression } }
    }
}

/// Where a client's messages go.
pub(super) trait Outlet {
    /// The outgoing side of a worker's link.
    type Buffer;

    /// Says whether the next message can be passed on.
    fn check_route(&mut self) -> Result<(), Progress<Self::Buffer>>;

    /// Passes a message on.
    ///
    /// # Errors
    /// With why the client has to be closed.
    fn message(&mut self, binary: bool, message: &[u8]) -> Result<(), CloseReason>;

    /// Notes the lengths of a message that was compressed, and follows.
    fn decompressed(&mut self, sizes: CompressedSizes);

    /// Answers a WebSocket ping with this payload.
    fn ping(&mut self, payload: &[u8]);

    /// Notes a WebSocket pong.
    fn pong(&mut self, payload: &[u8]);
}

/// Why no more messages are taken.
#[derive(Debug)]
pub enum Progress<B> {
    /// There is no whole one.
    NeedMore,
    /// The next one has nowhere to go.
    Blocked(Route<B>),
    /// There will be none: the client has to be closed, with this as its last message.
    Closed(CloseReason, Option<Bytes>),
    /// There will be none: the client has sent a close frame.
    ClosedByClient {
        /// Why the client is gone: it left, or its close frame is not valid.
        reason: CloseReason,
        /// What it said, where it gave a code and the close frame is valid.
        frame: Option<Box<ClientCloseFrame>>,
        /// The close frame that answers.
        answer: Bytes,
    },
    /// The client sends faster than it may.
    OverRate(OverRate),
}

impl Inbox {
    /// The inbox of a client that has just come to a listener, with what it has sent behind its
    /// handshake.
    pub fn new(policy: &ListenerPolicy, partial: Vec<u8>) -> Self {
        let rate_limiter = policy.rate_limits.map(|limits| Box::new(RateLimiter::new(limits)));
        Self { partial, rate_limiter, ..Self::default() }
    }

    /// The same inbox, with the decoder that has taken the messages before.
    pub(crate) fn with_decoder(mut self, decoder: Decoder) -> Self {
        self.decoder = decoder;
        self
    }

    /// Returns whether it holds nothing, so that a new one ([`Inbox::default`]) may take its place.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.partial.is_empty() && self.rate_limiter.is_none() && self.decoder.is_idle()
    }

    /// How many bytes wait that were not taken as messages.
    #[cfg(any(test, feature = "internals"))]
    pub fn waiting(&self) -> usize {
        self.partial.len()
    }

    /// Returns how many of `most` bytes may be read from the client next.
    pub fn max_read(&self, most: usize) -> usize {
        self.rate_limiter.as_ref().map_or(most, |limiter| limiter.max_read(most))
    }

    /// Deals with `fresh` bytes, behind what was left before.
    pub(super) fn advance<O: Outlet>(
        &mut self,
        outlet: &mut O,
        rules: &MessageRules,
        fresh: &mut [u8],
        now_ms: u64,
    ) -> Progress<O::Buffer> {
        if self.rate_limiter.is_none() {
            return self.process(outlet, rules, fresh, now_ms);
        }
        self.advance_within_rate(outlet, rules, fresh, now_ms).unwrap_or_else(Progress::OverRate)
    }

    /// Does the same where the client's rate is limited.
    fn advance_within_rate<O: Outlet>(
        &mut self,
        outlet: &mut O,
        rules: &MessageRules,
        fresh: &mut [u8],
        now_ms: u64,
    ) -> Result<Progress<O::Buffer>, OverRate> {
        if let Some(limiter) = &mut self.rate_limiter {
            limiter.receive(fresh.len(), now_ms)?;
        }
        let progress = self.process(outlet, rules, fresh, now_ms);
        if let (Progress::NeedMore, Some(limiter)) = (&progress, &mut self.rate_limiter) {
            limiter.check_read(now_ms)?;
        }
        Ok(progress)
    }

    /// Takes the whole messages out of what was left before and `fresh`, and keeps the rest.
    fn process<O: Outlet>(
        &mut self,
        outlet: &mut O,
        rules: &MessageRules,
        fresh: &mut [u8],
        now_ms: u64,
    ) -> Progress<O::Buffer> {
        if self.partial.is_empty() {
            // The usual case: whole messages, passed on from where they were read to.
            let (taken, progress) = self.take_messages(outlet, rules, fresh, now_ms);
            self.partial.extend_from_slice(&fresh[taken..]);
            return progress;
        }
        self.partial.extend_from_slice(fresh);
        if self.partial.len() < self.wanted as usize {
            return Progress::NeedMore;
        }
        let mut partial = std::mem::take(&mut self.partial);
        let (taken, progress) = self.take_messages(outlet, rules, &mut partial, now_ms);
        // The buffer grew to what a message needed; what is left behind one needs less.
        self.partial = if taken == 0 { partial } else { partial[taken..].to_vec() };
        progress
    }

    /// Takes whole messages off the front of `buffer`, and says how many bytes.
    fn take_messages<O: Outlet>(
        &mut self,
        outlet: &mut O,
        rules: &MessageRules,
        buffer: &mut [u8],
        now_ms: u64,
    ) -> (usize, Progress<O::Buffer>) {
        let MessageRules { protocol, options } = rules;
        let options = *options;
        let mut seen = std::mem::take(&mut self.seen) as usize;
        self.wanted = 0;
        let mut taken = 0;
        while taken < buffer.len() {
            let front = &mut buffer[taken..];
            let is_counted = |_: &_| protocol.is_some() || is_limited(front[0]);
            let mut limiter = self.rate_limiter.as_deref_mut().filter(is_counted);
            if let Some(limiter) = &mut limiter
                && let Err(over) = limiter.check_message(now_ms)
            {
                return (taken, Progress::OverRate(over));
            }
            let one = match protocol {
                None => take_frame(&mut self.decoder, outlet, options, front),
                Some(protocol) => take_framed(&**protocol, outlet, Input::new(front, seen, options.limit)),
            };
            seen = 0;
            match one {
                Ok(Taken::Message(len)) => {
                    taken += len;
                    if let Some(limiter) = limiter {
                        limiter.count_message(now_ms);
                    }
                }
                Ok(Taken::Nothing(wanted)) => {
                    // Both are within the limit and what a frame has beside a message.
                    self.wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
                    self.seen = u32::try_from(front.len()).unwrap_or_default();
                    break;
                }
                Err(progress) => return (taken, progress),
            }
        }
        (taken, Progress::NeedMore)
    }
}

/// What was taken off the front of the buffer.
enum Taken {
    /// A message of so many bytes.
    Message(usize),
    /// Nothing: it could be a message with so many bytes.
    Nothing(usize),
}

fn take_frame<O: Outlet>(
    decoder: &mut Decoder,
    outlet: &mut O,
    options: DecodeOptions,
    front: &mut [u8],
) -> Result<Taken, Progress<O::Buffer>> {
    // Control frames are between the client and us: they need no worker.
    if !is_control(front[0]) {
        outlet.check_route()?;
    }
    let (len, content) = match decoder.step(front, options) {
        Ok(Step::Frame { len, content }) => (len, content),
        Ok(Step::Incomplete(wanted)) => return Ok(Taken::Nothing(wanted)),
        Err(error) if is_close(front[0]) => {
            let (reason, answer) = failure(error);
            return Err(Progress::ClosedByClient { reason, frame: None, answer });
        }
        Err(error) => return Err(failed(error)),
    };
    let told = match content {
        Content::Message { binary, payload } => outlet.message(binary, &front[payload]),
        Content::Assembled { binary, payload, compressed } => {
            if let Some(sizes) = compressed {
                outlet.decompressed(sizes);
            }
            outlet.message(binary, &payload)
        }
        Content::Ping(payload) => {
            outlet.ping(&front[payload]);
            Ok(())
        }
        Content::Pong(payload) => {
            outlet.pong(&front[payload]);
            Ok(())
        }
        Content::Fragment => Ok(()),
        Content::Close { code, reason } => {
            let reason = String::from_utf8_lossy(&front[reason]);
            let frame = code.map(|code| Box::new(ClientCloseFrame::new(code, reason)));
            let (reason, answer) = (CloseReason::ClientLeft, encode::close(code, ""));
            return Err(Progress::ClosedByClient { reason, frame, answer });
        }
    };
    told.map(|()| Taken::Message(len)).map_err(|reason| match reason {
        CloseReason::NotAdmitted => Progress::Closed(reason, Some(encode::close(Some(TRY_AGAIN_LATER), ""))),
        CloseReason::ProtocolError => failed(WebSocketError::Malformed("a wrong control message")),
        _ => failed(WebSocketError::TooLarge),
    })
}

fn failed<B>(error: WebSocketError) -> Progress<B> {
    let (reason, last) = failure(error);
    Progress::Closed(reason, Some(last))
}

/// Why a client that broke the protocol is closed, and the close frame that tells it.
fn failure(error: WebSocketError) -> (CloseReason, Bytes) {
    let reason = match error {
        WebSocketError::TooLarge => CloseReason::TooLarge,
        WebSocketError::Malformed(_) | WebSocketError::NotUtf8 | WebSocketError::NotDeflate => {
            CloseReason::ProtocolError
        }
    };
    (reason, encode::close(Some(error.close_code()), &error.to_string()))
}

fn take_framed<O: Outlet>(
    protocol: &dyn Protocol,
    outlet: &mut O,
    front: Input<'_>,
) -> Result<Taken, Progress<O::Buffer>> {
    let too_large = || Progress::Closed(CloseReason::TooLarge, None);
    outlet.check_route()?;
    let (here, limit) = (front.len(), front.limit());
    match protocol.decode(front) {
        Ok(Decoded::Message { payload, .. }) if payload.len() > limit => Err(too_large()),
        Ok(Decoded::Message { len, payload }) if (1..=here).contains(&len) => {
            outlet.message(false, &payload).map_err(|_| too_large())?;
            Ok(Taken::Message(len))
        }
        Ok(Decoded::Nothing(len)) if (1..=here).contains(&len) => Ok(Taken::Message(len)),
        Ok(Decoded::Incomplete(wanted)) if wanted.max(here) > limit.saturating_add(FRAMING) => {
            Err(too_large())
        }
        Ok(Decoded::Incomplete(wanted)) => Ok(Taken::Nothing(wanted)),
        Ok(Decoded::Message { len, .. } | Decoded::Nothing(len)) => {
            debug!(len, here, "a protocol took a message that is not there");
            Err(Progress::Closed(CloseReason::ProtocolError, None))
        }
        Err(violation) => {
            debug!(%violation, "a client broke its protocol");
            Err(Progress::Closed(CloseReason::ProtocolError, None))
        }
    }
}
