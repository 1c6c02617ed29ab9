//! Requests that name a method, to handlers that take typed parameters.
//!
//! A request is a JSON object: `{"method":"live.user.join","code":"room1"}`. The method
//! finds the handler, the rest of the object is the handler's parameters, read by
//! serde. What the handler returns is the answer; whatever goes wrong on the way is
//! answered as well, in one place.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use gatewayworker_businessworker::{self as businessworker, Client, CloseReason, Events, Message, Result};
//! use gatewayworker_router::{self as router, Failure, NoParameters, Router};
//! use serde::{Deserialize, Serialize};
//!
//! struct Live {
//!     rooms: Vec<String>,
//! }
//!
//! #[derive(Deserialize)]
//! struct Join {
//!     code: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Joined {
//!     room: String,
//! }
//!
//! async fn join(live: &Live, client: &Client, Join { code }: Join) -> router::Result<Joined> {
//!     if !live.rooms.contains(&code) {
//!         return Err(Failure::new(404, "no such room"));
//!     }
//!     client.join_group(code.as_str()).await?;
//!     router::add_controller(client, "Live.User").await?;
//!     Ok(Joined { room: code })
//! }
//!
//! async fn rooms(live: &Live, _: &Client, _: NoParameters) -> router::Result<Vec<String>> {
//!     Ok(live.rooms.clone())
//! }
//!
//! async fn left(_: &Live, client: &Client, _: CloseReason) -> router::Result {
//!     client.gateway().send_to_all(format!("{} has left", client.id())).await?;
//!     Ok(())
//! }
//!
//! struct App {
//!     live: Live,
//!     router: Router<Live>,
//! }
//!
//! impl Events for App {
//!     async fn on_message(&self, client: &Client, message: Message) -> Result {
//!         self.router.handle(&self.live, client, &message).await
//!     }
//!
//!     async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
//!         self.router.left(&self.live, client, reason).await
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     let router = Router::new()
//!         .on("live.user.join", join)
//!         .on("live.room.list", rooms)
//!         .on_leave("Live.User", left);
//!     businessworker::main(async |_: businessworker::Start| {
//!         Ok(App { live: Live { rooms: vec!["room1".into()] }, router })
//!     })
//! }
//! ```
//!
//! # Names
//!
//! `module.controller.action` is a habit, not a rule: a method is any text. Its case
//! does not count (ASCII), so that `live.user.join` finds what a PHP application calls
//! `Live`, `User` and `join`.
//!
//! # What the client is told
//!
//! Every request gets one [`Answer`], which [`envelope`] makes into
//! `{"status":…, "info":…, "param":…, "event":…}` unless [`Router::answers`] was given
//! something else, also where its handler panics. One that is cancelled by the worker's
//! time limit answers nothing: the worker logs it.

mod answer;
mod handler;
mod leaving;
mod parameters;
mod router;

pub use answer::{Answer, Failure, Fault, Problem, Reply, Result, envelope};
pub use handler::Handler;
pub use leaving::{SessionNames, add_controller, controllers, remove_controller};
pub use router::Router;

/// The parameters of a handler that has none: takes whatever is there.
pub use serde::de::IgnoredAny as NoParameters;
