//! Requests and their answers, tickets, and the program.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "../support/mod.rs"]
mod support;

mod actions;
mod command_line;
mod tickets;
