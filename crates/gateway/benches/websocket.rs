//! A client's frames, read and written.

#![allow(missing_docs, clippy::unwrap_used)]

use gatewayworker_gateway::internals::{FrameReader, encode};
use gatewayworker_microbench::Suite;

const LIMIT: usize = 1 << 20;

fn main() {
    let mut suite = Suite::default();
    decode(&mut suite, "decode/text 64 B", 0x81, 64);
    decode(&mut suite, "decode/text 1 KiB", 0x81, 1024);
    decode(&mut suite, "decode/binary 1 KiB", 0x82, 1024);
    decode(&mut suite, "decode/text 64 KiB", 0x81, 65535);
    for (name, len) in [("encode/text 64 B", 64), ("encode/text 1 KiB", 1024)] {
        let payload = vec![b'x'; len];
        suite.add(name, move || encode(false, &payload));
    }
    suite.measure();
}

/// Reading unmasks in place, so that every second time masks: both are ASCII.
fn decode(suite: &mut Suite, name: &'static str, first: u8, len: usize) {
    let mut frame = vec![first];
    match len {
        0..=125 => frame.push(0x80 | len as u8),
        _ => frame.extend([0xfe, (len >> 8) as u8, len as u8]),
    }
    frame.extend([1, 2, 3, 4]);
    frame.resize(frame.len() + len, b'x');
    let mut reader = FrameReader::default();
    suite.add(name, move || reader.read(&mut frame, LIMIT));
}
