//! The PROXY protocol, versions 1 and 2: a header with the client's address, which a proxy sends
//! before the client's first byte (HAProxy, doc/proxy-protocol.txt). `client` calls [`read`].
//!
//! It is written here rather than taken from a crate: it is short, must withstand any bytes, and
//! must not read one byte of the client's.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The first bytes of a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, in bytes.
const MAX_V1: usize = 107;

/// The longest header of version 2 that is accepted, in bytes. Addresses need 52; the rest is for
/// extensions of proxies, which are skipped.
const MAX_V2: usize = 2048;

/// The error of a connection without a valid PROXY header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it began with no PROXY header")]
    Missing,
    #[error("its PROXY header is over the limit of {MAX_V2} bytes")]
    TooLong,
    #[error("its PROXY header is malformed")]
    Malformed,
}

/// Reads the header, and no byte behind it. Returns the client's address, or `None` where the proxy
/// speaks for itself.
///
/// Not cancel safe; the caller gives it a time limit and drops the stream.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    let mut header = Vec::with_capacity(MAX_V1);
    let mut peeked = [0; MAX_V1];
    loop {
        let missing = match parse(&header)? {
            Parsed::Complete(client) => return Ok(client),
            Parsed::Missing(bytes) => bytes,
            // A line shows its length only at its end: take what is there up to the end.
            Parsed::MissingLine => {
                let room = MAX_V1 - header.len();
                let there = stream.peek(&mut peeked[..room]).await?;
                let there = &peeked[..there];
                there.iter().position(|b| *b == b'\n').map_or(there.len(), |end| end + 1)
            }
        };
        if missing == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let read = header.len();
        header.resize(read + missing, 0);
        stream.read_exact(&mut header[read..]).await?;
    }
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    /// A complete header, with the client's address.
    Complete(Option<SocketAddr>),
    /// A header that lacks so many bytes at least.
    Missing(usize),
    /// A line that lacks its end.
    MissingLine,
}

fn parse(header: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    match header.len() {
        // Both versions have at least 12 bytes.
        len @ ..12 => {
            let may_be = |whole: &[u8]| whole.starts_with(&header[..len.min(whole.len())]);
            let begun = may_be(SIGNATURE) || may_be(b"PROXY ");
            if begun { Ok(Parsed::Missing(12 - len)) } else { Err(ProxyHeaderError::Missing) }
        }
        _ if header.starts_with(SIGNATURE) => parse_v2(header),
        _ if header.starts_with(b"PROXY ") => parse_v1(header),
        _ => Err(ProxyHeaderError::Missing),
    }
}

fn parse_v1(header: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    let Some(line) = header.strip_suffix(b"\r\n") else {
        let ended = header.contains(&b'\n') || header.len() >= MAX_V1;
        return if ended { Err(ProxyHeaderError::Malformed) } else { Ok(Parsed::MissingLine) };
    };
    let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Malformed)?;
    let mut fields = line.split(' ').skip(1);
    let family = fields.next();
    if family == Some("UNKNOWN") {
        return Ok(Parsed::Complete(None));
    }
    let fields: Vec<&str> = fields.collect();
    let [source, _, port, _] = fields[..] else { return Err(ProxyHeaderError::Malformed) };
    let (Ok(ip), Ok(port)) = (source.parse::<IpAddr>(), port.parse()) else {
        return Err(ProxyHeaderError::Malformed);
    };
    let fits = matches!((family, ip), (Some("TCP4"), IpAddr::V4(_)) | (Some("TCP6"), IpAddr::V6(_)));
    if fits {
        Ok(Parsed::Complete(Some(SocketAddr::new(ip, port))))
    } else {
        Err(ProxyHeaderError::Malformed)
    }
}

fn parse_v2(header: &[u8]) -> Result<Parsed, ProxyHeaderError> {
    const FIXED: usize = 16;
    let Some((fixed, rest)) = header.split_first_chunk::<FIXED>() else {
        return Ok(Parsed::Missing(FIXED - header.len()));
    };
    let len = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED + len > MAX_V2 {
        return Err(ProxyHeaderError::TooLong);
    }
    if rest.len() < len {
        return Ok(Parsed::Missing(len - rest.len()));
    }
    let client = match (fixed[12], fixed[13]) {
        // LOCAL: a health check of the proxy.
        (0x20, _) => None,
        (0x21, 0x11) => Some(source::<4>(rest)?),
        (0x21, 0x21) => Some(source::<16>(rest)?),
        // PROXY, for a connection without an IP address.
        (0x21, 0x00 | 0x31) => None,
        _ => return Err(ProxyHeaderError::Malformed),
    };
    Ok(Parsed::Complete(client))
}

