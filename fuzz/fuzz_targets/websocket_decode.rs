//! A client's bytes: no panic, and the same events however they are cut.
//!
//! The first byte says where to cut, and how the client may compress. The limit is small,
//! so that it is met.

#![no_main]

use gatewayworker_gateway::internals::{Compression, Window, said};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1000;

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let compression = match cut % 3 {
        0 => Compression::Off,
        1 => Compression::Declined,
        _ => Compression::Agreed(Window::Bits15),
    };
    let whole = said([bytes], LIMIT, compression);
    assert_eq!(said(bytes.chunks(usize::from(*cut) + 1), LIMIT, compression), whole);
    assert_eq!(said(bytes.chunks(1), LIMIT, compression), whole);
});
