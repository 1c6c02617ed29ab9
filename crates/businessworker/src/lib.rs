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
//! handlers' [`Gateway`] handle speaks and asks
//! (`gatewayworker-client`). An event goes into its client's lane (`lanes`), which
//! runs its client's events one after the other; different clients' lanes run side by
//! side. Before the handler runs, the session that came with the event is held
//! against what was last written here (`sessions`); after it, a changed session is
//! written back once.

mod budget;
mod client;
mod config;
mod events;
mod handler;
mod handshake;
mod lanes;
mod link;
mod message;
mod network;
mod problem;
mod serve;
mod session;
mod sessions;
mod slice;
mod stats;

pub use client::Client;
pub use config::{Cli, Config, Flags, NoSettings};
pub use events::{Admission, BoxError, CloseReason, Events, Result};
pub use handshake::{Handshake, HandshakeError};
pub use message::Message;
pub use serve::{Error, Start, main, run, serve, serve_on};
pub use session::Session;

pub use gatewayworker_client::{
    AskError, ClientId, Delivery, Gateway, GroupId, OutMessage, SessionData, SessionError, Uid, Unreached,
    php,
};
pub use tokio_util::sync::CancellationToken;
