//! The bytes of a client of `gw.1`, with its control messages: no panic, and the same events however they are cut.
//!
//! The first byte says where to cut. Each line of the rest is a text message, so that control messages are met: a frame needs
//! no mask to be found by chance.

#![no_main]

use gatewayworker_gateway::internals::said_over_cuts;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1000;

fuzz_target!(|input: &[u8]| {
    let Some((cut, lines)) = input.split_first() else { return };
    let bytes: Vec<u8> = lines.split(|byte| *byte == b'\n').flat_map(frame).collect();
    let whole = said_over_cuts([&bytes[..]], LIMIT);
    assert_eq!(said_over_cuts(bytes.chunks(usize::from(*cut) + 1), LIMIT), whole);
    assert_eq!(said_over_cuts(bytes.chunks(1), LIMIT), whole);
});

/// A text frame with a mask of zeros.
fn frame(text: &[u8]) -> Vec<u8> {
    let text = &text[..text.len().min(0xffff)];
    let [high, low] = (text.len() as u16).to_be_bytes();
    let head = if text.len() < 126 { vec![0x81, 0x80 | low] } else { vec![0x81, 0xfe, high, low] };
    [&head, &[0; 4][..], text].concat()
}
