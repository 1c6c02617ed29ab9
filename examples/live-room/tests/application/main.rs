//! The live room over the socket and through the backend, and its program.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "../support/mod.rs"]
mod support;

mod backend;
#[cfg(unix)]
mod demo;
mod socket;
