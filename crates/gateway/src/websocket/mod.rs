//! The handshake of RFC 6455. The frames that follow it are read and written in
//! `core::websocket`.
//!
//! - [`handshake`]: reads an upgrade request and checks it against the listener's settings,
//! - `request`: an HTTP request, borrowed from the bytes it was read into,
//! - [`rejection`]: a request that is not upgraded, and its HTTP answer,
//! - `token`: takes a client's token out of its request,
//! - `health_check`: requests of load balancers,
//! - `text_answer`: an HTTP answer with one line of text.

pub(crate) mod handshake;
mod health_check;
pub(crate) mod rejection;
mod request;
mod text_answer;
pub(crate) mod token;
