//! A router from requests that name a method to handlers with typed parameters.
//!
//! A request is a JSON object: `{"method":"live.user.join","code":"room1"}`. The router finds the
//! handler by the method and reads the rest of the object into the handler's parameters, by serde.
//! The handler's return value is the answer; errors are answered in one place, too. An application
//! calls [`Router::handle`] from `on_message` and [`Router::left`] from `on_close`.
//!
//! `router` has the table of methods, `parameters` reads the parameters, `answer` has answers and
//! errors, `leaving` stores what is to happen when a client leaves.
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
//! A method is any text; `module.controller.action` is only a convention. ASCII case is ignored, so
//! that `live.user.join` finds what a PHP application calls `Live`, `User` and `join`.
//!
//! # Answers
//!
//! Every request gets one [`Answer`], also if its handler panics. [`envelope`] encodes it as
//! `{"status":…, "info":…, "param":…, "event":…}` unless [`Router::answers`] sets another encoding.
//! A handler that the worker cancels (`handler_timeout_ms`) sends no answer; the worker logs it.

mod answer;
mod handler;
mod leaving;
mod parameters;
mod router;

pub use answer::{Answer, Failure, Fault, Problem, Reply, Result, envelope};
pub use handler::Handler;
pub use leaving::{SessionNames, add_controller, controllers, remove_controller};
pub use router::Router;

/// The parameters of a handler that has none. Any parameters are accepted and ignored.
pub use serde::de::IgnoredAny as NoParameters;
