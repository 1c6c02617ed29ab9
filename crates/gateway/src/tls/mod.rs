//! TLS for the clients of a listener.
//!
//! - `socket`: a connection that speaks it,
//! - `engine`: rustls, between ciphertext and plaintext in buffers,
//! - `certificate`: the files of a listener, loaded and loaded again,
//! - `validity`: from when until when a certificate is good.
//!
//! Which ciphers, curves and versions are safe is rustls's to know.

mod certificate;
mod engine;
mod socket;
#[cfg(test)]
mod testing;
mod validity;

pub use certificate::TlsVersion;
pub(crate) use certificate::{Certificate, Files};
pub(crate) use socket::{RECORD, TlsSocket};
