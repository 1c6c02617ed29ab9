//! Programs as processes of their own: the daemons' command lines, the control tool, and copied examples.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod command_line;
#[cfg(unix)]
mod control_tool;
mod examples;
#[cfg(target_os = "linux")]
mod load_generator;
#[cfg(unix)]
mod logging;
#[cfg(unix)]
mod service_manager;
