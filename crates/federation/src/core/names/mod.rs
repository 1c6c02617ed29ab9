//! Which clusters have a group or uid, so that a send goes only to those that may have one of its names.
//!
//! - [`NamesUpdate`]: what a cluster says of its names,
//! - [`Announcer`]: what the announcing worker of a cluster says when,
//! - [`KnownNames`]: what a process knows of the names of each cluster,
//! - [`KeptCalls`]: calls that have left clusters out a moment ago.
//!
//! The rule: a cluster is left out only if it has a whole and fresh summary, which says that it is complete, and in which none of the names is.
//! Whoever does not know leaves nobody out. As a change is on its way for some milliseconds, a call that leaves a cluster out is kept for
//! [`KEPT_MS`], and goes there after all if the change comes. `docs/decisions/0013-federation.md` has the rest.

mod announcer;
mod kept;
mod known;
#[cfg(test)]
mod tests;
mod update;

pub(crate) use announcer::{Announcer, NamesSource};
pub(crate) use kept::KeptCalls;
#[cfg(test)]
use kept::News;
pub(crate) use known::{Heard, KnownNames, Said};
pub(crate) use update::NamesUpdate;
#[cfg(test)]
pub(super) use update::{FilterPart, Step};

/// How often the announcing worker says that it is there, in ms.
const ALIVE_MS: u64 = 500;

/// A summary is fresh for so long after its announcing worker was heard, in ms.
const FRESH_MS: u64 = 2_000;

/// A call that leaves clusters out is kept for so long, in ms: several times the way of a change.
const KEPT_MS: u64 = 250;

/// The bytes of a filter that one message has at most, and at most so many names.
const MAX_PART: usize = 64 * 1024;
const MAX_NAMES: usize = 4_096;

/// A cluster has no more gateways than that in a summary. A larger one counts as having everything.
const MAX_GATEWAYS: usize = 1_024;
