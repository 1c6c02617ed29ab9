//! A live room with comments, in two ways that share their rooms.
//!
//! - *Over the socket*: a client says `join` and `say`, and the worker tells the room.
//!   That is [`LiveRoom`], the worker's events.
//! - *Through a web backend*: the socket only listens. A page posts its client id to
//!   the [`backend`], which binds the user to it and joins the room; comments are posted
//!   too, checked there, and pushed. The backend knows the gateways through
//!   [`Gateway`](gatewayworker::Gateway) alone, as a shop's or a forum's would.
//!
//! Both read what they are given with `fields`, speak with `reply`, count with
//! [`Views`] and tell a room its numbers with `board`.

pub mod backend;
mod board;
mod fields;
mod limiter;
mod reply;
mod settings;
mod views;
mod worker;

pub use settings::{Rooms, Settings};
pub use views::{Unavailable, Views};
pub use worker::LiveRoom;

/// How often somebody may say something: so many at once,
const BURST: u32 = 5;

/// and then so many a second.
const PER_SECOND: f64 = 1.0;

/// How many rooms one client may be in.
const MAX_ROOMS: usize = 8;
