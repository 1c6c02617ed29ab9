//! PHP values: what GatewayWorker's sessions, answers and handshake data are made of.
//!
//! A [`Value`] is what PHP code would hold; [`serialize`] and [`unserialize`] are PHP's functions of
//! those names, [`query`] reads what a browser sends into the arrays PHP would make of it, and
//! [`to_value`] and [`from_value`] carry Rust types in and out through serde.
//!
//! A [`Value`] is data only: no objects, no references. What passes through without being looked into
//! may hold both: [`merge_sessions`] and [`json_encode`] work on the serialized bytes. There is no I/O.
//! Everything here is checked against PHP 8.2 with its default settings (`serialize_precision = -1`).

mod array;
mod de;
mod dynamic;
mod graph;
mod json;
mod key;
mod merge;
pub mod query;
mod ser;
mod serialize;
mod unserialize;
mod value;
mod writer;

pub use array::Array;
pub use de::from_value;
pub use json::json_encode;
pub(crate) use key::float_to_int;
pub use key::{Key, KeyRef};
pub use merge::{array_replace_recursive, merge_sessions};
pub use ser::{SerdeError, to_value};
pub use serialize::{serialize, serialize_into};
pub use unserialize::{Error, unserialize};
pub use value::Value;
pub use writer::ArrayWriter;

/// How many arrays deep a value may be, the outermost included, to be read by [`unserialize`].
///
/// PHP's own limit is 4096, and sessions are a handful deep. What works through a value calls itself
/// for every level; this many take no more than half of a thread's usual 2 MiB of stack, even in a
/// build without optimisation.
pub const MAX_DEPTH: usize = 256;
