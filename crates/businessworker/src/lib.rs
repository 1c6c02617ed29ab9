//! The businessworker: takes the events of clients from the gateways and runs an
//! application's handlers.
//!
//! An application is one type that implements [`Events`]:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use gatewayworker_businessworker::{self as businessworker, Client, Events, Message, Result, Start};
//!
//! struct Echo;
//!
//! impl Events for Echo {
//!     async fn on_message(&self, client: &Client, message: Message) -> Result {
//!         client.send(message).await?;
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     businessworker::main(async |_start: Start| Ok(Echo))
//! }
//! ```
//!
//! # The way of an event
//!
//! A worker holds two links to each gateway: the *event link*, which says who the
//! worker is and is then only read (`link`), and the *call link*, over which the
//! handlers' [`Gateway`] handle speaks and asks (`gatewayworker-client`). An event goes
//! into its client's queue (`event_queues`), which runs its client's events one after the
//! other; the queues of different clients run side by side. `handler` calls the
//! application for one event: before that, the session that came with the event is
//! compared with the one last written here; after it, a changed session is written back
//! once. Then `done` tells the gateway that the event is done, where it is one that asks. What is
//! decided on this way is decided by `core`, plain data that needs no runtime.
//!
//! The two links to a gateway begin and end together, in an *epoch* (`epochs`, `link`). `heartbeats`
//! shows gateways that this process lives; `draining` has what happens when it stops, and when a gateway
//! is lost. `stats`, `timings` and `metrics` are what operators see of a worker, and `reports`, of `handler_times` and
//! `running_handlers`, what they see of it at its gateways.

mod client;
mod client_calls;
mod client_map;
mod clock;
mod config;
mod config_builder;
mod config_debug;
mod config_error;
// What only a simulation calls is unused, and out of reach, without the feature.
#[cfg_attr(not(feature = "internals"), allow(dead_code, unreachable_pub, unused_imports))]
mod core;
mod done;
mod draining;
mod epochs;
mod event_queues;
mod events;
mod events_config;
#[cfg(feature = "federation")]
mod federation;
mod handler;
mod handler_times;
mod handshake;
mod heartbeats;
mod history_config;
mod history_report;
mod inline_queue;
mod inline_slice;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod link;
mod message;
mod metrics;
mod network;
mod problem;
mod reports;
mod room;
mod run;
mod running_handlers;
mod serve;
mod session;
mod session_retries;
#[cfg(feature = "otel")]
mod spans;
mod stats;
mod timings;
mod use_mark;
mod version;

pub use client::Client;
pub use client_calls::{
    ClientCalls, ClientCallsConfig, ClientCallsConfigError, ClientCallsFlags, unknown_call,
};
pub use config::{Cli, Config, Flags, NoSettings};
pub use config_error::ConfigError;
pub use events::{BoxError, Events, Result};
pub use events_config::{EventName, EventsConfig, EventsConfigError, EventsFlags, OnFailure};
pub use gatewayworker_history::Config as HistoryConfig;
pub use handshake::{Handshake, HandshakeError};
pub use history_config::HistoryFlags;
pub use message::Message;
pub use problem::Problems;
pub use run::{Start, main, run};
pub use serve::{Error, ServeOptions, serve};
pub use session::Session;
pub use version::version_with_library;

pub use crate::core::Admission;

pub use gatewayworker_client::{
    AskError, ClientId, Delivery, Gateway, GroupId, OutMessage, SessionData, SessionError, Uid, Unreached,
    php,
};
pub use gatewayworker_http::Config as HttpConfig;
pub use gatewayworker_metrics::{Metrics, prometheus_client};
/// OpenTelemetry's interface, for spans of the application's own.
#[cfg(feature = "otel")]
pub use gatewayworker_otel::opentelemetry;
pub use gatewayworker_protocol::{ClientCloseFrame, CloseReason, EventContext};
pub use tokio_util::sync::CancellationToken;
