//! The inner frame: a 28-byte header, `ext`, and `body`.
//!
//! Bytes only: [`Command`](crate::Command) reads what a frame means. A link calls
//! [`Frame::parse`] on what it has read; an incomplete frame is not an error but `None`.

use std::net::Ipv4Addr;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Length of a frame without ext and body, in bytes.
pub const HEADER_LEN: usize = 28;

/// The longest frame that a PHP peer accepts, header included, in bytes
/// (Workerman's `TcpConnection::$defaultMaxPackageSize`).
pub const MAX_FRAME_LEN: usize = 10 * 1024 * 1024;

/// The longest message of a client, in bytes, that a worker of ours gets in one frame.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024 * 1024;

/// The longest frame between a gateway and a worker that have both listed
/// [`large_frames`](crate::Features::large_frames), header included, in bytes: a message, and
/// beside it as much as any frame may hold.
pub const MAX_LARGE_FRAME_LEN: usize = MAX_MESSAGE_LEN + MAX_FRAME_LEN;

/// Flag bit 0: the body is a plain string, not a PHP-serialized value.
pub const FLAG_PLAIN: u8 = 0x01;
/// Flag bit 1: the body is already encoded for the client's protocol.
pub const FLAG_RAW: u8 = 0x02;
/// Flag bit 2, ours: the message is binary. PHP peers ignore it.
pub const FLAG_BINARY: u8 = 0x04;
/// Flag bit 3, ours: the gateway waits for the worker to admit or refuse this client.
pub const FLAG_ASKS: u8 = 0x08;
/// Flag bit 4, ours: the event was given to a worker before, which may have handled it. Only a worker
/// that lists `acknowledged-events` among its features gets such an event. On RETURN, that the first event of each
/// client is such a one from now on.
pub const FLAG_REDELIVERED: u8 = 0x10;
/// Flag bit 5, ours: a [`TraceContext`](crate::TraceContext) stands in front of the body. Only a worker that
/// lists `trace-context` among its features gets such an event.
pub const FLAG_TRACE_CONTEXT: u8 = 0x20;
/// Flag bit 6, ours: an [`EventContext`](crate::EventContext) stands in front of the body, behind a trace context where
/// there is one. Only a worker that lists `event-context` among its features gets such an event.
pub const FLAG_EVENT_CONTEXT: u8 = 0x40;

/// One frame. The fields are named as in the original's `GatewayProtocol`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The command's number.
    pub cmd: u8,
    /// IPv4 of the gateway's `lan_ip`.
    pub local_ip: Ipv4Addr,
    /// The gateway's `lan_port`.
    pub local_port: u16,
    /// IPv4 of the client; 0.0.0.0 where it came over IPv6.
    pub client_ip: Ipv4Addr,
    /// Port of the client.
    pub client_port: u16,
    /// The client's connection on its gateway.
    pub connection_id: u32,
    /// Flag bits, see [`FLAG_PLAIN`], [`FLAG_RAW`], [`FLAG_BINARY`].
    pub flag: u8,
    /// The port that the client connected to.
    pub gateway_port: u16,
    /// The extension: a session, a uid, a group, JSON … depending on `cmd`.
    pub ext: Bytes,
    /// The body.
    pub body: Bytes,
}

impl Default for Frame {
    /// A frame whose only content is the flag for a plain body.
    fn default() -> Self {
        Self {
            cmd: 0,
            local_ip: Ipv4Addr::UNSPECIFIED,
            local_port: 0,
            client_ip: Ipv4Addr::UNSPECIFIED,
            client_port: 0,
            connection_id: 0,
            flag: FLAG_PLAIN,
            gateway_port: 0,
            ext: Bytes::new(),
            body: Bytes::new(),
        }
    }
}

/// Why bytes cannot be a frame. The link cannot go on: it is not known where the next frame begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// `pack_len` is shorter than the header.
    #[error("frame length {0} is shorter than its {HEADER_LEN}-byte header")]
    TooShort(u32),
    /// `pack_len` is over the limit.
    #[error("frame length {len} is over the limit of {limit} bytes")]
    TooLong {
        /// The length that the frame claims.
        len: u32,
        /// The limit, in bytes.
        limit: usize,
    },
    /// `ext_len` points beyond the end of the frame.
    #[error("ext length {ext_len} points beyond the {len}-byte frame")]
    ExtBeyondFrame {
        /// The ext length that the frame claims.
        ext_len: u32,
        /// The length of the whole frame.
        len: u32,
    },
}

impl Frame {
    /// Takes the next frame off the front of `buffer`; `None` while it is incomplete. Ext and body
    /// share the buffer's memory.
    ///
    /// # Errors
    /// When the bytes cannot be a frame of at most `limit` bytes; the buffer is then unchanged. A bad
    /// length is found as soon as its bytes are there.
    pub fn parse(buffer: &mut BytesMut, limit: usize) -> Result<Option<Self>, FrameError> {
        let Some(len) = buffer.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)) else {
            return Ok(None);
        };
        if (len as usize) < HEADER_LEN {
            return Err(FrameError::TooShort(len));
        }
        if len as usize > limit {
            return Err(FrameError::TooLong { len, limit });
        }
        if let Some(ext_len) = buffer.get(24..28).and_then(|b| b.first_chunk::<4>()) {
            let ext_len = u32::from_be_bytes(*ext_len);
            if ext_len as usize > len as usize - HEADER_LEN {
                return Err(FrameError::ExtBeyondFrame { ext_len, len });
            }
        }
        if buffer.len() < len as usize {
            return Ok(None);
        }
        let mut rest = buffer.split_to(len as usize).freeze();
        rest.advance(4);
        let cmd = rest.get_u8();
        let local_ip = rest.get_u32().into();
        let local_port = rest.get_u16();
        let client_ip = rest.get_u32().into();
        let client_port = rest.get_u16();
        let connection_id = rest.get_u32();
        let flag = rest.get_u8();
        let gateway_port = rest.get_u16();
        let ext_len = rest.get_u32() as usize;
        let ext = rest.split_to(ext_len);
        Ok(Some(Self {
            cmd,
            local_ip,
            local_port,
            client_ip,
            client_port,
            connection_id,
            flag,
            gateway_port,
            ext,
            body: rest,
        }))
    }

    /// Length on the wire, in bytes.
    pub fn encoded_len(&self) -> usize {
        HEADER_LEN + self.ext.len() + self.body.len()
    }

    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// When it is longer than 4 GiB; callers keep frames under [`MAX_LARGE_FRAME_LEN`].
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_with(out, &self.ext, &self.body);
    }

    /// Appends the frame with this `ext` and `body` instead of its own. On the hot path both are
    /// borrowed, and `Bytes` would be a copy.
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    pub fn encode_with(&self, out: &mut BytesMut, ext: &[u8], body: &[u8]) {
        let len = HEADER_LEN + ext.len() + body.len();
        let pack_len = u32::try_from(len).expect("a frame is shorter than 4 GiB");
        out.reserve(len);
        out.put_u32(pack_len);
        out.put_u8(self.cmd);
        out.put_u32(self.local_ip.into());
        out.put_u16(self.local_port);
        out.put_u32(self.client_ip.into());
        out.put_u16(self.client_port);
        out.put_u32(self.connection_id);
        out.put_u8(self.flag);
        out.put_u16(self.gateway_port);
        out.put_u32(ext.len() as u32);
        out.put_slice(ext);
        out.put_slice(body);
    }
}
