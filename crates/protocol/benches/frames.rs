//! Frames of the inner links: an event and two commands, written and read.

#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::{Bytes, BytesMut};
use gatewayworker_microbench::Suite;
use gatewayworker_protocol::command::code;
use gatewayworker_protocol::frame::FLAG_PLAIN;
use gatewayworker_protocol::{Audience, Command, Frame, MAX_FRAME_LEN, Origin, Payload};

const SESSION: &[u8] = br#"a:2:{s:4:"name";s:5:"Alice";s:4:"room";i:7;}"#;

fn main() {
    let mut suite = Suite::default();
    let small = Bytes::from(vec![b'x'; 64]);
    let large = Bytes::from(vec![b'x'; 1024]);
    event(&mut suite, ["event/write 64 B", "event/read 64 B"], &small);
    event(&mut suite, ["event/write 1 KiB", "event/read 1 KiB"], &large);
    let one = |message: &Bytes| Command::SendToOne { to: 7, message: Payload::plain(message.clone()) };
    command(&mut suite, ["send to one/write 64 B", "send to one/read 64 B"], one(&small));
    command(&mut suite, ["send to one/write 1 KiB", "send to one/read 1 KiB"], one(&large));
    let all = |to, message: &Bytes| Command::SendToAll { to, message: Payload::plain(message.clone()) };
    let everyone = all(Audience::Everyone, &small);
    command(&mut suite, ["send to all/write 64 B", "send to all/read 64 B"], everyone);
    let ten = all(Audience::Only((1..=10).collect()), &small);
    command(&mut suite, ["send to ten/write 64 B", "send to ten/read 64 B"], ten);
    suite.measure();
}

/// A client's message as the gateway writes it, with its session, and a worker reads it.
fn event(suite: &mut Suite, [write, read]: [&'static str; 2], message: &Bytes) {
    let origin = Origin {
        gateway: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2300),
        client: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50000),
        connection_id: 7,
        gateway_port: 8289,
    };
    let (body, mut out) = (message.clone(), BytesMut::with_capacity(4096));
    suite.add(write, move || {
        out.clear();
        let frame = Frame { flag: FLAG_PLAIN, ..origin.frame(code::ON_MESSAGE) };
        frame.encode_with(&mut out, SESSION, &body);
    });
    let message = Payload::plain(message.clone());
    let command = Command::OnMessage { origin, session: Bytes::from_static(SESSION), message };
    reading(suite, read, command);
}

fn command(suite: &mut Suite, [write, read]: [&'static str; 2], command: Command) {
    let (said, mut out) = (command.clone(), BytesMut::with_capacity(4096));
    suite.add(write, move || {
        out.clear();
        said.clone().encode(&mut out);
    });
    reading(suite, read, command);
}

/// Out of the buffer that a socket was read into; filling that is part of it.
fn reading(suite: &mut Suite, name: &'static str, command: Command) {
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    suite.add(name, move || {
        buffer.reserve(bytes.len());
        buffer.extend_from_slice(&bytes);
        let frame = Frame::parse(&mut buffer, MAX_FRAME_LEN).unwrap().unwrap();
        Command::decode(frame).unwrap()
    });
}
