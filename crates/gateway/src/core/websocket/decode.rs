//! Frames that come in: RFC 6455 sections 5 to 8, over a borrowed buffer.
//!
//! [`Decoder::step`] looks at the front of a buffer, unmasks in place, and says
//! what stands there and how many bytes it took. Between messages a decoder owns
//! no memory, unless its client compresses (`inflate`).

use std::io::Cursor;
use std::ops::Range;

use gatewayworker_protocol::may_close_with;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::inflate::{Inflater, max_compressed_len};

#[cfg(test)]
mod tests;

/// Reads one client's frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// What is kept between frames. Boxed: hardly anybody has any.
    kept: Option<Box<Kept>>,
}

/// What a client's frames are held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// The longest message, in bytes, decompressed.
    pub(crate) limit: usize,
    /// The client has offered permessage-deflate. It was not accepted, and some clients
    /// compress nevertheless.
    pub(crate) may_compress: bool,
}

#[derive(Debug, Default)]
struct Kept {
    /// A message of which some fragments have come.
    fragments: Option<Fragments>,
    /// From the first compressed message on.
    inflater: Option<Inflater>,
}

#[derive(Debug)]
struct Fragments {
    binary: bool,
    compressed: bool,
    /// As it came, unmasked.
    payload: Vec<u8>,
}

/// What stands at the front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not a whole frame yet; with at least so many bytes it could be one.
    Incomplete(usize),
    /// A frame of `len` bytes that says `event`.
    Frame {
        /// Its length, header included.
        len: usize,
        /// What it says. Ranges are positions in the buffer.
        event: Event,
    },
}

/// What a frame says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A message in one frame.
    Message {
        binary: bool,
        payload: Range<usize>,
    },
    /// The last fragment of a message, or a compressed one, with all of it.
    Assembled {
        binary: bool,
        payload: Vec<u8>,
    },
    /// Some fragment before the last.
    Fragment,
    Ping(Range<usize>),
    Pong,
    /// The peer closes, perhaps with a code.
    Close(Option<u16>),
}

/// Why a connection has to be failed, and with which close code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("text that is not UTF-8")]
    NotUtf8,
    #[error("a message over the limit")]
    TooLarge,
}

