//! What is said in this scenario: the message with a number is the same whenever it is asked for.
//!
//! So who receives one knows what it has to be, and no list of them is kept. Some are binary, some are long, and some
//! begin with the mark of control messages.

use gatewayworker_protocol::Payload;

use crate::rng::Rng;
use crate::websocket::{BINARY, TEXT};

/// What a control message begins with, and a text of the application's twice that began with it.
const MARK: u8 = 1;

/// What it costs a gateway to keep a frame, beside its bytes.
const OVERHEAD: usize = size_of::<bytes::Bytes>();

/// A client from its `hello` to its end: its process, and the connection on which it was greeted.
pub(super) type Name = (u64, u64);

/// A message of the application, to clients or from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    is_binary: bool,
    bytes: Vec<u8>,
}

/// What has come in a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'f> {
    Data(Message),
    /// The JSON of a control message.
    Control(&'f [u8]),
}

impl Message {
    /// The application's message with this number, to any number of clients.
    pub(super) fn to_clients(number: u32) -> Self {
        Self::draw(&[1, number.into()], &format!("to {number}"))
    }

    /// A client's message with this number, from 1.
    pub(super) fn of_client((process, connection): Name, number: u64) -> Self {
        Self::draw(&[2, process, connection, number], &format!("of {process} {connection} {number}"))
    }

    fn draw(path: &[u64], label: &str) -> Self {
        let mut rng = Rng::derive(0, path);
        let mut bytes = if rng.chance(15) { vec![MARK] } else { Vec::new() };
        bytes.extend_from_slice(label.as_bytes());
        let padding = if rng.chance(10) { rng.below(600) } else { rng.below(30) };
        bytes.extend(std::iter::repeat_n(b'.', padding as usize));
        Self { is_binary: rng.chance(25), bytes }
    }

    /// The message that a worker was told.
    pub(super) fn told(is_binary: bool, bytes: &[u8]) -> Self {
        Self { is_binary, bytes: bytes.to_vec() }
    }

    /// The message for a command.
    pub(super) fn payload(&self) -> Payload {
        Payload { binary: self.is_binary, ..Payload::plain(self.bytes.clone()) }
    }

    /// The opcode and the payload of its frame.
    pub(super) fn frame(&self) -> (u8, Vec<u8>) {
        if self.is_binary {
            return (BINARY, self.bytes.clone());
        }
        let mark: &[u8] = if self.bytes.first() == Some(&MARK) { &[MARK] } else { &[] };
        (TEXT, [mark, &self.bytes].concat())
    }

    /// What it costs a gateway to keep it for a client, in bytes.
    pub(super) fn cost(&self) -> usize {
        let len = self.frame().1.len();
        OVERHEAD + len + if len < 126 { 2 } else { 4 }
    }
}

impl<'f> Content<'f> {
    /// Reads the payload of a frame with this opcode: text or binary.
    pub(super) fn of(opcode: u8, payload: &'f [u8]) -> Self {
        match (opcode, payload) {
            (TEXT, [MARK, MARK, ..]) => Self::Data(Message::told(false, &payload[1..])),
            (TEXT, [MARK, json @ ..]) => Self::Control(json),
            _ => Self::Data(Message::told(opcode == BINARY, payload)),
        }
    }
}

/// The payload of a control message with this JSON.
pub(super) fn control(json: &str) -> Vec<u8> {
    [&[MARK], json.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_same_each_time_and_is_read_from_its_frame() {
        for number in 0..200 {
            let message = Message::to_clients(number);
            assert_eq!(message, Message::to_clients(number));
            assert_ne!(message, Message::to_clients(number + 1));
            let (opcode, payload) = message.frame();
            assert_eq!(Content::of(opcode, &payload), Content::Data(message));
        }
        assert_eq!(Content::of(TEXT, &control("{}")), Content::Control(b"{}"));
    }
}
