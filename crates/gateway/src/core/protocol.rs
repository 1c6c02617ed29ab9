//! The protocols that clients may speak beside WebSocket: bytes to messages, and back.
//!
//! A [`Protocol`] knows neither sockets nor clients. A listener's URL names one by
//! its scheme; `text`, `frame` and `tcp` are the original's (its
//! `Workerman\Protocols\Text` and `Frame`, and no protocol at all), and a gateway
//! of one's own adds others: see [`Protocols::with`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The protocol between the clients of a listener and the gateway.
///
/// One value serves all connections: what is asked of it depends on the bytes alone.
pub trait Protocol: Send + Sync + 'static {
    /// Takes the message at the front of `input`, which holds at least one byte.
    ///
    /// # Errors
    /// When the bytes can be no message: the client is closed.
    fn decode<'b>(&self, input: Input<'b>) -> Result<Decoded<'b>, Violation>;

    /// Appends `message` to `out` as a client reads it.
    fn encode(&self, message: &[u8], out: &mut Vec<u8>);
}

/// The bytes of a client that are no whole message yet; it derefs to them.
#[derive(Debug, Clone, Copy)]
pub struct Input<'b> {
    bytes: &'b [u8],
    seen: usize,
    limit: usize,
}

impl<'b> Input<'b> {
    pub(crate) fn new(bytes: &'b [u8], seen: usize, limit: usize) -> Self {
        Self { bytes, seen: seen.min(bytes.len()), limit }
    }

    /// The bytes.
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// The position of the first `byte`. Bytes that an earlier call has searched are not searched
    /// again, so a long line may come in many small pieces.
    pub fn find(&self, byte: u8) -> Option<usize> {
        let place = self.bytes[self.seen..].iter().position(|b| *b == byte)?;
        Some(self.seen + place)
    }

    /// The longest message that the listener takes, in bytes. A longer one closes the
    /// client, whether or not the protocol looks at this.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl Deref for Input<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

/// What stands at the front of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'b> {
    /// Not all of a message yet. With this many bytes in all it could be one; more
    /// than there are, or it is asked again with the next byte.
    Incomplete(usize),
    /// A message in the first `len` bytes, at least one.
    Message {
        /// Its length on the wire.
        len: usize,
        /// What the worker is told.
        payload: Cow<'b, [u8]>,
    },
    /// The first so many bytes, at least one, say nothing that a worker is to hear: a
    /// device's heartbeat.
    Nothing(usize),
}

/// Bytes that can be no message, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub Cow<'static, str>);

impl From<&'static str> for Violation {
    fn from(why: &'static str) -> Self {
        Self(why.into())
    }
}

/// One message a line. Whatever line ends stand behind it are taken off, and `\n` is put
/// behind what is sent: `telnet` is a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Text;

impl Protocol for Text {
    fn decode<'b>(&self, input: Input<'b>) -> Result<Decoded<'b>, Violation> {
        let Some(end) = input.find(b'\n') else { return Ok(Decoded::Incomplete(input.len() + 1)) };
        let line = &input.bytes()[..end];
        let returns = line.iter().rev().take_while(|byte| **byte == b'\r').count();
        Ok(Decoded::Message { len: end + 1, payload: line[..end - returns].into() })
    }

    fn encode(&self, message: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(message);
        out.push(b'\n');
    }
}

/// A length before each message: four bytes, the most significant first, that count
/// themselves too.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frame;

impl Frame {
    const HEADER: usize = 4;
}

impl Protocol for Frame {
    fn decode<'b>(&self, input: Input<'b>) -> Result<Decoded<'b>, Violation> {
        let Some(header) = input.first_chunk::<{ Self::HEADER }>() else {
            return Ok(Decoded::Incomplete(Self::HEADER));
        };
        let len = u32::from_be_bytes(*header) as usize;
        if len < Self::HEADER {
            return Err("a frame's length counts its own four bytes".into());
        }
        Ok(match input.bytes().get(Self::HEADER..len) {
            Some(payload) => Decoded::Message { len, payload: payload.into() },
            None => Decoded::Incomplete(len),
        })
    }

    fn encode(&self, message: &[u8], out: &mut Vec<u8>) {
        // A message came in a frame of the inner protocol: it fits.
        let len = u32::try_from(Self::HEADER + message.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(message);
    }
}

/// No protocol: whatever has come is a message, and bytes go out as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Protocol for Tcp {
    fn decode<'b>(&self, input: Input<'b>) -> Result<Decoded<'b>, Violation> {
        let len = input.len().min(input.limit());
        Ok(Decoded::Message { len, payload: input.bytes()[..len].into() })
    }

    fn encode(&self, message: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(message);
    }
}

