//! A list of connections: the body of CLOSED and FORGET.

use bytes::{BufMut, Bytes, BytesMut};

/// Reads a body. Bytes behind the last whole number are left out.
pub(super) fn read(body: &[u8]) -> Vec<u32> {
    let (ids, _) = body.as_chunks();
    ids.iter().map(|id| u32::from_be_bytes(*id)).collect()
}

pub(super) fn to_bytes(ids: &[u32]) -> Bytes {
    let mut body = BytesMut::with_capacity(ids.len() * 4);
    ids.iter().for_each(|id| body.put_u32(*id));
    body.freeze()
}
