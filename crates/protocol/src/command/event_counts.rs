//! [`EventCounts`]: how many events of which clients. The body of DONE and RETURN.

use bytes::{BufMut, Bytes, BytesMut};

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
        let mut body = BytesMut::with_capacity(self.0.len() * 8);
        for (connection_id, events) in &self.0 {
            body.put_u32(*connection_id);
            body.put_u32(*events);
        }
        body.freeze()
    }
}
