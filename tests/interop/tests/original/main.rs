//! Beside the PHP original. Not part of `cargo test --workspace`, as no package registry that a test machine
//! reaches has the original: `README.md` says how to get it, and the command.

mod combinations;
mod swap;
mod values;
