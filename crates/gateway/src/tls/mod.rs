//! TLS for the clients of a listener. [`crate::socket::Socket`] is its user.
//!
//! - `socket`: a TCP connection with TLS over it,
//! - `engine`: rustls, between ciphertext and plaintext in buffers,
//! - `traffic_keys`: cipher suites for it, with keys that take little room while a client is idle,
//! - `certificate`: the files of a listener, loaded at the start and at each reload,
//! - `validity`: the dates between which a certificate is valid.
//!
//! It chooses no ciphers and no curves: rustls's defaults are used.

mod certificate;
mod engine;
mod socket;
#[cfg(test)]
mod testing;
mod traffic_keys;
mod validity;

pub use certificate::TlsVersion;
pub(crate) use certificate::{Certificate, Files};
pub(crate) use socket::{RECORD, TlsSession, TlsSocket};
pub(crate) use traffic_keys::drop_unused_keys;
