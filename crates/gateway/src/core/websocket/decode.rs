//! Decodes the frames of a client: RFC 6455 sections 5 to 8, over a borrowed buffer.
//!
//! [`Decoder::step`] looks at the front of a buffer, unmasks the payload in place, and returns the
//! frame's length and content. Between messages a decoder owns no memory, unless its client compresses without an
//! agreement (`inflate`). It sends nothing: `inbox` answers pings and fails connections.

use std::io::Cursor;
use std::ops::Range;

use gatewayworker_protocol::may_close_with;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::compression::{CompressedSizes, Compression};
use super::error::WebSocketError;
use super::inflate::{History, inflate, max_compressed_len};

#[cfg(test)]
mod tests;

/// Decodes the frames of one client.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// State between frames. Boxed: hardly any client has some.
    kept: Option<Box<Kept>>,
}

/// What a client may send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecodeOptions {
    /// The longest message, decompressed, in bytes.
    pub(crate) limit: usize,
    /// Whether the client may compress, and how.
    pub(crate) compression: Compression,
}

#[derive(Debug, Default)]
struct Kept {
    /// A message of which some fragments have come.
    fragments: Option<Fragments>,
    /// What a client has sent that compresses without an agreement, from its first compressed message on.
    history: Option<History>,
}

#[derive(Debug)]
struct Fragments {
    binary: bool,
    compressed: bool,
    /// The payloads so far, unmasked and not decompressed.
    payload: Vec<u8>,
}

/// The front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A frame that is not whole. It has at least so many bytes.
    Incomplete(usize),
    /// A frame of `len` bytes that says `content`.
    Frame {
        /// Its length, header included.
        len: usize,
        /// Its content. Ranges are positions in the buffer.
        content: Content,
    },
}

/// The content of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A message in one frame.
    Message {
        binary: bool,
        payload: Range<usize>,
    },
    /// The last fragment of a message, with all of it, or a compressed message, decompressed.
    Assembled {
        binary: bool,
        payload: Vec<u8>,
        /// Its lengths, where it was compressed.
        compressed: Option<CompressedSizes>,
    },
    /// Some fragment before the last.
    Fragment,
    Ping(Range<usize>),
    Pong(Range<usize>),
    /// The peer closes, perhaps with a code, and with a code perhaps a reason, which is UTF-8.
    Close {
        code: Option<u16>,
        reason: Range<usize>,
    },
}

/// Whether a frame that begins with this byte is a control frame: ping, pong, close.
pub(crate) fn is_control(first: u8) -> bool {
    first & 0x08 != 0
}

/// Whether a frame that begins with this byte is a close frame, valid or not.
pub(crate) fn is_close(first: u8) -> bool {
    first & 0x0f == 0x8
}

/// Whether a frame that begins with this byte counts as a message where messages are limited: it
/// begins one, or it is a ping, which is answered.
pub(crate) fn is_limited(first: u8) -> bool {
    matches!(first & 0x0f, 0x1 | 0x2 | 0x9)
}

