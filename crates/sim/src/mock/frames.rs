//! The mock's frames: a length of two bytes, then a kind, a client's id and a number, then filling.

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) client: u32,
    pub(super) number: u64,
    pub(super) filling: u16,
}

pub(super) const CONNECT: u8 = b'c';
pub(super) const MESSAGE: u8 = b'm';
pub(super) const CLOSE: u8 = b'x';

const HEAD: usize = 15;

impl Frame {
    pub(super) fn encode(self) -> Vec<u8> {
        let len = HEAD + usize::from(self.filling).min(usize::from(u16::MAX) - HEAD);
        let mut frame = Vec::with_capacity(len);
        frame.extend_from_slice(&(len as u16).to_le_bytes());
        frame.push(self.kind);
        frame.extend_from_slice(&self.client.to_le_bytes());
        frame.extend_from_slice(&self.number.to_le_bytes());
        frame.resize(len, b'.');
        frame
    }

    /// Takes the first frame out of `buffer`, if it is whole.
    pub(super) fn take(buffer: &mut Vec<u8>) -> Option<Self> {
        let len = usize::from(u16::from_le_bytes(buffer.first_chunk().copied()?));
        if buffer.len() < len || len < HEAD {
            return None;
        }
        let client = u32::from_le_bytes(*buffer[3..].first_chunk()?);
        let number = u64::from_le_bytes(*buffer[7..].first_chunk()?);
        let frame = Self { kind: buffer[2], client, number, filling: (len - HEAD) as u16 };
        buffer.drain(..len);
        Some(frame)
    }
}