/// Parses the source: the first of two addresses, and the first of the two ports behind both.
fn source<const N: usize>(addresses: &[u8]) -> Result<SocketAddr, ProxyHeaderError>
where
    IpAddr: From<[u8; N]>,
{
    let ip = addresses.first_chunk::<N>().ok_or(ProxyHeaderError::Malformed)?;
    let port = addresses.get(2 * N..2 * N + 4).ok_or(ProxyHeaderError::Malformed)?;
    Ok(SocketAddr::new(IpAddr::from(*ip), u16::from_be_bytes([port[0], port[1]])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::shard::testing::connection;

    const V1: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 54321 443\r\n";

    fn v2(command: u8, family: u8, addresses: &[u8], tail: usize) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend(((addresses.len() + tail) as u16).to_be_bytes());
        header.extend(addresses);
        header.resize(header.len() + tail, 0xee);
        header
    }

    fn v2_ipv4(tail: usize) -> Vec<u8> {
        v2(0x21, 0x11, &[203, 0, 113, 7, 10, 0, 0, 1, 0xd4, 0x31, 1, 187], tail)
    }

    /// Reads a header from these bytes, and returns it with the bytes left behind it.
    async fn read_of(bytes: &[u8]) -> (Result<Option<SocketAddr>, ProxyHeaderError>, Vec<u8>) {
        let (mut ours, mut theirs) = connection().await;
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
        let read = read(&mut ours).await;
        let mut left = Vec::new();
        let _ = ours.read_to_end(&mut left).await;
        (read, left)
    }

    #[tokio::test]
    async fn both_versions_give_the_clients_address_and_leave_what_follows() {
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&54321_u16.to_be_bytes());
        for (header, expected) in [
            (V1.to_vec(), Some("203.0.113.7:54321")),
            (b"PROXY TCP6 2001:db8::7 ::1 54321 443\r\n".to_vec(), Some("[2001:db8::7]:54321")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2_ipv4(0), Some("203.0.113.7:54321")),
            (v2_ipv4(MAX_V2 - 28), Some("203.0.113.7:54321")),
            (v2(0x21, 0x21, &v6, 0), Some("[2001:db8::7]:54321")),
            (v2(0x20, 0x00, &[], 0), None),
            (v2(0x21, 0x31, &[0; 216], 0), None),
        ] {
            let (read, left) = read_of(&[&header[..], b"GET / HTTP/1.1\r\n"].concat()).await;
            let shown = String::from_utf8_lossy(&header).into_owned();
            assert_eq!(read.unwrap(), expected.map(|expected| expected.parse().unwrap()), "{shown}");
            assert_eq!(left, b"GET / HTTP/1.1\r\n", "{shown}");
        }
    }

    #[tokio::test]
    async fn a_header_may_arrive_in_pieces() {
        for header in [V1.to_vec(), v2_ipv4(40)] {
            let (mut ours, mut theirs) = connection().await;
            let writing = async {
                for byte in header {
                    theirs.write_all(&[byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (read, ()) = tokio::join!(read(&mut ours), writing);
            assert_eq!(read.unwrap().unwrap().to_string(), "203.0.113.7:54321");
        }
    }

    #[tokio::test]
    async fn rejects_an_invalid_header() {
        let long = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "no PROXY"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00", "no PROXY"),
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 54321\r\n", "malformed"),
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 65536 1\r\n", "malformed"),
            (b"PROXY TCP6 203.0.113.7 10.0.0.1 5 1\r\n", "malformed"),
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 5 1\nGET", "malformed"),
            (&long, "malformed"),
            (&v2(0x21, 0x11, &[1, 2, 3, 4], 0), "malformed"),
            (&v2(0x31, 0x11, &[0; 12], 0), "malformed"),
            (&v2(0x21, 0x12, &[0; 12], 0), "malformed"),
            (&v2_ipv4(MAX_V2 - 27), "over the limit"),
            (b"PROXY TCP4 20", "end of file"),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", "eof"),
        ] {
            let error = read_of(bytes).await.0.unwrap_err().to_string();
            assert!(error.contains(expected), "{:?}: {error}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn parses_any_bytes_without_harm(version in 0..3_u8, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut header = match version { 0 => vec![], 1 => b"PROXY ".to_vec(), _ => SIGNATURE.to_vec() };
            header.extend(bytes);
            if let Ok(Parsed::Missing(bytes)) = parse(&header) {
                prop_assert!(bytes > 0 && bytes <= MAX_V2);
            }
        }
    }
}
