//! A live room with comments. Clients use it in two ways, which share the rooms:
//!
//! - *Over the socket*: a client sends `join` and `say`, and the worker sends them to the room.
//!   [`LiveRoom`] is this worker's application.
//! - *Through a web backend*: the socket only receives. A page posts its client id to the
//!   [`backend`], which binds the user to the client and joins the room. Comments are posted too;
//!   the backend checks and pushes them. It has no worker, only a
//!   [`Gateway`](gatewayworker::Gateway), as the backend of a shop or a forum has.
//!
//! Both parse requests with `fields`, make messages with `reply`, count page views with [`Views`],
//! keep the last comments with [`Lines`], and send a room its numbers with `numbers`.

pub mod backend;
mod fields;
mod limiter;
mod lines;
mod numbers;
mod reply;
mod settings;
mod views;
mod worker;

pub use lines::Lines;
pub use settings::{Rooms, Settings};
pub use views::{Unavailable, Views};
pub use worker::LiveRoom;
