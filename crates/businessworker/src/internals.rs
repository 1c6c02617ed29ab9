//! The core of the worker, for the simulation.
//!
//! No interface: it exists with the feature `internals` only, and may change with any
//! commit. `core/mod.rs` has the cycle in which it is driven.

pub use crate::core::*;
