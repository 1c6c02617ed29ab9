//! Compares ours with the original. Register, gateway and worker are each ours or the original's; the same steps run with
//! all eight combinations, and each outcome must equal that of the original alone. `README.md` says how to run it.
//!
//! - [`combination`]: which daemons are ours, and which the original's,
//! - [`cluster`]: the daemons of one combination, as processes,
//! - [`app`]: the worker's application in Rust; `php/Events.php` is the same in PHP,
//! - [`steps`]: the steps, and their outcomes,
//! - [`differences`]: the intended differences, with their reasons,
//! - [`results`]: the results, in a file, and as the tables of the documentation.

pub mod app;
mod caller;
mod client;
pub mod cluster;
pub mod combination;
pub mod differences;
pub mod php;
mod ports;
mod process;
pub mod results;
pub mod steps;

pub use caller::Caller;
pub use client::Client;
