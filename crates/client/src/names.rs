//! [`Names`]: the groups or uids that a send or a question is about, to choose gateways by.
//!
//! `frames.rs` and `ask.rs` ask each link whether its gateway may have one of them.

use bytes::Bytes;
use gatewayworker_protocol::interest::Name;

use crate::federation::Destination;

/// What a send or a question is about.
#[derive(Debug)]
pub(crate) enum Names {
    /// Something that every gateway may have.
    Any,
    /// The clients of these groups or uids.
    These(Vec<Name>),
}

impl Names {
    /// These groups.
    pub(crate) fn groups<'n>(groups: impl IntoIterator<Item = &'n Bytes>) -> Self {
        Self::of(groups, Name::group)
    }

    /// These uids.
    pub(crate) fn uids<'n>(uids: impl IntoIterator<Item = &'n Bytes>) -> Self {
        Self::of(uids, Name::uid)
    }

    /// The clusters that it concerns.
    pub(crate) fn destination(&self) -> Destination<'_> {
        match self {
            Self::These(names) if !names.is_empty() => Destination::Names(names),
            _ => Destination::All,
        }
    }

    /// These and those.
    pub(crate) fn and(self, others: Self) -> Self {
        match (self, others) {
            (Self::These(mut names), Self::These(others)) => {
                names.extend(others);
                Self::These(names)
            }
            _ => Self::Any,
        }
    }

    fn of<'n>(names: impl IntoIterator<Item = &'n Bytes>, name: impl Fn(&[u8]) -> Name) -> Self {
        let name = |bytes: &Bytes| {
            // JSON replaces what is no UTF-8, so the gateway may look for another name.
            std::str::from_utf8(bytes).ok().map(|_| name(bytes))
        };
        names.into_iter().map(name).collect::<Option<_>>().map_or(Self::Any, Self::These)
    }
}
