//! Decompression of what clients send: RFC 7692 section 7.2.2.
//!
//! One decompressor serves all clients of a shard. A client that has agreed to compress begins each message anew, and
//! nothing is kept for it. Safari of iOS 15 and macOS 12 compresses though its offer was not accepted, and refers to what
//! it has sent before: such a client has a [`History`]. The original's `Websocket::inflate` understands it, too.
//!
//! Pure bytes: which frames are compressed is the decoder's business (`decode`).

use std::cell::RefCell;
use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use super::TAIL;
use super::error::WebSocketError;

/// The largest window that DEFLATE knows, in bytes. It serves senders with a smaller one too.
const WINDOW: usize = 32 * 1024;

/// The room for output that a message begins with, in bytes, for each byte of input.
const FIRST_ROOM: usize = 4;

/// How many DEFLATE streams a message may consist of. To begin one costs as much as kilobytes of output, as what it may refer to is
/// copied, and a client needs 2 bytes for it.
const MAX_STREAMS: usize = 64;

thread_local! {
    /// The decompressor of the shard, from the first compressed message on. It is reset before each message.
    static DECOMPRESSOR: RefCell<Option<Decompress>> = const { RefCell::new(None) };
}

/// The longest frame, in bytes, that may carry a compressed message of `limit` bytes: what
/// does not compress is stored, with a header for each block.
pub(super) fn max_compressed_len(limit: usize) -> usize {
    limit.saturating_add(limit / 256).saturating_add(1024)
}

/// Returns what a compressed message decompresses to. It may refer to `before`, and the whole message has come: until
/// then it takes no more memory than its client has sent.
///
/// # Errors
/// When the message would have more than `limit` bytes, consists of too many streams, or is not DEFLATE. Never more than `limit` and one byte are
/// allocated for it.
pub(crate) fn inflate(message: &[u8], before: &[u8], limit: usize) -> Result<Vec<u8>, WebSocketError> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = kept.get_or_insert_with(|| Decompress::new(false));
        let out = Vec::new();
        let mut inflation = Inflation { decompressor, before, out, limit, streams: 0, is_within: false };
        inflation.start()?;
        inflation.feed(message)?;
        inflation.finish()?;
        Ok(inflation.out)
    })
}

/// Returns the first bytes that a compressed message decompresses to, at most `limit`; `None` where it is not DEFLATE.
pub(in crate::core) fn inflate_front(message: &[u8], limit: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = kept.get_or_insert_with(|| Decompress::new(false));
        decompressor.reset(false);
        let mut out = Vec::with_capacity(limit);
        decompressor.decompress_vec(message, &mut out, FlushDecompress::Sync).ok()?;
        Some(out)
    })
}

/// The decompression of one message.
struct Inflation<'d> {
    decompressor: &'d mut Decompress,
    before: &'d [u8],
    out: Vec<u8>,
    limit: usize,
    /// How many DEFLATE streams have begun.
    streams: usize,
    /// Input has come since the last DEFLATE stream ended.
    is_within: bool,
}

