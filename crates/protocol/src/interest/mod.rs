//! Interest: which groups and uids a gateway may have, as gateways tell it to those who send.
//!
//! - [`Name`]: a group or uid, as 64 bits,
//! - [`NameFilter`]: a set of names that may say yes to others, too,
//! - [`InterestUpdate`], [`InterestReport`]: what a gateway and a subscriber say on an interest link.
//!
//! A gateway's announcements are decided in its `core/interest`, a subscriber's view in the client
//! library's `core/interest`. The rules are in `docs/decisions/0011-interest.md`.

mod filter;
mod message;
mod name;

pub use filter::NameFilter;
pub use message::{FilterPiece, InterestReport, InterestUpdate};
pub use name::Name;
