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
//! A handle holds one link to each gateway that the registers list, the *call
//! link*. Everything it says and asks goes over that one link, which is never the
//! link that a worker receives events on. From this follow two promises, with
//! the original's gateways as well:
//!
//! - **A question sees what was said before it**: a gateway takes what one link
//!   says in order, so `join_group(…).await` and then `client_ids_by_group(…)` from
//!   the same handle (or a clone) holds the new member.
//! - **Answers never stand between events**: they have neither a header nor an id,
//!   so a link that has both could not be read.
//!
//! As answers have no id, one question is under way on a link at a time; the
//! others wait their turn. Commands wait for nothing.
//!
//! # What was not reached
//!
//! A send is told to every gateway that may hold a receiver, and one dead gateway
//! never stops the others: [`Delivery`] names it. A question that not all gateways
//! answered is an error, [`AskError::Incomplete`], which carries what did come.

mod answer;
mod ask;
pub mod bus;
mod bus_state;
pub mod calls;
mod close;
mod commands;
mod core;
mod dispatch;
mod emulated;
mod error;
mod frames;
mod gateway;
/// The core without IO, for the simulator. Not an API: it may change at any time.
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals {
    pub use crate::core::{Answers, CallLink, Effect, LinkError, QuestionId, Transmit};
}
mod gateway_list;
mod link;
mod links;
mod message;
mod questions;
mod select;
mod send;
mod session;
mod session_observer;
mod targets;
pub mod worker;

pub use close::Closing;
pub use dispatch::CommandFuture;
pub use error::{AskError, Delivery, Error, Unreached};
pub use gateway::{Builder, Gateway};
pub use message::OutMessage;
pub use select::{Column, Row, Where};
pub use send::Sending;
pub use session::{SessionData, SessionError};
pub use targets::{Target, ToAll, ToClient, ToClients, ToGroups, ToUids};

pub use gatewayworker_protocol::{ClientId, GroupId, IdError, ParseClientIdError, SecretKey, Uid, php};

/// Compiles the examples in the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/push-from-outside.md")]
struct Guide;
