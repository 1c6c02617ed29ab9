//! Serialized PHP values, which sessions, answers and messages may be: no panic,
//! and what is read, written and read again stays the same.

#![no_main]

use gatewayworker_protocol::php::{json_encode, merge_sessions, serialize, unserialize};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = json_encode(input);
    // Into itself, so that both may hold references and objects.
    if let Ok(merged) = merge_sessions(input, input, 1 << 20) {
        merge_sessions(&merged, b"a:0:{}", 2 << 20).expect("what we write can be read");
    }
    let Ok(value) = unserialize(input) else { return };
    let written = serialize(&value);
    let again = unserialize(&written).expect("what we write can be read");
    // As bytes: a NAN is not equal to itself.
    assert_eq!(serialize(&again), written);
    let _ = merge_sessions(&written, input, 1 << 20);
});