/// The protocols that a gateway's listeners may have, by the scheme of their URLs.
#[derive(Clone)]
pub struct Protocols(BTreeMap<String, Arc<dyn Protocol>>);

impl Protocols {
    /// These and one more: `with("device", Device)` makes `device://0.0.0.0:9000` a listener.
    /// One of the same scheme is replaced.
    ///
    /// # Panics
    /// When `scheme` is no scheme of a URL in lower case, or `websocket`, `ws` or `wss`.
    #[must_use]
    pub fn with(mut self, scheme: &str, protocol: impl Protocol) -> Self {
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
        assert!(is_scheme, "{scheme:?} is no scheme: write lower-case letters and digits");
        assert!(!["websocket", "ws", "wss"].contains(&scheme), "{scheme:?} is the gateway's own");
        self.0.insert(scheme.to_owned(), Arc::new(protocol));
        self
    }

    /// The protocol of a scheme, and which of them all it is.
    pub(crate) fn find(&self, scheme: &str) -> Option<(usize, Arc<dyn Protocol>)> {
        let index = self.0.keys().position(|known| known == scheme)?;
        Some((index, self.0.get(scheme)?.clone()))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their schemes.
    pub(crate) fn schemes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Default for Protocols {
    /// `text`, `frame` and `tcp`.
    fn default() -> Self {
        Self(BTreeMap::new()).with("text", Text).with("frame", Frame).with("tcp", Tcp)
    }
}

impl fmt::Debug for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.schemes()).finish()
    }
}

/// By their schemes.
impl PartialEq for Protocols {
    fn eq(&self, other: &Self) -> bool {
        self.schemes().eq(other.schemes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<'b>(protocol: &dyn Protocol, bytes: &'b [u8]) -> Decoded<'b> {
        protocol.decode(Input::new(bytes, 0, 1000)).unwrap()
    }

    fn message(len: usize, payload: &[u8]) -> Decoded<'_> {
        Decoded::Message { len, payload: payload.into() }
    }

    #[test]
    fn a_line_loses_its_ends_and_only_these() {
        for (line, payload) in [
            (&b"hi\n"[..], &b"hi"[..]),
            (b"hi\r\n", b"hi"),
            (b"hi\r\r\n", b"hi"),
            (b" h\ri \nnext", b" h\ri "),
            (b"\n", b""),
            (b"\r\n", b""),
        ] {
            let end = line.iter().position(|b| *b == b'\n').unwrap();
            assert_eq!(decode(&Text, line), message(end + 1, payload), "{line:?}");
        }
        assert_eq!(decode(&Text, b"no end\r"), Decoded::Incomplete(8));
    }

    #[test]
    fn what_was_looked_through_before_is_not_looked_through_again() {
        // Were it, the line end in front would be found.
        let input = Input::new(b"\nab\n", 2, 1000);
        assert_eq!(input.find(b'\n'), Some(3));
    }

    #[test]
    fn a_frame_counts_its_header() {
        assert_eq!(decode(&Frame, b"\0\0\0\x06hinext"), message(6, b"hi"));
        assert_eq!(decode(&Frame, b"\0\0\0\x04"), message(4, b""));
        assert_eq!(decode(&Frame, b"\0\0\0"), Decoded::Incomplete(4));
        assert_eq!(decode(&Frame, b"\0\0\0\x06h"), Decoded::Incomplete(6));
        assert_eq!(decode(&Frame, b"\xff\xff\xff\xff"), Decoded::Incomplete(u32::MAX as usize));
        for short in 0..4 {
            assert!(Frame.decode(Input::new(&[0, 0, 0, short], 0, 1000)).is_err(), "{short}");
        }
    }

    #[test]
    fn without_a_protocol_what_comes_is_the_message() {
        assert_eq!(decode(&Tcp, b"\0\xffanything"), message(10, b"\0\xffanything"));
        let short = Tcp.decode(Input::new(b"12345", 0, 3)).unwrap();
        assert_eq!(short, message(3, b"123"));
    }

    #[test]
    fn what_is_sent_comes_back_as_it_was() {
        for protocol in [&Text as &dyn Protocol, &Frame, &Tcp] {
            let mut out = Vec::new();
            protocol.encode("你好".as_bytes(), &mut out);
            assert_eq!(decode(protocol, &out), message(out.len(), "你好".as_bytes()));
        }
    }

    #[test]
    fn a_protocol_is_found_by_its_scheme() {
        let protocols = Protocols::default().with("device", Tcp);
        assert_eq!(format!("{protocols:?}"), r#"{"device", "frame", "tcp", "text"}"#);
        assert!(protocols.find("device").is_some() && protocols.find("udp").is_none());
        assert_ne!(protocols, Protocols::default());
    }
}
