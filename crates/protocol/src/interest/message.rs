//! What is said on an interest link: [`InterestUpdate`] by the gateway, [`InterestReport`] by the subscriber.
//!
//! How they stand in frames is known to `command/interest.rs` and `command/interest_report.rs`.

use bytes::Bytes;

use super::Name;

/// What a gateway tells a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterestUpdate {
    /// A piece of a filter, which replaces the view when it is complete.
    Filter(FilterPiece),
    /// Names that are announced: they are put into the view.
    Names {
        /// The version of the view that has them.
        version: u64,
        /// The names, at most [`MAX_NAMES`](Self::MAX_NAMES).
        names: Vec<Name>,
    },
    /// The view may be trusted for a while.
    Grant {
        /// The time of the [`Renew`](InterestReport::Renew) that this answers: the subscriber's own clock.
        renewed_at_ms: u64,
        /// How long the gateway waits for the subscriber, counted from that time on.
        lease_ms: u32,
    },
}

/// A piece of a filter. The pieces of one filter follow each other, and nothing stands between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterPiece {
    /// The version of the view that the filter makes.
    pub version: u64,
    /// The bytes of the whole filter.
    pub len: u32,
    /// Where in it this piece begins.
    pub offset: u32,
    /// The piece.
    pub bits: Bytes,
}

/// What a subscriber tells a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterestReport {
    /// All that came up to this version is in the view.
    Applied(u64),
    /// It wants to trust the view, and says so at this time of its own clock, in ms.
    Renew(u64),
}

impl InterestUpdate {
    /// The most names in one frame.
    pub const MAX_NAMES: usize = 4096;

    /// The most bytes in a piece of a filter.
    pub const MAX_PIECE: usize = 64 * 1024;

    /// The pieces of a filter, in their order.
    pub fn filter(version: u64, whole: &Bytes) -> impl Iterator<Item = Self> {
        (0..whole.len()).step_by(Self::MAX_PIECE).map(move |offset| {
            let end = whole.len().min(offset + Self::MAX_PIECE);
            let (len, bits) = (whole.len() as u32, whole.slice(offset..end));
            Self::Filter(FilterPiece { version, len, offset: offset as u32, bits })
        })
    }
}