impl ProtocolError {
    /// The close code of RFC 6455 section 7.4.1.
    pub(crate) fn close_code(self) -> u16 {
        match self {
            Self::Malformed(_) => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

/// Whether a frame that begins with this byte is a control frame: ping, pong, close.
pub(crate) fn is_control(first: u8) -> bool {
    first & 0x08 != 0
}

impl Decoder {
    /// Takes the frame at the front of `buffer` apart. Messages of more than
    /// `limit` bytes are an error as soon as a header announces them.
    pub(crate) fn step(&mut self, buffer: &mut [u8], terms: Terms) -> Result<Step, ProtocolError> {
        use ProtocolError::Malformed;

        let mut cursor = Cursor::new(&*buffer);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Malformed("a reserved opcode"))?;
        let Some((header, length)) = parsed else {
            return Ok(Step::Incomplete(buffer.len() + 1));
        };
        // The shortest form that holds the length: RFC 6455 section 5.2.
        let is_minimal = match buffer[1] & 0x7f {
            126 => length >= 126,
            127 => length > u64::from(u16::MAX),
            _ => true,
        };
        if !is_minimal {
            return Err(Malformed("a length that is not in its shortest form"));
        }
        // It says so of a whole message, on its first frame: RFC 7692 section 6.1.
        let compressed = header.rsv1
            && terms.may_compress
            && matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if (header.rsv1 && !compressed) || header.rsv2 || header.rsv3 {
            return Err(Malformed("a reserved bit without an extension"));
        }
        let Some(mask) = header.mask else {
            return Err(Malformed("a frame without a mask"));
        };
        let start = cursor.position() as usize;
        let fragments = self.kept.as_ref().and_then(|kept| kept.fragments.as_ref());
        let room = match fragments {
            None => most(compressed, terms.limit),
            Some(fragments) => {
                most(fragments.compressed, terms.limit).saturating_sub(fragments.payload.len())
            }
        };
        match header.opcode {
            OpCode::Control(_) if !header.is_final => return Err(Malformed("a fragmented control frame")),
            OpCode::Control(_) if length > 125 => return Err(Malformed("a control frame over 125 bytes")),
            OpCode::Control(_) => {}
            OpCode::Data(_) if length > room as u64 => return Err(ProtocolError::TooLarge),
            OpCode::Data(Data::Continue) if fragments.is_none() => {
                return Err(Malformed("a continuation of nothing"));
            }
            OpCode::Data(Data::Text | Data::Binary) if fragments.is_some() => {
                return Err(Malformed("a new message within a fragmented one"));
            }
            OpCode::Data(_) => {}
        }
        // At most `room` or 125, so it fits.
        let len = start + length as usize;
        let Some(payload) = buffer.get_mut(start..len) else {
            return Ok(Step::Incomplete(len));
        };
        unmask(payload, mask);
        let event = match header.opcode {
            OpCode::Control(Control::Ping) => Event::Ping(start..len),
            OpCode::Control(Control::Pong) => Event::Pong,
            OpCode::Control(Control::Close) => Event::Close(close_code(payload)?),
            OpCode::Data(Data::Text | Data::Binary) if header.is_final && !compressed => {
                let binary = header.opcode == OpCode::Data(Data::Binary);
                check_text(binary, payload)?;
                Event::Message { binary, payload: start..len }
            }
            OpCode::Data(kind @ (Data::Text | Data::Binary)) => {
                let binary = kind == Data::Binary;
                self.begin(Fragments { binary, compressed, payload: Vec::new() });
                self.fragment(payload, header.is_final, terms.limit)?
            }
            OpCode::Data(Data::Continue) => self.fragment(payload, header.is_final, terms.limit)?,
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
                return Err(Malformed("a reserved opcode"));
            }
        };
        Ok(Step::Frame { len, event })
    }

    fn begin(&mut self, fragments: Fragments) {
        self.kept.get_or_insert_default().fragments = Some(fragments);
    }

    /// Adds a fragment to the message that has begun, and gives that out with the last one.
    fn fragment(&mut self, payload: &[u8], is_last: bool, limit: usize) -> Result<Event, ProtocolError> {
        const NOTHING: ProtocolError = ProtocolError::Malformed("a continuation of nothing");

        let Kept { fragments, inflater } = self.kept.as_deref_mut().ok_or(NOTHING)?;
        let message = fragments.as_mut().ok_or(NOTHING)?;
        message.payload.extend_from_slice(payload);
        if !is_last {
            return Ok(Event::Fragment);
        }
        let Fragments { binary, compressed, mut payload } = fragments.take().ok_or(NOTHING)?;
        if compressed {
            // Only now: until then the message takes no more than what its client has sent.
            let mut decompressed = Vec::new();
            let inflater = inflater.get_or_insert_with(Inflater::new);
            inflater.inflate(&payload, &mut decompressed, limit)?;
            inflater.finish(&mut decompressed, limit)?;
            payload = decompressed;
        }
        if inflater.is_none() {
            self.kept = None;
        }
        check_text(binary, &payload)?;
        Ok(Event::Assembled { binary, payload })
    }
}

/// The most that a message may have as it comes, in bytes.
fn most(compressed: bool, limit: usize) -> usize {
    if compressed { max_compressed_len(limit) } else { limit }
}

fn check_text(binary: bool, payload: &[u8]) -> Result<(), ProtocolError> {
    if binary || std::str::from_utf8(payload).is_ok() { Ok(()) } else { Err(ProtocolError::NotUtf8) }
}

/// The code in a close frame, checked as section 7.4 asks.
fn close_code(payload: &[u8]) -> Result<Option<u16>, ProtocolError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(ProtocolError::Malformed("half a close code"))
        };
    };
    check_text(false, reason)?;
    match u16::from_be_bytes(*code) {
        code if may_close_with(code) => Ok(Some(code)),
        _ => Err(ProtocolError::Malformed("a close code that may not be sent")),
    }
}

/// Section 5.3, eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}
