//! What comes over an inner link: no panic, a frame is written as it was read, and
//! a command that is said again is understood the same.

#![no_main]

use bytes::BytesMut;
use gatewayworker_protocol::{Command, Frame, parse_answer};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let mut buffer = BytesMut::from(input);
    let mut rest = input;
    while let Ok(Some(frame)) = Frame::parse(&mut buffer, LIMIT) {
        let mut again = BytesMut::new();
        frame.encode(&mut again);
        let (read, behind) = rest.split_at(again.len());
        assert_eq!(again, read);
        rest = behind;
        if let Ok(command) = Command::decode(frame) {
            let again = Command::decode(command.clone().into_frame());
            assert_eq!(again.expect("what we say is understood"), command);
        }
    }
    assert_eq!(buffer, rest, "what is no whole frame is left as it was");
    let _ = parse_answer(&mut BytesMut::from(input), LIMIT);
});
