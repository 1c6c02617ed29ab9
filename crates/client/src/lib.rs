//! The Gateway API: what an application may do to clients, from within a
//! businessworker or from anywhere else.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use gatewayworker_client::Gateway;
//!
//! let gateway = Gateway::builder(["127.0.0.1:1236"]).connect();
//! let delivery = gateway.send_to_group(["news"], "hello").await?;
//! for (address, why) in &delivery.unreached {
//!     eprintln!("the clients of {address} were not reached: {why}");
//! }
//! println!("{} clients", gateway.client_count().await?);
//! # Ok(()) }
//! ```
//!
//! # The call link
//!
//! A handle holds one link to each gateway that the registers list, the *call link*. All its
//! commands and questions go over that one link, which is never the link on which a worker
//! receives events. From this follow two promises, which hold with the original's gateways
//! too:
//!
//! - **A question sees the commands before it**: a gateway executes the commands of one link
//!   in order, so the answer to `client_ids_by_group(…)` holds a client for which
//!   `join_group(…).await` has returned on the same handle or a clone.
//! - **Answers never stand between events**: an answer has neither a header nor an id,
//!   so nobody could read a link that carries both.
//!
//! As answers have no id, a link carries one question of an asker at a time, and the others wait
//! for their turn. Commands wait for nothing.
//!
//! # Gateways that are not reached
//!
//! A send goes to every gateway that may hold a receiver, and one dead gateway never keeps
//! it from the others: [`Delivery`] names that gateway. A question that not all gateways
//! have answered is an error, [`AskError::Incomplete`], which carries the answer of the
//! others.
//!
//! # Features
//!
//! - `calls` (on by default): the module `calls`, every call by its name with JSON in and
//!   JSON out.
//!
//! # The files
//!
//! - `gateway.rs` is the handle. `send.rs`, `close.rs`, `commands.rs`, `questions.rs`,
//!   `select.rs` and `presence.rs` are its methods, `calls/` the same methods by name.
//! - `targets.rs` and `frames.rs` make frames of a send, `emulated.rs` makes commands that
//!   no gateway has, `dispatch.rs` awaits all of these; `ask.rs` asks, `decode.rs` reads the
//!   answers.
//! - `gateway_list.rs` and `links.rs` keep a link to each gateway; `link/` is one link over
//!   TCP, `call_connection.rs` one connection of it, and `core/` its protocol without IO.
//! - `names.rs` and `link/interest.rs` leave gateways out that have none of the groups or uids.
//! - `federation/` and `elsewhere.rs` reach other clusters, where a handle has them; `qualified.rs` tells ids of clients of
//!   several clusters apart.
//! - `inspect.rs` asks gateways about themselves, on connections of its own.
//! - `peers.rs` is for our own gateway.
//! - `worker.rs`, `fence.rs`, `event_calls.rs` and `bus.rs` are for our own worker and channel.

mod ask;
pub mod bus;
mod bus_state;
mod call_connection;
#[cfg(feature = "otel")]
mod call_spans;
#[cfg(feature = "calls")]
pub mod calls;
mod close;
mod cluster_name;
mod commands;
mod core;
mod decode;
mod dispatch;
mod elsewhere;
mod emulated;
mod error;
mod event_calls;
pub mod federation;
mod fence;
mod frames;
mod gateway;
mod gateway_list;
#[cfg(feature = "calls")]
pub mod history;
pub mod inspect;
mod link;
mod links;
mod liveness;
mod message;
mod name_journal;
mod names;
mod peers;
mod presence;
mod qualified;
mod questions;
mod select;
mod send;
mod session;
mod session_observer;
mod targets;
pub mod worker;

pub use close::Closing;
pub use cluster_name::{ClusterName, ClusterNameError};
pub use dispatch::CommandFuture;
pub use error::{AskError, AskResult, Delivery, Error, Unreached};
pub use gateway::{Gateway, GatewayBuilder};
pub use liveness::Liveness;
pub use message::OutMessage;
pub use presence::{Presence, PresentUid};
pub use select::{Column, Row, Where};
pub use send::Sending;
pub use session::{SessionData, SessionError};
pub use targets::{Target, ToAll, ToClient, ToClients, ToGroups, ToUids};

pub use gatewayworker_net::{LinkConnector, LinkTls, LinkTlsConfig, LinkTlsError};
pub use gatewayworker_protocol::{ClientId, GroupId, IdError, ParseClientIdError, SecretKey, Uid, php};

/// The core without IO, for the simulator. Not an API: it may change at any time.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::core::{
        Answers, BarrierId, CallLink, Effect, GatewayList, InterestError, InterestView, LinkError,
        QuestionId, Transmit,
    };
}

/// Compiles the examples in the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/push-from-outside.md")]
struct Guide;
