//! A client's bytes: no panic, and the same events however they are cut.
//!
//! The first byte says where to cut, and whether the client may compress. The limit is small,
//! so that it is met.

#![no_main]

use gatewayworker_gateway::internals::said;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1000;

fuzz_target!(|input: &[u8]| {
    let Some((cut, bytes)) = input.split_first() else { return };
    let may_compress = cut % 2 == 1;
    let whole = said([bytes], LIMIT, may_compress);
    assert_eq!(said(bytes.chunks(usize::from(*cut) + 1), LIMIT, may_compress), whole);
    assert_eq!(said(bytes.chunks(1), LIMIT, may_compress), whole);
});
