//! Register, gateway and worker, each ours or the original's: the same things are
//! done with all eight combinations, and what comes of them is compared with what
//! comes of them when all are the original's. `README.md` says how to run it.
//!
//! - [`combination`]: which daemons are whose,
//! - [`cluster`]: the daemons of one combination, as processes,
//! - [`app`]: the worker's application in Rust; `php/Events.php` is the same in PHP,
//! - [`steps`]: what is done, and what came of it,
//! - [`differences`]: where ours is meant to differ, and why,
//! - [`results`]: what was found, in a file, and as the table in the documentation.

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
