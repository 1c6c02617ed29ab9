//! The framing of an answer: a 4-byte length, big-endian, and as many bytes of a serialized PHP value, or of JSON where
//! the question is INSPECT.
//!
//! There is no header and no id: answers stand on a link in the order of their questions.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::FrameError;

/// Appends an answer to `out`: its length, and its bytes.
///
/// # Panics
/// When it is over 4 GiB.
pub fn frame_answer(value: &[u8], out: &mut BytesMut) {
    out.reserve(4 + value.len());
    out.put_u32(u32::try_from(value.len()).expect("an answer is shorter than 4 GiB"));
    out.put_slice(value);
}

/// Takes the next answer off the front of `buffer`, or nothing when it is not
/// whole yet.
///
/// # Errors
/// When it claims to be longer than `limit` bytes.
pub fn parse_answer(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(len) = buffer.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)) else {
        return Ok(None);
    };
    if len as usize > limit {
        return Err(FrameError::TooLong { len, limit });
    }
    if buffer.len() < 4 + len as usize {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(len as usize).freeze()))
}
