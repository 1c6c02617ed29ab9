//! A value on cache lines of its own.
//!
//! Threads that read a value are slowed down where another thread writes beside it. `gateway_state` and `listener` keep
//! what is written for each client apart from what is read for each message.

use std::ops::Deref;

/// A value that shares its cache lines with no other. Two lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
