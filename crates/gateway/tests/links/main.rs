//! The inner port of a whole gateway: links of workers and client libraries.
//!
//! - `harness`: the gateway, its clients, and peers that say what a test lets them say,
//! - `bad_peers`: peers that break off, that do not read, that have no key,
//! - `pair`: a worker that acknowledges events,
//! - `epochs`: the two links of such a worker, which begin and end together,
//! - `delivery`: its events,
//! - `interest`: links on which it tells which groups and uids it has.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod bad_peers;
mod delivery;
mod epochs;
mod harness;
mod interest;
mod pair;
