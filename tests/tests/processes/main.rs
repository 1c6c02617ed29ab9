//! Programs as processes of their own: the daemons' command lines, the control tool, and the examples taken away.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod command_line;
#[cfg(unix)]
mod control_tool;
mod examples;
#[cfg(unix)]
mod logging;
