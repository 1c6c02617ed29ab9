//! INTEREST, ours: a gateway tells a subscriber which names it may have. The flag has the kind.
//!
//! - a piece of a filter: ext is the version (64 bits), the length of the whole and the offset (32 bits each); the
//!   body is the piece,
//! - names: ext is the version, the body 64 bits for each name,
//! - a grant: ext is the time of the RENEW (64 bits) and the length of the lease in ms (32 bits).
//!
//! The most significant byte comes first. A frame that is not exactly so is an error: a subscriber that passed
//! one over would miss names.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Command, CommandError};
use crate::interest::{FilterPiece, InterestUpdate, Name};
use crate::{Frame, code};

const FILTER: u8 = 1;
const NAMES: u8 = 2;
const GRANT: u8 = 3;

pub(super) fn decode(frame: &mut Frame) -> Result<Command, CommandError> {
    let missing = |what| CommandError::Missing { cmd: code::INTEREST, what };
    let (ext, body) = (&mut frame.ext, &frame.body);
    let update = match (frame.flag, ext.len()) {
        (FILTER, 16) => {
            let (version, len, offset) = (ext.get_u64(), ext.get_u32(), ext.get_u32());
            InterestUpdate::Filter(FilterPiece { version, len, offset, bits: body.clone() })
        }
        (NAMES, 8) => {
            let (names, rest) = body.as_chunks::<8>();
            if !rest.is_empty() || names.len() > InterestUpdate::MAX_NAMES {
                return Err(missing("a list of names"));
            }
            let names = names.iter().map(|bits| Name::from_bits(u64::from_be_bytes(*bits))).collect();
            InterestUpdate::Names { version: ext.get_u64(), names }
        }
        (GRANT, 12) => InterestUpdate::Grant { renewed_at_ms: ext.get_u64(), lease_ms: ext.get_u32() },
        _ => return Err(missing("a known kind of update")),
    };
    Ok(Command::Interest(update))
}

pub(super) fn encode(update: InterestUpdate) -> Frame {
    let mut ext = BytesMut::with_capacity(16);
    let (flag, body) = match update {
        InterestUpdate::Filter(FilterPiece { version, len, offset, bits }) => {
            ext.put_u64(version);
            ext.put_u32(len);
            ext.put_u32(offset);
            (FILTER, bits)
        }
        InterestUpdate::Names { version, names } => {
            ext.put_u64(version);
            let mut body = BytesMut::with_capacity(8 * names.len());
            names.iter().for_each(|name| body.put_u64(name.bits()));
            (NAMES, body.freeze())
        }
        InterestUpdate::Grant { renewed_at_ms, lease_ms } => {
            ext.put_u64(renewed_at_ms);
            ext.put_u32(lease_ms);
            (GRANT, Bytes::new())
        }
    };
    Frame { cmd: code::INTEREST, flag, ext: ext.freeze(), body, ..Frame::default() }
}
