//! The keys of PHP's arrays, and PHP's rule of which strings are integers there.

use std::fmt;

use bytes::Bytes;
use indexmap::Equivalent;

use super::value::debug_bytes;

/// The key of an array element.
///
/// PHP has no string key that looks like an integer: made through [`Key::from_bytes`] or `From`,
/// neither has this.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// An integer.
    Int(i64),
    /// Bytes that are not the decimal form of an `i64`.
    String(Bytes),
}

/// A [`Key`] that borrows its bytes, for looking one up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyRef<'a> {
    /// See [`Key::Int`].
    Int(i64),
    /// See [`Key::String`].
    String(&'a [u8]),
}

impl Key {
    /// The key PHP makes of a string: `"7"` and `"-5"` become integers; `"07"`, `"-0"`, `"+1"` and what
    /// does not fit an `i64` stay strings.
    pub fn from_bytes(bytes: &[u8]) -> Key {
        KeyRef::from(bytes).into()
    }

    /// The bytes of the key: an integer's are its decimal form, the inverse of [`Key::from_bytes`].
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Key::Int(n) => n.to_string().into(),
            Key::String(bytes) => bytes.clone(),
        }
    }
}

impl KeyRef<'_> {
    /// The key that PHP has in an array for this: see [`Key::from_bytes`].
    pub(super) fn canonical(self) -> Self {
        match self {
            KeyRef::Int(_) => self,
            KeyRef::String(bytes) => bytes.into(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Int(n) => n.fmt(f),
            Key::String(bytes) => debug_bytes(bytes, f),
        }
    }
}

/// The integer that PHP makes of a float, for a key as elsewhere: what stands behind the point is cut off,
/// what is out of range wraps around, and what is no number is 0.
pub(crate) fn float_to_int(x: f64) -> i64 {
    const RANGE: f64 = 18_446_744_073_709_551_616.0;
    let whole = x.trunc();
    if whole.abs() < RANGE / 2.0 {
        return whole as i64;
    }
    // Exact: beyond 2^53 a float is a whole number of its own steps. NAN becomes 0.
    whole.rem_euclid(RANGE) as u64 as i64
}

/// The integer whose decimal form these bytes are, and the only one that has it.
fn canonical_int(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] | [b'-', b'1'..=b'9', ..] => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

impl<'a> From<&'a [u8]> for KeyRef<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        canonical_int(bytes).map_or(KeyRef::String(bytes), KeyRef::Int)
    }
}

impl<'a> From<&'a str> for KeyRef<'a> {
    fn from(text: &'a str) -> Self {
        text.as_bytes().into()
    }
}

impl<'a> From<&'a Key> for KeyRef<'a> {
    fn from(key: &'a Key) -> Self {
        match key {
            Key::Int(n) => KeyRef::Int(*n),
            Key::String(bytes) => KeyRef::String(bytes),
        }
    }
}

impl From<KeyRef<'_>> for Key {
    fn from(key: KeyRef<'_>) -> Key {
        match key {
            KeyRef::Int(n) => Key::Int(n),
            KeyRef::String(bytes) => Key::String(Bytes::copy_from_slice(bytes)),
        }
    }
}

impl From<Bytes> for Key {
    fn from(bytes: Bytes) -> Key {
        canonical_int(&bytes).map_or(Key::String(bytes), Key::Int)
    }
}

impl From<String> for Key {
    fn from(text: String) -> Key {
        Bytes::from(text).into()
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key::from_bytes(text.as_bytes())
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Key {
        Key::from_bytes(bytes)
    }
}

macro_rules! key_from_int {
    ($($int:ty),*) => {$(
        impl From<$int> for Key {
            fn from(n: $int) -> Key { Key::Int(n.into()) }
        }
        impl From<$int> for KeyRef<'_> {
            fn from(n: $int) -> Self { KeyRef::Int(n.into()) }
        }
    )*};
}

key_from_int!(i32, u32, i64);

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == KeyRef::from(key)
    }
}
