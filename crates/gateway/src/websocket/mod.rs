//! The handshake of RFC 6455: [`handshake`] reads the upgrade request (`request`), checks it
//! against the listener's settings, and answers it. What follows it is `core::websocket`.

pub(crate) mod handshake;
mod request;
