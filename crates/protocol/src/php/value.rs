//! PHP's values. Not how they are written or read: that is the neighbours' work.

use std::fmt;

use bytes::Bytes;

use super::Array;

/// A PHP value, as far as sessions and answers use PHP's types.
#[derive(Clone, Default, PartialEq)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// `int`, 64 bits wide.
    Int(i64),
    /// `float`.
    Float(f64),
    /// `string`: bytes, in whatever encoding.
    String(Bytes),
    /// `array`.
    Array(Array),
}

impl Value {
    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The bytes, if it is a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::String(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text, if it is a string in UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The array for good, if it is one.
    pub fn into_array(self) -> Option<Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// What PHP calls the type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::String(_) => "string",
            Value::Array(_) => "array",
        }
    }
}

/// Strings appear as text, with the bytes that are none escaped.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(b) => b.fmt(f),
            Value::Int(n) => n.fmt(f),
            Value::Float(x) => x.fmt(f),
            Value::String(bytes) => debug_bytes(bytes, f),
            Value::Array(array) => array.fmt(f),
        }
    }
}

pub(super) fn debug_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match std::str::from_utf8(bytes) {
        Ok(text) => write!(f, "{text:?}"),
        Err(_) => write!(f, "b\"{}\"", bytes.escape_ascii()),
    }
}

macro_rules! value_from {
    ($($from:ty: $x:ident => $value:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from($x: $from) -> Value { $value }
        }
    )*};
}

value_from! {
    (): _unit => Value::Null,
    bool: b => Value::Bool(b),
    i32: n => Value::Int(n.into()),
    u32: n => Value::Int(n.into()),
    i64: n => Value::Int(n),
    f64: x => Value::Float(x),
    &str: text => Value::String(Bytes::copy_from_slice(text.as_bytes())),
    String: text => Value::String(text.into()),
    &[u8]: bytes => Value::String(Bytes::copy_from_slice(bytes)),
    Vec<u8>: bytes => Value::String(bytes.into()),
    Bytes: bytes => Value::String(bytes),
    Array: array => Value::Array(array),
}
