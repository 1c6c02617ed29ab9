//! Presence: who is in a room, of all gateways together, and what is said when that changes.
//!
//! A *room* is a group that matches `[presence] groups`. A uid is in it while any admitted client of the uid is a member,
//! on whichever gateway. Each room has an *owner* among the gateways, which says join and leave, and a *standby*, which
//! knows the same and says nothing until it is the owner.
//!
//! - [`feed`]: where the shards' tables tell of joins, leaves, binds and sessions,
//! - [`reporter`]: what this gateway has in rooms, and what it has still to report to which gateway,
//! - [`owner`]: the rooms that this gateway owns, or is the standby of,
//! - [`ranking`]: which gateways those are,
//! - [`data`], [`message`]: what others see of a uid; the messages that are sent.
//!
//! Plain data: times are arguments, and nothing here sends. `crate::presence` carries reports and messages.
//! `docs/decisions/0017-presence.md` has the reasons.

pub mod data;
pub mod feed;
pub mod message;
pub mod owner;
pub mod ranking;
pub mod reporter;
#[cfg(test)]
mod tests;

use std::sync::Arc;

/// A room's name and a uid.
pub type RoomUid = (Arc<str>, Arc<str>);
