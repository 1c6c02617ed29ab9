//! Compression of what clients are sent: RFC 7692 section 7.2.1.
//!
//! Each message is compressed by itself (no context takeover), so one compressor of each level and window serves all
//! clients of a shard, and a client has none. What a message becomes is kept elsewhere (`core::outgoing`), so that a
//! broadcast is compressed once.

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress};

use super::TAIL;
use super::compression::Window;

/// How many bytes the buffer for output keeps from message to message.
const KEPT: usize = 64 * 1024;

/// What a shard compresses with. A compressor has some 270 KB at the largest window.
#[derive(Debug, Default)]
struct Deflater {
    /// At most one for each level and window.
    compressors: Vec<(u8, Window, Compress)>,
    out: Vec<u8>,
}

thread_local! {
    static DEFLATER: RefCell<Deflater> = const { RefCell::new(Deflater { compressors: Vec::new(), out: Vec::new() }) };
}

/// Compresses a message, and returns what `made` makes of the result; `None` where that is not shorter than the message.
pub(super) fn deflate<R>(
    message: &[u8],
    level: u8,
    window: Window,
    made: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    DEFLATER.with_borrow_mut(|Deflater { compressors, out }| {
        let known = compressors.iter().position(|(of, within, _)| (*of, *within) == (level, window));
        let at = known.unwrap_or_else(|| {
            let compression = Compression::new(level.into());
            compressors.push((
                level,
                window,
                Compress::new_with_window_bits(compression, false, window.bits()),
            ));
            compressors.len() - 1
        });
        let compressor = &mut compressors[at].2;
        compressor.reset();
        out.clear();
        // Room for whatever comes out, also where it is longer: zlib-rs 0.6.8 may panic at level 1 in the message behind
        // one whose output was full. A byte becomes 9 bits at most.
        out.reserve(message.len() + message.len() / 4 + 1024);
        compressor.compress_vec(message, out, FlushCompress::Sync).ok()?;
        let is_whole = compressor.total_in() == message.len() as u64 && out.len() < out.capacity();
        let deflated = out.strip_suffix(&TAIL).filter(|deflated| deflated.len() < message.len());
        let result = deflated.filter(|_| is_whole).map(made);
        out.clear();
        out.shrink_to(KEPT);
        result
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::compression::MAX_LEVEL;
    use super::super::inflate::inflate;
    use super::*;

    fn deflated(message: &[u8], level: u8, window: Window) -> Option<Vec<u8>> {
        deflate(message, level, window, <[u8]>::to_vec)
    }

    /// Some JSON.
    fn text(len: usize) -> Vec<u8> {
        let items =
            (0_u32..).map(|n| format!(r#"{{"id":{n},"value":{},"up":true}},"#, n.wrapping_mul(7919) % 977));
        items.flat_map(String::into_bytes).take(len).collect()
    }

    #[test]
    fn each_level_and_window_is_read_back_within_that_window() {
        for window in Window::ALL {
            for level in 1..=MAX_LEVEL {
                for len in [300, 513, 4096, 40_000, 100_000] {
                    let (text, what) = (text(len), format!("{window:?}, level {level}, {len} bytes"));
                    let deflated = deflated(&text, level, window).unwrap_or_else(|| panic!("{what}"));
                    assert!(inflate(&deflated, b"", len).unwrap() == text, "{what}");
                    // A client has no larger window than it has said.
                    let mut client = flate2::Decompress::new_with_window_bits(false, window.bits());
                    let mut got = Vec::with_capacity(len + 1);
                    let input = [&deflated[..], &TAIL].concat();
                    while client.total_in() < input.len() as u64 {
                        // In pieces, so that what it refers to is in the window and not in its output.
                        let mut piece = Vec::with_capacity(64);
                        let rest = &input[client.total_in() as usize..];
                        client.decompress_vec(rest, &mut piece, flate2::FlushDecompress::Sync).expect(&what);
                        got.extend(piece);
                    }
                    assert!(got == text, "{what}");
                }
            }
        }
    }

    /// Words that are repeated near and far.
    fn words() -> impl Strategy<Value = Vec<u8>> {
        let word = vec(any::<u8>(), 1..60);
        let order = vec(any::<prop::sample::Index>(), 0..2000);
        (vec(word, 1..40), order)
            .prop_map(|(words, order)| order.iter().flat_map(|index| index.get(&words).clone()).collect())
    }

    fn noise(len: usize) -> Vec<u8> {
        noise_from(1, len)
    }

    fn noise_from(seed: u32, len: usize) -> Vec<u8> {
        let next = |n: &u32| Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        std::iter::successors(Some(seed), next).map(|n| (n >> 24) as u8).take(len).collect()
    }

    proptest! {
        #[test]
        fn whatever_is_compressed_is_read_back(
            message in words(),
            level in 1..=MAX_LEVEL,
            window in prop::sample::select(Window::ALL.to_vec()),
        ) {
            if let Some(deflated) = deflated(&message, level, window) {
                prop_assert!(deflated.len() < message.len());
                prop_assert!(inflate(&deflated, b"", message.len()).unwrap() == message);
            }
        }
    }

    #[test]
    fn what_does_not_shrink_is_not_compressed() {
        for message in [&b""[..], b"x", b"xy", &noise(5000)] {
            assert_eq!(deflated(message, 1, Window::Bits15), None, "{} bytes", message.len());
        }
        let long = noise(300_000);
        for (level, window) in (1..=MAX_LEVEL).flat_map(|level| Window::ALL.map(|window| (level, window))) {
            assert_eq!(deflated(&long, level, window), None, "level {level}, {window:?}");
        }
        // Nothing of that is left for the next message.
        assert!(inflate(&deflated(&text(600), 1, Window::Bits15).unwrap(), b"", 600).unwrap() == text(600));
    }

    #[test]
    fn noise_behind_noise_does_not_harm_the_compressor() {
        // With an output of the message's length, zlib-rs panics at one of these.
        for seed in 0..100 {
            let message = noise_from(seed, 65_536);
            assert_eq!(deflated(&message, 1, Window::Bits15), None, "noise {seed}");
        }
        let (text, deflated) = (text(600), deflated(&text(600), 1, Window::Bits15).unwrap());
        assert_eq!(inflate(&deflated, b"", 600).unwrap(), text);
    }

    #[test]
    fn a_long_message_leaves_no_memory_behind() {
        deflated(&text(1 << 20), 1, Window::Bits15).unwrap();
        DEFLATER.with_borrow(|deflater| assert!(deflater.out.capacity() <= KEPT));
    }
}
