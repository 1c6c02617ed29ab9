//! The protocols of GatewayWorker, as bytes and values.
//!
//! Everything that crosses a socket between a register, a gateway, a businessworker and a client
//! library is encoded and decoded here, byte for byte as the original does, so that any peer may be
//! one of its PHP processes:
//!
//! - [`frame`]: the frame, a 28-byte header with an ext and a body,
//! - [`Command`]: what a frame means; one file for each command,
//! - [`Question`]: the commands that are answered, and the framing of the answers,
//! - [`code`]: the numbers of the commands,
//! - [`inspect`]: what an operator may ask a gateway about itself, and the answers,
//! - [`report`]: what a worker tells its gateways about itself,
//! - [`interest`]: which groups and uids a gateway may have,
//! - [`pattern`]: patterns of the names of groups,
//! - [`hash`]: a hash that all processes agree on,
//! - [`presence`]: what gateways tell each other about who is in which room,
//! - [`relayed_resume`]: how a gateway gives a connection to the gateway that has its client,
//! - [`Features`], [`PingBody`]: what our gateways and workers tell each other about themselves,
//! - [`close_code`], [`CloseReason`]: why a client's connection ends, for the client and for its worker,
//! - [`register`]: the JSON lines between a register and its peers,
//! - [`request_target`]: path and query of a client's handshake,
//! - [`TraceContext`]: which trace an event belongs to,
//! - [`EventContext`]: the number of an event, and its client's uid and groups,
//! - [`ClientId`], [`Uid`], [`GroupId`], [`SecretKey`]: identifiers and the cluster's key,
//! - [`php`]: PHP's serialized values, of which sessions and answers consist.
//!
//! This crate has no sockets, no runtime and no clock. Links in `gateway`, `businessworker` and
//! `client` move the bytes.

mod client_close_frame;
mod client_id;
pub mod close_code;
mod close_reason;
pub mod code;
pub mod command;
mod event_context;
mod features;
pub mod frame;
pub mod hash;
mod hex_id;
mod ids;
pub mod inspect;
pub mod interest;
mod json;
pub mod pattern;
pub mod php;
pub mod presence;
mod question;
pub mod register;
pub mod relayed_resume;
pub mod report;
pub mod request_target;
mod secret;
mod trace_context;

pub use client_close_frame::ClientCloseFrame;
pub use client_id::{ClientId, ParseClientIdError};
pub use close_code::may_close_with;
pub use close_reason::CloseReason;
pub use command::{Audience, Body, Command, CommandError, EventCounts, Hello, Origin, Payload, encode_done};
pub use event_context::EventContext;
pub use features::{Features, Pairing, PingBody};
pub use frame::{
    FLAG_EVENT_CONTEXT, FLAG_REDELIVERED, FLAG_TRACE_CONTEXT, Frame, FrameError, HEADER_LEN, MAX_FRAME_LEN,
    MAX_LARGE_FRAME_LEN, MAX_MESSAGE_LEN,
};
pub use ids::{GroupId, IdError, Uid};
pub use question::{Field, Filter, Question, Select, frame_answer, parse_answer};
pub use secret::SecretKey;
pub use trace_context::TraceContext;
