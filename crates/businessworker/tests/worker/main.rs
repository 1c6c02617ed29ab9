//! Tests of a whole worker against fake gateways.
//!
//! - `acknowledgements`: what a worker says of events to a gateway that acknowledges them,
//! - `contexts`: what a handler is told beside an event,
//! - `epochs`: what happens when links to such a gateway end,
//! - `events`: how events reach the handlers, and what handlers may do,
//! - `sessions`: which session a handler gets, and what is written back,
//! - `lifecycle`: how a worker starts, links, drains and stops,
//! - `reports`: what it tells its gateways about itself.

#![allow(missing_docs, clippy::unwrap_used)]

mod acknowledgements;
mod contexts;
mod epochs;
mod events;
#[path = "../../../client/tests/fake/mod.rs"]
mod fake;
mod lifecycle;
mod reports;
mod sessions;
mod support;
