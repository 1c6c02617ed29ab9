//! Tests with the PHP original. They are not part of `cargo test --workspace`, because the original must be installed
//! first: `README.md` says how, and how to run them.

mod combinations;
mod javascript;
mod swap;
mod values;
