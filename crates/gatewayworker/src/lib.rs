//! GatewayWorker in Rust: the one crate that an application names.
//!
//! An application answers events by implementing [`Events`] and is run by
//! [`businessworker::main`]:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use gatewayworker::{Client, Events, Message, Result, Start, businessworker};
//!
//! struct Chat;
//!
//! impl Events for Chat {
//!     async fn on_message(&self, client: &Client, message: Message) -> Result {
//!         client.gateway().send_to_all(message).await?;
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     businessworker::main(async |_start: Start| Ok(Chat))
//! }
//! ```
//!
//! Calls fail with [`Error`], questions to all gateways with [`AskError`]. (`businessworker::Error` is why a
//! worker could not run.) A handler returns them with `?`, or looks at them:
//!
//! ```
//! use gatewayworker::{AskError, Client, Error, Result};
//!
//! async fn say_how_many(client: &Client) -> Result {
//!     let count = match client.gateway().client_count().await {
//!         Ok(count) => count,
//!         Err(AskError::Incomplete { partial, .. }) => partial,
//!         Err(AskError::NotAsked(error)) => return Err(error.into()),
//!     };
//!     match client.send(format!("{count} are here")).await {
//!         // A link to the client's gateway has ended, and the event is handled once more.
//!         Err(Error::Fenced) => Err("cut off in the middle".into()),
//!         Err(error) => Err(error.into()),
//!         Ok(_) => Ok(()),
//!     }
//! }
//! ```
//!
//! From anywhere else, a web backend say, [`Gateway::builder`] makes the same handle
//! that handlers have. There is no code here, only names: each daemon is a library
//! of its own, [`businessworker`], and with the features of these names `gateway` and `register`.

pub use gatewayworker_businessworker as businessworker;
pub use gatewayworker_channel as channel;
pub use gatewayworker_client as client;
#[cfg(feature = "gateway")]
pub use gatewayworker_gateway as gateway;
pub use gatewayworker_history as history;
#[cfg(feature = "register")]
pub use gatewayworker_register as register;
pub use gatewayworker_router as router;

/// OpenTelemetry's interface, for spans of the application's own.
#[cfg(feature = "otel")]
pub use gatewayworker_businessworker::opentelemetry;
pub use gatewayworker_businessworker::{
    Admission, BoxError, Client, ClientCloseFrame, CloseReason, EventContext, Events, Handshake, Message,
    NoSettings, Result, Session, Start,
};
pub use gatewayworker_channel::Channel;
pub use gatewayworker_client::{
    AskError, ClientId, ClusterName, Delivery, Error, Gateway, GroupId, IdError, LinkTls, LinkTlsConfig,
    LinkTlsError, OutMessage, SecretKey, SessionData, SessionError, Uid, Unreached, php,
};
#[cfg(feature = "federation")]
pub use gatewayworker_federation as federation;
pub use gatewayworker_history::History;
pub use gatewayworker_router::Router;

/// Compiles the examples in the README, in both languages, and in the guide.
#[cfg(doctest)]
mod readme {
    #[doc = include_str!("../../../README.md")]
    struct English;
    #[doc = include_str!("../../../README.zh-CN.md")]
    struct Chinese;
    #[cfg(feature = "gateway")]
    #[doc = include_str!("../../../docs/guide/listeners.md")]
    struct Listeners;
    #[doc = include_str!("../../../docs/guide/writing-an-application.md")]
    struct WritingAnApplication;
    #[doc = include_str!("../../../docs/guide/channel.md")]
    struct Channel;
    #[doc = include_str!("../../../docs/guide/metrics.md")]
    struct Metrics;
    #[cfg(feature = "otel")]
    #[doc = include_str!("../../../docs/guide/tracing.md")]
    struct Tracing;
    #[doc = include_str!("../../../docs/guide/router.md")]
    struct Router;
}
