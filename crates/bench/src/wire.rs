//! The bytes of a WebSocket client (RFC 6455): the opening request, masked frames out, unmasked frames in.
//!
//! `client` and `open` use it. It is not a general implementation: no fragments, no extensions, no check of the accept
//! key. The RFC requires a mask, which need not be random here: with one constant, a frame is encoded once and sent often.

/// The mask of every frame sent.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The longest payload that a server may send, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

/// A frame's opcode (RFC 6455, 5.2).
pub(crate) mod opcode {
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
}

/// The opening request, which offers a subprotocol or none.
pub(crate) fn request(host: &str, path: &str, subprotocol: Option<&str>) -> Vec<u8> {
    let offer = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
    )
    .into_bytes()
}

/// Returns where the response to the handshake ends, or `None` while it is not complete.
///
/// # Errors
/// The status is not 101. The error is the status line.
pub(crate) fn response_end(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    if line.starts_with(b"HTTP/1.1 101") {
        Ok(Some(end + 4))
    } else {
        Err(String::from_utf8_lossy(line).into_owned())
    }
}

/// Appends a masked frame to `out`.
pub(crate) fn encode(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ ..=125 => out.push(0x80 | length as u8),
        length @ ..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// A complete frame at the beginning of a buffer.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame<'a> {
    /// One of [`opcode`].
    pub(crate) opcode: u8,
    /// The payload.
    pub(crate) payload: &'a [u8],
    /// The length of the frame in the buffer, with its header.
    pub(crate) length: usize,
}

/// Returns the frame at the beginning of `bytes`, or `None` while it is not complete.
///
/// # Errors
/// The frame is invalid for a server, or this client does not support it. The error names what it is.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Frame<'_>>, &'static str> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    match first {
        0x81 | 0x82 | 0x88..=0x8a => {}
        _ if first & 0x70 != 0 => return Err("a frame with reserved bits"),
        _ if first & 0x80 == 0 || first & 0x0f == 0 => return Err("a fragmented message"),
        _ => return Err("a frame with an unknown opcode"),
    }
    if second & 0x80 != 0 {
        return Err("a masked frame");
    }
    let (header, length) = match (second, rest) {
        (126, &[a, b, ..]) => (4, usize::from(u16::from_be_bytes([a, b]))),
        (127, &[a, b, c, d, e, f, g, h, ..]) => {
            (10, usize::try_from(u64::from_be_bytes([a, b, c, d, e, f, g, h])).unwrap_or(usize::MAX))
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (2, usize::from(short)),
    };
    if length > MAX_PAYLOAD {
        return Err("a frame over 16 MiB");
    }
    let frame = bytes.get(header..header + length);
    Ok(frame.map(|payload| Frame { opcode: first & 0x0f, payload, length: header + length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server sends it: `encode` without the mask.
    fn served(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            length @ ..=125 => bytes.push(length as u8),
            length @ ..=0xffff => {
                bytes.push(126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                bytes.push(127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_masked_frame_is_the_one_of_the_rfc() {
        let mut out = Vec::new();
        encode(opcode::TEXT, b"Hello", &mut out);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn each_length_takes_its_own_header() {
        for (length, header) in [(0, 6), (125, 6), (126, 8), (0xffff, 8), (0x10000, 14)] {
            let mut out = Vec::new();
            encode(opcode::BINARY, &vec![7; length], &mut out);
            assert_eq!(out.len(), header + length);
            let bytes = served(opcode::BINARY, &vec![7; length]);
            let frame = decode(&bytes).unwrap().unwrap();
            assert_eq!((frame.payload.len(), frame.length), (length, bytes.len()));
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_not_complete() {
        for length in [0, 5, 125, 126, 300, 0x10000] {
            let bytes = served(opcode::TEXT, &vec![b'x'; length]);
            for cut in (0..bytes.len()).filter(|cut| *cut < 12 || *cut > bytes.len() - 3) {
                assert_eq!(decode(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn decoding_a_frame_leaves_the_next_one() {
        let bytes = [served(opcode::TEXT, b"one"), served(opcode::PING, b"")].concat();
        let first = decode(&bytes).unwrap().unwrap();
        assert_eq!((first.payload, first.length), (&b"one"[..], 5));
        assert_eq!(decode(&bytes[5..]).unwrap().unwrap().opcode, opcode::PING);
    }

    #[test]
    fn an_invalid_frame_of_a_server_is_an_error() {
        assert!(decode(&[0x81, 0x80]).is_err());
        assert!(decode(&[0x01, 0x00]).is_err());
        assert!(decode(&[0x80, 0x00]).is_err());
        assert!(decode(&[0xc1, 0x00]).is_err());
        assert!(decode(&[0x83, 0x00]).is_err());
        assert!(decode(&[0x82, 127, 0, 0, 0, 0, 1, 0, 0, 1]).is_err());
        assert!(decode(&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn the_answer_ends_at_the_blank_line() {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x01x";
        assert_eq!(response_end(answer), Ok(Some(answer.len() - 3)));
        assert_eq!(response_end(&answer[..40]), Ok(None));
        assert_eq!(response_end(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Err("HTTP/1.1 400 Bad Request".into()));
    }
}