impl Decoder {
    /// Returns whether it keeps nothing of the frames before.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.kept.is_none()
    }

    /// Decodes the frame at the front of `buffer`. A message that is too long is an error as soon
    /// as a header announces it.
    pub(crate) fn step(&mut self, buffer: &mut [u8], options: DecodeOptions) -> Result<Step, WebSocketError> {
        use WebSocketError::Malformed;

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
        // The bit is set on the first frame of a compressed message: RFC 7692 section 6.1.
        let compressed = header.rsv1
            && options.compression.may_receive()
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
            None => most(compressed, options.limit),
            Some(fragments) => {
                most(fragments.compressed, options.limit).saturating_sub(fragments.payload.len())
            }
        };
        match header.opcode {
            OpCode::Control(_) if !header.is_final => return Err(Malformed("a fragmented control frame")),
            OpCode::Control(_) if length > 125 => return Err(Malformed("a control frame over 125 bytes")),
            OpCode::Control(_) => {}
            OpCode::Data(_) if length > room as u64 => return Err(WebSocketError::TooLarge),
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
        let content = match header.opcode {
            OpCode::Control(Control::Ping) => Content::Ping(start..len),
            OpCode::Control(Control::Pong) => Content::Pong(start..len),
            OpCode::Control(Control::Close) => {
                Content::Close { code: close_code(payload)?, reason: len.min(start + 2)..len }
            }
            OpCode::Data(Data::Text | Data::Binary) if header.is_final && !compressed => {
                let binary = header.opcode == OpCode::Data(Data::Binary);
                check_text(binary, payload)?;
                Content::Message { binary, payload: start..len }
            }
            OpCode::Data(kind @ (Data::Text | Data::Binary)) if header.is_final => {
                self.decompress(kind == Data::Binary, payload, options)?
            }
            OpCode::Data(kind @ (Data::Text | Data::Binary)) => {
                let binary = kind == Data::Binary;
                self.begin(Fragments { binary, compressed, payload: Vec::new() });
                self.fragment(payload, false, options)?
            }
            OpCode::Data(Data::Continue) => self.fragment(payload, header.is_final, options)?,
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
                return Err(Malformed("a reserved opcode"));
            }
        };
        Ok(Step::Frame { len, content })
    }

    fn begin(&mut self, fragments: Fragments) {
        self.kept.get_or_insert_default().fragments = Some(fragments);
    }

    /// Adds a fragment to the message that has begun. Returns the message with the last fragment.
    fn fragment(
        &mut self,
        payload: &[u8],
        is_last: bool,
        options: DecodeOptions,
    ) -> Result<Content, WebSocketError> {
        const NOTHING: WebSocketError = WebSocketError::Malformed("a continuation of nothing");

        let kept = self.kept.as_deref_mut().ok_or(NOTHING)?;
        let message = kept.fragments.as_mut().ok_or(NOTHING)?;
        message.payload.extend_from_slice(payload);
        if !is_last {
            return Ok(Content::Fragment);
        }
        let Fragments { binary, compressed, payload } = kept.fragments.take().ok_or(NOTHING)?;
        if kept.history.is_none() {
            self.kept = None;
        }
        if compressed {
            // Only with the last fragment: until then a message takes no more memory than its client sent.
            return self.decompress(binary, &payload, options);
        }
        check_text(binary, &payload)?;
        Ok(Content::Assembled { binary, payload, compressed: None })
    }

    /// Returns what a whole compressed message decompresses to.
    fn decompress(
        &mut self,
        binary: bool,
        message: &[u8],
        options: DecodeOptions,
    ) -> Result<Content, WebSocketError> {
        let payload = match options.compression {
            Compression::Declined => {
                let history = self.kept.get_or_insert_default().history.get_or_insert_with(History::new);
                let payload = inflate(message, history.bytes(), options.limit)?;
                history.push(&payload);
                payload
            }
            Compression::Off | Compression::Agreed(_) => inflate(message, &[], options.limit)?,
        };
        check_text(binary, &payload)?;
        let sizes = CompressedSizes { plain: payload.len(), wire: message.len() };
        Ok(Content::Assembled { binary, payload, compressed: Some(sizes) })
    }
}

/// The longest message before it is decompressed, in bytes.
fn most(compressed: bool, limit: usize) -> usize {
    if compressed { max_compressed_len(limit) } else { limit }
}

fn check_text(binary: bool, payload: &[u8]) -> Result<(), WebSocketError> {
    if binary || std::str::from_utf8(payload).is_ok() { Ok(()) } else { Err(WebSocketError::NotUtf8) }
}

/// The code in a close frame, checked as RFC 6455 section 7.4 asks.
fn close_code(payload: &[u8]) -> Result<Option<u16>, WebSocketError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(WebSocketError::Malformed("half a close code"))
        };
    };
    check_text(false, reason)?;
    match u16::from_be_bytes(*code) {
        code if may_close_with(code) => Ok(Some(code)),
        _ => Err(WebSocketError::Malformed("a close code that may not be sent")),
    }
}

/// Unmasks as RFC 6455 section 5.3 says, eight bytes at a time.
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
