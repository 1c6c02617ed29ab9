//! A simulated client's side of WebSocket: masked frames out, whole frames of the server in.
//!
//! It is written for itself, from RFC 6455, and shares nothing with the gateway's: an error in
//! one would otherwise hide in the other. Handshakes are the shell's and not simulated.

use crate::violation::Violation;

/// A text message.
pub const TEXT: u8 = 1;
/// A binary message.
pub const BINARY: u8 = 2;
/// The end of the connection.
pub const CLOSE: u8 = 8;
/// Asks for a pong.
pub const PING: u8 = 9;
/// Answers a ping.
pub const PONG: u8 = 10;

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFrame {
    /// Its opcode: 1 text, 2 binary, 8 close, 9 ping, 10 pong.
    pub opcode: u8,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// Returns a whole frame of a client, masked with `mask`.
pub fn client_frame(opcode: u8, payload: &[u8], mask: u32) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    let mask = mask.to_be_bytes();
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Takes the first frame of a client off `bytes`, if it is whole: its first byte and its payload, unmasked.
pub(crate) fn take_client_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let len = client_frame_len(bytes).filter(|len| *len <= bytes.len())?;
    let head = match bytes[1] & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let frame: Vec<u8> = bytes.drain(..len).collect();
    let (mask, payload) = frame[head..].split_at(4);
    Some((frame[0], payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()))
}

/// Counts the text messages in what a client has sent: an onlooker's count, beside the gateway's.
#[derive(Debug, Default)]
pub struct MessageCounter {
    /// Bytes of frames that are not whole yet.
    partial: Vec<u8>,
    /// Where each text message ends that was not counted yet.
    ends: std::collections::VecDeque<u64>,
    received: u64,
    counted: u64,
    has_closed: bool,
}

impl MessageCounter {
    /// Hears what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        self.received += bytes.len() as u64;
        while let Some(len) = client_frame_len(&self.partial).filter(|len| *len <= self.partial.len()) {
            let is_text = self.partial[0] & 0x0f == TEXT;
            self.has_closed |= self.partial[0] & 0x0f == CLOSE;
            self.partial.drain(..len);
            if is_text {
                self.ends.push_back(self.received - self.partial.len() as u64);
            }
        }
    }

    /// Says whether a close frame has come.
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// Returns how many messages have come that are not in the last `left` bytes, in whole or in part.
    pub fn messages(&mut self, left: usize) -> u64 {
        while self.ends.front().is_some_and(|end| *end <= self.received - left as u64) {
            self.ends.pop_front();
            self.counted += 1;
        }
        self.counted
    }
}

/// Returns the length of the frame of a client at the front of these bytes, if its head is whole.
fn client_frame_len(bytes: &[u8]) -> Option<usize> {
    let [_, second, rest @ ..] = bytes else { return None };
    Some(match second & 0x7f {
        126 => 8 + usize::from(u16::from_be_bytes(*rest.first_chunk()?)),
        127 => 14 + usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?,
        len => 6 + usize::from(len),
    })
}

/// What a client has received and not looked at.
#[derive(Debug, Default)]
pub struct ServerFrames(Vec<u8>);

impl ServerFrames {
    /// Appends bytes that have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Says whether a frame has begun and is not whole.
    pub fn is_partial(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes the next frame, if it is whole.
    ///
    /// # Errors
    /// `server-speaks-websocket`, if it is not a whole, unmasked, uncompressed frame with a known opcode.
    pub fn take(&mut self) -> Result<Option<ServerFrame>, Violation> {
        let [first, second, ..] = self.0[..] else { return Ok(None) };
        let opcode = first & 0x0f;
        if first & 0xf0 != 0x80 || second & 0x80 != 0 || !matches!(opcode, 1 | 2 | 8..=10) {
            let details = format!("a frame begins with {first:02x} {second:02x}");
            return Err(Violation::new("server-speaks-websocket", details));
        }
        let (head, len) = match (second, &self.0[2..]) {
            (126, [a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
            (127, rest) => match rest.first_chunk() {
                Some(len) => (10, u64::from_be_bytes(*len)),
                None => return Ok(None),
            },
            (126, _) => return Ok(None),
            (len, _) => (2, u64::from(len)),
        };
        if ((self.0.len() - head) as u64) < len {
            return Ok(None);
        }
        let end = head + len as usize;
        let payload = self.0[head..end].to_vec();
        self.0.drain(..end);
        Ok(Some(ServerFrame { opcode, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_frame_is_as_in_the_rfc() {
        // RFC 6455, section 5.7: a single-frame masked text message.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(client_frame(TEXT, b"Hello", 0x37fa_213d), hello);
        assert_eq!(client_frame(CLOSE, &[0; 126], 0)[..4], [0x88, 0xfe, 0, 126]);
        assert_eq!(client_frame(PING, &[0; 0x1_0000], 0)[..10], [0x89, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_clients_frame_is_read_as_it_was_written() {
        for len in [0, 125, 126, 70_000] {
            let payload = vec![b'x'; len];
            let mut bytes = client_frame(BINARY, &payload, 0x1234_5678);
            bytes.push(0x81);
            assert_eq!(take_client_frame(&mut bytes), Some((0x82, payload)));
            assert_eq!(take_client_frame(&mut bytes), None);
        }
    }

    #[test]
    fn a_servers_frames_are_taken_whole_however_they_arrive() {
        let mut sent = Vec::new();
        for len in [0_usize, 1, 125, 126, 65_535, 65_536] {
            sent.push(0x82);
            match len {
                0..126 => sent.push(len as u8),
                126..0x1_0000 => {
                    sent.push(126);
                    sent.extend((len as u16).to_be_bytes());
                }
                _ => {
                    sent.push(127);
                    sent.extend((len as u64).to_be_bytes());
                }
            }
            sent.extend(vec![7; len]);
        }
        let mut frames = ServerFrames::default();
        let mut lens = Vec::new();
        for piece in sent.chunks(999).flat_map(|piece| [&piece[..1], &piece[1..]]) {
            frames.push(piece);
            while let Some(frame) = frames.take().unwrap() {
                assert_eq!(frame.opcode, 2);
                lens.push(frame.payload.len());
            }
        }
        assert_eq!(lens, [0, 1, 125, 126, 65_535, 65_536]);
        assert!(!frames.is_partial());
    }

    #[test]
    fn a_frame_that_no_server_may_send_is_found() {
        for begin in [[0x01, 0], [0xc1, 0], [0x81, 0x80], [0x83, 0]] {
            let mut frames = ServerFrames::default();
            frames.push(&begin);
            assert_eq!(frames.take().unwrap_err().invariant, "server-speaks-websocket");
        }
    }

    #[test]
    fn messages_are_counted_without_those_that_are_left() {
        let mut counter = MessageCounter::default();
        let frames = [(TEXT, 3), (PING, 5), (TEXT, 300), (TEXT, 70_000)];
        let mut sent = Vec::new();
        for (opcode, len) in frames {
            sent.extend(client_frame(opcode, &vec![b'x'; len], 7));
        }
        for byte in &sent {
            counter.push(&[*byte]);
        }
        assert_eq!(counter.messages(70_014 + 308), 1);
        assert_eq!(counter.messages(70_014 + 307), 1);
        assert_eq!(counter.messages(70_014), 2);
        assert_eq!(counter.messages(0), 3);
    }
}
