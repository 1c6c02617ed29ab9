//! Writing an array as `serialize()` does, without having it as a tree before.

use super::serialize::{int, key, open, string};
use super::{KeyRef, Value, serialize_into};

/// Writes the elements of one array, in order, onto the end of a buffer.
///
/// How many there are is said first, as in what is written; the caller keeps to that, and gives no
/// key twice.
#[derive(Debug)]
pub struct ArrayWriter<'o> {
    out: &'o mut Vec<u8>,
    left: usize,
}

impl<'o> ArrayWriter<'o> {
    /// Begins an array of `len` elements.
    pub fn new(len: usize, out: &'o mut Vec<u8>) -> Self {
        open(len, out);
        Self { out, left: len }
    }

    fn key<'k>(&mut self, name: impl Into<KeyRef<'k>>) -> &mut Vec<u8> {
        debug_assert!(self.left > 0, "more elements than were announced");
        self.left = self.left.saturating_sub(1);
        key(name.into(), self.out);
        self.out
    }

    /// An element that is a string.
    pub fn string<'k>(&mut self, key: impl Into<KeyRef<'k>>, value: impl AsRef<[u8]>) {
        string(value.as_ref(), self.key(key));
    }

    /// A string, or null where there is none.
    pub fn string_or_null<'k>(&mut self, key: impl Into<KeyRef<'k>>, value: Option<&[u8]>) {
        let out = self.key(key);
        match value {
            Some(bytes) => string(bytes, out),
            None => serialize_into(&Value::Null, out),
        }
    }

    /// An element that is an integer.
    pub fn int<'k>(&mut self, key: impl Into<KeyRef<'k>>, value: i64) {
        int(value, self.key(key));
    }

    /// An element of any kind.
    pub fn value<'k>(&mut self, key: impl Into<KeyRef<'k>>, value: &Value) {
        serialize_into(value, self.key(key));
    }

    /// An element that is an array of `len` elements; it has to be ended before this goes on.
    pub fn array<'k>(&mut self, key: impl Into<KeyRef<'k>>, len: usize) -> ArrayWriter<'_> {
        ArrayWriter::new(len, self.key(key))
    }

    /// Ends the array.
    pub fn end(self) {
        debug_assert!(self.left == 0, "fewer elements than were announced");
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Array, serialize};
    use super::*;

    #[test]
    fn what_is_written_is_what_serialize_writes() {
        let mut inner = Array::new();
        inner.insert("7", "seven");
        let mut array = Array::new();
        array.insert("text", "\u{e4}\"");
        array.insert("none", Value::Null);
        array.insert("some", "");
        array.insert("-5", 12);
        array.insert("list", Array::new());
        array.insert("inner", inner);

        let mut out = b"before ".to_vec();
        let mut writer = ArrayWriter::new(6, &mut out);
        writer.string("text", "\u{e4}\"");
        writer.string_or_null("none", None);
        writer.string_or_null("some", Some(b""));
        writer.int("-5", 12);
        writer.value("list", &Array::new().into());
        let mut inner = writer.array("inner", 1);
        inner.string("7", "seven");
        inner.end();
        writer.end();
        assert_eq!(out, [b"before ", &serialize(&array.into())[..]].concat());
    }
}
