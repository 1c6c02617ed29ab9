//! Events over HTTP: the events of clients as signed POSTs to a backend in any language.
//!
//! [`HttpEvents`] implements [`Events`](gatewayworker_businessworker::Events). The stock worker runs it where
//! `events.url` is set. An event goes through these files:
//!
//! - `event`: the event as JSON,
//! - `delivery`: sends it, as often as it takes: `backends` says to which URL and when (which of them are away),
//!   `tries` whether again (`retry_after` reads what the backend wishes), `signature` signs each try, and `request` is one
//!   try over the network,
//! - `answer`: reads what the backend wants: an admission, changes to the session, calls,
//! - `http_events`: does that, or what `on_failure` says.
//!
//! `backends`, `tries`, `retry_after`, `event`, `answer` and `signature` are plain data: no sockets, and the time is an argument. `stats`
//! counts. That the events of one client come one after the other is the worker's doing; nothing here reorders them.

mod answer;
mod backends;
mod delivery;
mod event;
mod http_events;
mod request;
mod retry_after;
mod signature;
mod stats;
mod tries;

pub use http_events::{HttpEvents, SetupError};
