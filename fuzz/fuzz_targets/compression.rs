//! Compression: what the gateway compresses is read back, what a client compresses stays within its limit, and what is
//! agreed on is what is answered.
//!
//! The first byte says how to compress. The rest is the message, the compressed message, and the header of an offer.

#![no_main]

use gatewayworker_gateway::internals::{Compression, Window, deflated, inflated, negotiated};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 10_000;

fuzz_target!(|input: &[u8]| {
    let Some((how, bytes)) = input.split_first() else { return };
    let window = Window::new(9 + how % 7).expect("from 9 to 15");
    if let Some(deflated) = deflated(bytes, 1 + how / 7 % 9, window) {
        assert!(deflated.len() < bytes.len());
        assert_eq!(inflated(&deflated, bytes.len()).as_deref(), Some(bytes));
        assert_eq!(inflated(&deflated, bytes.len() - 1), None);
    }
    if let Some(inflated) = inflated(bytes, LIMIT) {
        assert!(inflated.len() <= LIMIT);
    }
    match negotiated(bytes) {
        (Compression::Agreed(window), Some(answer)) => {
            assert!(answer.contains("server_no_context_takeover; client_no_context_takeover"));
            let limit = answer.split_once("server_max_window_bits=").map(|(_, bits)| bits);
            assert_eq!(limit.unwrap_or("15"), window.bits().to_string());
        }
        (Compression::Off | Compression::Declined, None) => {}
        other => panic!("{other:?}"),
    }
});
