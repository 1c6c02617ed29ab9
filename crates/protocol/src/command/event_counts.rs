//! [`EventCounts`]: how many events of which clients. The body of DONE and RETURN.

use bytes::Bytes;

/// How many events of which clients, in the order in which a worker has noted them.
///
/// A client's events are handled in their order, so that a number says which they are. A client
/// may stand in it twice. On the wire each entry is a connection and a number, 32 bits each, the
/// most significant byte first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCounts(pub Vec<(u32, u32)>);

impl EventCounts {
    /// Reads a body. Bytes behind the last whole entry are left out.
    pub(super) fn read(body: &[u8]) -> Self {
        let (entries, _) = body.as_chunks::<8>();
        Self(
            entries
                .iter()
                .map(|&[a, b, c, d, e, f, g, h]| {
                    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
                })
                .collect(),
        )
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        self.0.iter().copied().map(encode_entry).collect::<Vec<_>>().into_flattened().into()
    }
}

/// Encodes an entry: a connection, and how many events.
#[inline]
pub(super) fn encode_entry((connection_id, events): (u32, u32)) -> [u8; 8] {
    ((u64::from(connection_id) << 32) | u64::from(events)).to_be_bytes()
}