impl Inflation<'_> {
    /// Begins a DEFLATE stream. It may refer to the output of those before it in the same message (section 7.2.3.4), and
    /// to `before`.
    fn start(&mut self) -> Result<(), WebSocketError> {
        self.streams += 1;
        if self.streams > MAX_STREAMS {
            return Err(WebSocketError::TooLarge);
        }
        self.decompressor.reset(false);
        for history in [self.before, &self.out] {
            let last = &history[history.len().saturating_sub(WINDOW)..];
            if !last.is_empty() {
                self.decompressor.set_dictionary(last).map_err(|_| WebSocketError::NotDeflate)?;
            }
        }
        Ok(())
    }

    /// Decompresses a part of the message.
    fn feed(&mut self, mut input: &[u8]) -> Result<(), WebSocketError> {
        self.is_within |= !input.is_empty();
        while self.is_within {
            self.make_room(input.len());
            let read = self.decompressor.total_in();
            let status = self
                .decompressor
                .decompress_vec(input, &mut self.out, FlushDecompress::Sync)
                .map_err(|_| WebSocketError::NotDeflate)?;
            if self.out.len() > self.limit {
                return Err(WebSocketError::TooLarge);
            }
            input = &input[(self.decompressor.total_in() - read) as usize..];
            let is_full = self.out.len() == self.out.capacity();
            match status {
                // A block said that it was the last one.
                Status::StreamEnd => {
                    self.is_within = !input.is_empty();
                    if self.is_within {
                        self.start()?;
                    }
                }
                Status::Ok | Status::BufError if is_full => {}
                Status::Ok | Status::BufError => break,
            }
        }
        Ok(())
    }

    /// Decompresses what is left of a message whose last part has been fed.
    fn finish(&mut self) -> Result<(), WebSocketError> {
        if self.is_within { self.feed(&TAIL) } else { Ok(()) }
    }

    /// Makes room for more output, if there is none: twice as much as before, and one byte beyond the limit at most,
    /// which shows that the message is too long.
    fn make_room(&mut self, input: usize) {
        let len = self.out.len();
        if len == self.out.capacity() {
            let wanted = len.saturating_mul(2).max(input.saturating_mul(FIRST_ROOM)).max(64);
            let room = wanted.min(self.limit.saturating_add(1)).saturating_sub(len);
            self.out.reserve_exact(room.max(1));
        }
    }
}

/// The last bytes that a client which compresses unasked has sent, to which its next message may refer: 32 KB.
pub(super) struct History(Vec<u8>);

