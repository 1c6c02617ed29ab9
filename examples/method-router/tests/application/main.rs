//! Requests and their answers, the entrance, and the program by hand.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

#[path = "../support/mod.rs"]
mod support;

mod actions;
mod command_line;
mod entrance;
