//! What an operator wants to know about a shard's clients and groups: INSPECT.
//!
//! A shard may have a million clients, and must not be held up by a look at all of them. So a look is a *walk*: plain
//! data that visits a slice of the shard at each call, and that its caller keeps between the calls. It changes nothing
//! in the shard. Clients and groups that come or go meanwhile may be seen or not; none is seen twice.
//!
//! - `filter`: which clients an operator asks for,
//! - `clients`: the walk over clients, and one client in full,
//! - `groups`: the walk over groups,
//! - `oldest`: the walk that finds how long events have waited, which the metrics use, too,
//! - `outbox`: what waits to be written to one client,
//! - `top`: the first so many of all that were seen.
//!
//! `crate::inspect` asks the shards, and makes the answer.

mod clients;
mod filter;
mod groups;
mod oldest;
mod outbox;
#[cfg(test)]
mod tests;
mod top;

pub(crate) use clients::{ClientWalk, FoundClient, FullClient};
pub(crate) use filter::{ClientFilter, FilterError, connection_id};
pub(crate) use groups::GroupWalk;
pub(crate) use oldest::OldestEventWalk;
pub(crate) use outbox::outbox;

/// How many clients or groups one call of a walk looks at, at most.
pub(crate) const SLICE: usize = 10_000;

/// How far a walk is in one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walked {
    /// Call it again, with the same shard.
    More,
    /// It has seen the shard.
    All,
}
