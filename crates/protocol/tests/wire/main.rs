//! The bytes on the wires, against what the original wrote.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod frames;
mod php_objects;
mod php_serde;
mod php_values;
