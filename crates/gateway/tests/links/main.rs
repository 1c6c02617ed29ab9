//! The inner port of a whole gateway: links of workers and client libraries.
//!
//! - `harness`: the gateway, its clients, and peers that say what a test lets them say,
//! - `bad_peers`: peers that break off, that do not read, that have no key,
//! - `pair`: a worker that acknowledges events,
//! - `epochs`: workers that acknowledge events, with two links each.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod bad_peers;
mod epochs;
mod harness;
mod pair;