impl History {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(WINDOW))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends a message, and forgets what no message can refer to any more.
    pub(super) fn push(&mut self, message: &[u8]) {
        let message = &message[message.len().saturating_sub(WINDOW)..];
        let forgotten = (self.0.len() + message.len()).saturating_sub(WINDOW);
        self.0.drain(..forgotten);
        self.0.extend_from_slice(message);
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("bytes", &self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    /// "Hello", as a reference to the one before.
    const HELLO_AGAIN: [u8; 5] = [0xf2, 0x00, 0x11, 0x00, 0x00];
    /// "Hello" in a block that says that it is the last one, and the byte that such a sender appends.
    const LAST_BLOCK: [u8; 8] = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];

    /// Decompresses messages of a client that refers to those before.
    fn with_history(messages: &[&[u8]], limit: usize) -> Result<Vec<Vec<u8>>, WebSocketError> {
        let mut history = History::new();
        let one = |message: &&[u8]| {
            let inflated = inflate(message, history.bytes(), limit)?;
            history.push(&inflated);
            Ok(inflated)
        };
        messages.iter().map(one).collect()
    }

    /// A whole DEFLATE stream, whose last block says that it is that.
    fn compressed(message: &[u8], level: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() + message.len() / 10 + 100);
        let mut compress = Compress::new(Compression::new(level), false);
        let status = compress.compress_vec(message, &mut out, FlushCompress::Finish).unwrap();
        assert_eq!(status, Status::StreamEnd);
        out
    }

    #[test]
    fn the_examples_of_the_rfc_decompress() {
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
        let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        for example in [&HELLO[..], &stored, &LAST_BLOCK, &LAST_BLOCK[..7], &two_blocks] {
            assert_eq!(inflate(example, b"", 5).unwrap(), b"Hello", "{example:x?}");
        }
        for nothing in [&b""[..], b"\0"] {
            assert_eq!(inflate(nothing, b"", 5).unwrap(), b"");
        }
    }

    #[test]
    fn a_message_may_refer_to_those_before_it_where_they_are_kept_and_only_there() {
        // The last is without the byte behind its last block, as zlib's `finish` leaves it.
        for first in [&HELLO[..], &LAST_BLOCK, &LAST_BLOCK[..7]] {
            let got = with_history(&[first, &[], &[0x00], &HELLO_AGAIN, &HELLO_AGAIN], 5).unwrap();
            assert_eq!(got, [&b"Hello"[..], b"", b"", b"Hello", b"Hello"], "{first:x?}");
            inflate(first, b"", 5).unwrap();
            assert_eq!(inflate(&HELLO_AGAIN, b"", 5), Err(WebSocketError::NotDeflate));
        }
    }

    #[test]
    fn a_stream_refers_to_the_one_before_it_in_the_same_message() {
        let both = [&LAST_BLOCK[..7], &HELLO_AGAIN].concat();
        assert_eq!(inflate(&both, b"", 10).unwrap(), b"HelloHello");
    }

    #[test]
    fn a_message_of_very_many_streams_is_refused() {
        // The shortest one there is: a last block without output.
        let empty = [0x03, 0x00];
        let message = |streams: usize| [&LAST_BLOCK[..7], &empty.repeat(streams - 1)].concat();
        assert_eq!(inflate(&message(MAX_STREAMS), b"", 5).unwrap(), b"Hello");
        assert_eq!(inflate(&message(MAX_STREAMS + 1), b"", 5), Err(WebSocketError::TooLarge));
        assert_eq!(inflate(&message(4 << 20), b"", 8 << 20), Err(WebSocketError::TooLarge));
    }

    #[test]
    fn a_history_has_the_last_window_and_no_more_memory() {
        let (mut history, mut all) = (History::new(), Vec::new());
        for len in [0, 5, 20_000, 20_000, 100_000, 1, WINDOW, 7] {
            let message: Vec<u8> = (0..len).map(|n| (n * 7 + len) as u8).collect();
            history.push(&message);
            all.extend(message);
            assert_eq!(history.bytes(), &all[all.len().saturating_sub(WINDOW)..]);
        }
        assert_eq!(history.0.capacity(), WINDOW);
    }

    #[test]
    fn output_beyond_the_limit_is_refused_and_has_no_memory() {
        let bomb = compressed(&vec![b'x'; 64 << 20], 9);
        assert!(bomb.len() < 100_000);
        for limit in [1, 5, 64, 1000, 100_000, 1 << 20] {
            let mut decompressor = Decompress::new(false);
            let mut inflation = Inflation {
                decompressor: &mut decompressor,
                before: b"",
                out: Vec::new(),
                limit,
                streams: 0,
                is_within: false,
            };
            assert_eq!(inflation.feed(&bomb), Err(WebSocketError::TooLarge));
            assert!(inflation.out.capacity() <= limit + 1, "{limit}");
            assert_eq!(inflate(&compressed(&vec![b'x'; limit], 1), b"", limit).unwrap().len(), limit);
            let one_more = compressed(&vec![b'x'; limit + 1], 1);
            assert_eq!(inflate(&one_more, b"", limit), Err(WebSocketError::TooLarge));
        }
        assert_eq!(inflate(&HELLO, b"", 4), Err(WebSocketError::TooLarge));
    }

    #[test]
    fn more_than_a_window_decompresses() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| (n.wrapping_mul(n) % 977).to_be_bytes()).collect();
        for level in [0, 1, 9] {
            let compressed = compressed(&text, level);
            assert!(compressed.len() <= max_compressed_len(text.len()), "{level}");
            let twice = [&compressed[..], &compressed].concat();
            assert!(inflate(&twice, b"", 2 * text.len()).unwrap() == [&text[..], &text].concat(), "{level}");
        }
    }

    #[test]
    fn what_is_not_deflate_is_refused() {
        for garbage in [&[0xff, 0xff, 0xff][..], &[0x00, 0x01, 0x00, 0x01, 0x00], b"\x07garbage"] {
            assert_eq!(inflate(garbage, b"", 100), Err(WebSocketError::NotDeflate), "{garbage:x?}");
        }
        // Nothing of that is left for the next message.
        assert_eq!(inflate(&HELLO, b"", 5).unwrap(), b"Hello");
    }

    #[test]
    fn the_front_of_a_message_is_shown() {
        let text = b"0123456789".repeat(100);
        let whole = compressed(&text, 1);
        assert_eq!(inflate_front(&whole, 25).unwrap(), text[..25]);
        assert_eq!(inflate_front(&whole, 5000).unwrap(), text);
        assert_eq!(inflate_front(b"\xff\xff\xff", 25), None);
    }
}
