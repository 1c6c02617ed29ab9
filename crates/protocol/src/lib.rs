//! The wires of GatewayWorker, as bytes and values.
//!
//! Everything that crosses a socket between a register, a gateway, a
//! businessworker and a client library is written and read here, so that a peer
//! may at any time be one of the original's PHP processes:
//!
//! - [`frame`]: the 28-byte header and what hangs on it,
//! - [`Command`]: what a frame means, one variant for each,
//! - [`Question`]: the commands that are answered, and how an answer is framed,
//! - [`Features`], [`PingBody`]: what our gateways and workers tell each other about themselves,
//! - [`close_code`], [`CloseReason`]: why a client's connection ends, for the client and for its worker,
//! - [`register`]: the JSON lines spoken with a register,
//! - [`request_target`]: what a client asked for in its handshake,
//! - [`ClientId`], [`Uid`], [`GroupId`], [`SecretKey`]: the names in them,
//! - [`php`]: PHP's serialized values, which sessions and answers are made of.
//!
//! This crate knows no sockets, no runtime and no clock.

mod client_id;
pub mod close_code;
mod close_reason;
pub mod code;
pub mod command;
mod features;
pub mod frame;
mod ids;
mod json;
pub mod php;
mod question;
pub mod register;
pub mod request_target;
mod secret;

pub use client_id::{ClientId, ParseClientIdError};
pub use close_code::may_close_with;
pub use close_reason::CloseReason;
pub use command::{Audience, Body, Command, CommandError, Hello, Origin, Payload};
pub use features::{Features, PingBody};
pub use frame::{Frame, FrameError, HEADER_LEN, MAX_FRAME_LEN, MAX_LARGE_FRAME_LEN, MAX_MESSAGE_LEN};
pub use ids::{GroupId, IdError, Uid};
pub use question::{Field, Filter, Question, Select, frame_answer, parse_answer};
pub use secret::SecretKey;
