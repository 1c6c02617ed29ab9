//! The lines that a register and its peers exchange: no panic, and what is said
//! again is understood the same.

#![no_main]

use gatewayworker_protocol::register::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    if let Ok(message) = Message::parse(line) {
        let again = message.to_line();
        assert_eq!(again.find('\n'), Some(again.len() - 1), "one line");
        assert_eq!(Message::parse(again.as_bytes()).expect("what we say is understood"), message);
    }
});
