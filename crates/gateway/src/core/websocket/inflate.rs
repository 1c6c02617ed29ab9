//! Decompression of messages that a client compresses unasked: RFC 7692 section 7.2.2.
//!
//! The gateway never accepts permessage-deflate, and never compresses. Safari of iOS 15 and
//! macOS 12 compresses nevertheless once it has offered the extension, and the original's
//! `Websocket::inflate` understands it.
//!
//! Pure bytes: which frames are compressed is the decoder's business (`decode`).

use std::fmt;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::error::WebSocketError;

/// The largest window that DEFLATE knows, in bytes. It serves senders with a smaller one too.
const WINDOW: usize = 32 * 1024;

/// What a sender takes off the end of each message: section 7.2.1.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Whether a client that sends this `Sec-WebSocket-Extensions` header offers
/// permessage-deflate, with whatever parameters.
pub(crate) fn is_offered(extensions: &[u8]) -> bool {
    extensions.split(|byte| *byte == b',').any(|offer| {
        let name = offer.split(|byte| *byte == b';').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"permessage-deflate")
    })
}

/// The longest frame, in bytes, that may carry a compressed message of `limit` bytes: what
/// does not compress is stored, with a header for each block.
pub(super) fn max_compressed_len(limit: usize) -> usize {
    limit.saturating_add(limit / 256).saturating_add(1024)
}

/// The decompressor of one client, some 43 KB.
///
/// It keeps its window from message to message: a client that was told nothing may refer to
/// what it has sent before ("context takeover", section 7.1.1).
pub(super) struct Inflater {
    state: DecompressorOxide,
    /// The last output, as a ring.
    window: Box<[u8]>,
    /// Where in the window the next byte of output goes.
    position: usize,
    /// Input has come since a message or a DEFLATE stream ended.
    is_within: bool,
}

impl Inflater {
    pub(super) fn new() -> Self {
        let window = vec![0; WINDOW].into_boxed_slice();
        Self { state: DecompressorOxide::new(), window, position: 0, is_within: false }
    }

    /// Appends to `out` what a part of a message decompresses to.
    ///
    /// # Errors
    /// When `out` would grow beyond `limit` bytes, or `input` is not DEFLATE. The inflater is
    /// of no further use then.
    pub(super) fn inflate(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), WebSocketError> {
        self.is_within |= !input.is_empty();
        while self.is_within {
            let Self { state, window, position, .. } = self;
            let (status, read, written) =
                decompress(state, input, window, *position, TINFL_FLAG_HAS_MORE_INPUT);
            input = &input[read..];
            let fresh = &window[*position..*position + written];
            if fresh.len() > limit.saturating_sub(out.len()) {
                return Err(WebSocketError::TooLarge);
            }
            out.extend_from_slice(fresh);
            *position = (*position + written) % WINDOW;
            match status {
                // The window's end was reached.
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput => break,
                // A block said that it was the last one: the next stream may still refer to
                // this one's output (section 7.2.3.4).
                TINFLStatus::Done => {
                    state.init();
                    self.is_within = !input.is_empty();
                }
                _ => return Err(WebSocketError::Malformed("a compressed message that is not DEFLATE")),
            }
        }
        Ok(())
    }

    /// Appends to `out` what is left of a message whose last part has been given.
    ///
    /// # Errors
    /// As [`inflate`](Self::inflate).
    pub(super) fn finish(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<(), WebSocketError> {
        if self.is_within {
            self.inflate(&TAIL, out, limit)?;
        }
        self.is_within = false;
        Ok(())
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decompresses messages, each given in parts, one after the other.
    fn messages(messages: &[&[&[u8]]], limit: usize) -> Result<Vec<Vec<u8>>, WebSocketError> {
        let mut inflater = Inflater::new();
        let mut one = |parts: &[&[u8]]| {
            let mut out = Vec::new();
            parts.iter().try_for_each(|part| inflater.inflate(part, &mut out, limit))?;
            inflater.finish(&mut out, limit)?;
            Ok(out)
        };
        messages.iter().map(|parts| one(parts)).collect()
    }

    const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    /// "Hello", as a reference to the one before.
    const HELLO_AGAIN: [u8; 5] = [0xf2, 0x00, 0x11, 0x00, 0x00];

    #[test]
    fn the_examples_of_the_rfc_decompress() {
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        let last_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        for example in [&HELLO[..], &stored, &last_block, &two_blocks] {
            assert_eq!(messages(&[&[example]], 5).unwrap(), [b"Hello"], "{example:x?}");
            let bytes: Vec<_> = example.chunks(1).collect();
            assert_eq!(messages(&[&bytes], 5).unwrap(), [b"Hello"], "{example:x?}");
        }
    }

    #[test]
    fn a_message_may_refer_to_those_before_it() {
        let last_block = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00][..];
        // Without the byte behind its last block, as zlib's `finish` leaves it.
        let finished = &last_block[..7];
        for first in [&HELLO[..], last_block, finished] {
            let got = messages(&[&[first], &[], &[&[0x00]], &[&HELLO_AGAIN], &[&HELLO_AGAIN]], 5).unwrap();
            assert_eq!(got, [&b"Hello"[..], b"", b"", b"Hello", b"Hello"], "{first:x?}");
        }
    }

    #[test]
    fn output_beyond_the_limit_is_refused_before_it_is_kept() {
        let bomb = miniz_oxide::deflate::compress_to_vec(&vec![b'x'; 64 << 20], 9);
        assert!(bomb.len() < 100_000);
        let (mut inflater, mut out) = (Inflater::new(), Vec::new());
        assert_eq!(inflater.inflate(&bomb, &mut out, 100_000), Err(WebSocketError::TooLarge));
        assert!(out.len() <= 100_000);
        assert_eq!(messages(&[&[&HELLO]], 4), Err(WebSocketError::TooLarge));
    }

    #[test]
    fn more_than_a_window_decompresses_however_it_is_cut() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| (n.wrapping_mul(n) % 977).to_be_bytes()).collect();
        for level in [0, 1, 9] {
            let compressed = miniz_oxide::deflate::compress_to_vec(&text, level);
            assert!(compressed.len() <= max_compressed_len(text.len()), "{level}");
            for cut in [1, 1000, usize::MAX] {
                let parts: Vec<_> = compressed.chunks(cut).collect();
                assert!(messages(&[&parts, &parts], text.len()).unwrap() == [&text[..], &text], "{cut}");
            }
        }
    }

    #[test]
    fn what_is_not_deflate_is_refused() {
        for garbage in [&[0xff, 0xff, 0xff][..], &[0x00, 0x01, 0x00, 0x01, 0x00], b"\x07garbage"] {
            assert!(
                matches!(messages(&[&[garbage]], 100), Err(WebSocketError::Malformed(_))),
                "{garbage:x?}"
            );
        }
    }

    #[test]
    fn the_extension_is_found_among_others() {
        for (header, offered) in [
            ("permessage-deflate", true),
            ("permessage-deflate; client_max_window_bits", true),
            ("x-webkit-deflate-frame, Permessage-Deflate;server_no_context_takeover", true),
            ("x-webkit-deflate-frame", false),
            ("other; a=permessage-deflate", false),
            ("permessage-deflate2", false),
            ("", false),
        ] {
            assert_eq!(is_offered(header.as_bytes()), offered, "{header}");
        }
    }
}
