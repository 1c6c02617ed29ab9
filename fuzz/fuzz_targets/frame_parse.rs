//! What comes over an inner link: no panic, a frame is written as it was read, and
//! a command that is said again is understood the same.

#![no_main]

use bytes::{Bytes, BytesMut};
use gatewayworker_protocol::{Command, Frame, parse_answer};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 4096;

fuzz_target!(|input: &[u8]| {
    stream(input);
    let _ = parse_answer(&mut BytesMut::from(input), LIMIT);
    // A good frame at once, so that what commands carry is reached.
    if let [cmd, flag, ext, rest @ ..] = input {
        let (ext, body) = rest.split_at(rest.len().min(usize::from(*ext)));
        let [ext, body] = [ext, body].map(Bytes::copy_from_slice);
        command(Frame { cmd: *cmd, flag: *flag, ext, body, ..Frame::default() });
    }
});

fn stream(input: &[u8]) {
    let (mut buffer, mut rest) = (BytesMut::from(input), input);
    while let Ok(Some(frame)) = Frame::parse(&mut buffer, LIMIT) {
        let mut again = BytesMut::new();
        frame.encode(&mut again);
        let (read, behind) = rest.split_at(again.len());
        assert_eq!(again, read);
        rest = behind;
        command(frame);
    }
    assert_eq!(buffer, rest, "what is no whole frame is left as it was");
}

fn command(frame: Frame) {
    if let Ok(command) = Command::decode(frame) {
        let again = Command::decode(command.clone().into_frame());
        assert_eq!(again.expect("what we say is understood"), command);
    }
}
