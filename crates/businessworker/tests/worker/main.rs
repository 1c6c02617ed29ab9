//! Tests of a whole worker against fake gateways.
//!
//! - `events`: how events reach the handlers, and what handlers may do,
//! - `sessions`: which session a handler gets, and what is written back,
//! - `lifecycle`: how a worker starts, links, drains and stops.

#![allow(missing_docs, clippy::unwrap_used)]

mod events;
#[path = "../../../client/tests/fake/mod.rs"]
mod fake;
mod lifecycle;
mod sessions;
mod support;
