//! The content of a session, without a connection to its client.
//!
//! `commands.rs` writes it, `questions.rs` and `select.rs` read it.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Array, Key, Value};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

/// The content of a client's session: names and values, as PHP's `$_SESSION`.
///
/// A copy: a change has no effect elsewhere until it is written with
/// [`Gateway::set_session`](crate::Gateway::set_session).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionData(Array);

/// Why a session cannot be read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The stored bytes are not a serialized PHP array of plain data.
    #[error("the stored session cannot be read: {0}")]
    Unreadable(#[from] php::Error),
    /// A value has another type than the caller asked for, or no PHP form.
    #[error("session value {key:?}: {source}")]
    Value {
        /// The value's name.
        key: String,
        /// The conversion's error.
        source: php::SerdeError,
    },
    /// The whole session is a single value rather than names and values.
    #[error("a session is an array, this is {0}")]
    NotAnArray(&'static str),
    /// The whole session has no PHP form.
    #[error("the session has no PHP form: {0}")]
    NoForm(php::SerdeError),
}

impl SessionData {
    /// An empty session.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a session of a Rust value: a struct, a map, `serde_json::json!({…})`.
    ///
    /// # Errors
    /// When the value has no PHP form, or one that is not an array.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Self, SessionError> {
        match php::to_value(value).map_err(SessionError::NoForm)? {
            Value::Array(array) => Ok(Self(array)),
            other => Err(SessionError::NotAnArray(other.type_name())),
        }
    }

    /// Reads a stored session. No bytes are an empty session.
    ///
    /// # Errors
    /// When the bytes are not a serialized array, or hold objects or references.
    pub fn parse(bytes: &[u8]) -> Result<Self, SessionError> {
        if bytes.is_empty() {
            return Ok(Self::new());
        }
        match php::unserialize(bytes)? {
            Value::Array(array) => Ok(Self(array)),
            // A PHP handler that sets `$_SESSION = null` leaves this behind.
            Value::Null => Ok(Self::new()),
            other => Err(SessionError::NotAnArray(other.type_name())),
        }
    }

    /// Returns the session as it is stored.
    pub fn to_bytes(&self) -> Bytes {
        php::serialize(&Value::Array(self.0.clone())).into()
    }

    /// Returns the value under `key`, or `None` where there is none.
    ///
    /// # Errors
    /// When the value is there but has another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SessionError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        let read = php::from_value(value.clone());
        read.map(Some).map_err(|source| SessionError::Value { key: key.to_owned(), source })
    }

    /// Puts a value under `key`. Returns whether that changed anything.
    ///
    /// # Errors
    /// When the value has no PHP form.
    pub fn insert(&mut self, key: &str, value: impl Serialize) -> Result<bool, SessionError> {
        let value =
            php::to_value(&value).map_err(|source| SessionError::Value { key: key.to_owned(), source })?;
        if self.0.get(key) == Some(&value) {
            return Ok(false);
        }
        self.0.insert(Key::from(key), value);
        Ok(true)
    }

    /// Removes the value under `key`. Returns whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    /// Puts the values of `with` over those of the same names, in nested arrays too
    /// (PHP's `array_replace_recursive`).
    pub fn merge(&mut self, with: Array) {
        self.0 = php::array_replace_recursive(std::mem::take(&mut self.0), with);
    }

    /// Whether the session has no values.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the PHP array.
    pub fn as_array(&self) -> &Array {
        &self.0
    }

    /// Turns the session into its PHP array.
    pub fn into_array(self) -> Array {
        self.0
    }
}

impl From<Array> for SessionData {
    fn from(array: Array) -> Self {
        Self(array)
    }
}

impl Serialize for SessionData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_is_stored_as_php_stores_it() {
        let session = SessionData::of(&json!({"name": "Ann", "7": [1, true]})).unwrap();
        assert_eq!(session.to_bytes(), r#"a:2:{s:4:"name";s:3:"Ann";i:7;a:2:{i:0;i:1;i:1;b:1;}}"#);
        assert_eq!(SessionData::parse(&session.to_bytes()).unwrap(), session);
        assert!(SessionData::parse(b"").unwrap().is_empty());
    }

    #[test]
    fn a_value_of_another_type_is_an_error_and_a_missing_one_is_none() {
        let session = SessionData::of(&json!({"age": 7})).unwrap();
        assert_eq!(session.get::<u8>("age"), Ok(Some(7)));
        assert_eq!(session.get::<u8>("name"), Ok(None));
        assert!(matches!(session.get::<String>("age"), Err(SessionError::Value { key, .. }) if key == "age"));
    }

    #[test]
    fn a_session_is_an_array() {
        assert!(matches!(SessionData::of(&"text"), Err(SessionError::NotAnArray("string"))));
        assert!(matches!(SessionData::parse(b"i:7;"), Err(SessionError::NotAnArray("int"))));
        assert!(matches!(SessionData::parse(b"O:1:\"A\":0:{}"), Err(SessionError::Unreadable(_))));
    }

    #[test]
    fn a_copy_is_passed_on_as_it_is() {
        let session = SessionData::parse(b"a:1:{i:3;s:1:\"x\";}").unwrap();
        assert_eq!(SessionData::of(&session).unwrap(), session);
    }
}
