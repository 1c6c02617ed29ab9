//! A session's content, apart from where it is kept.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Array, Key, Value};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

/// What a client's session holds: names and values, as PHP's `$_SESSION`.
///
/// Not connected to the client: changing one changes nothing elsewhere until it
/// is written with [`Gateway::set_session`](crate::Gateway::set_session).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionData(Array);

/// A session that cannot be read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The stored bytes are not a serialized PHP array of plain data.
    #[error("the stored session cannot be read: {0}")]
    Unreadable(#[from] php::Error),
    /// A value has another type than was asked for, or no PHP form.
    #[error("session value {key:?}: {source}")]
    Value {
        /// The value's name.
        key: String,
        /// What does not fit.
        source: php::SerdeError,
    },
    /// A whole session that is a single value rather than names and values.
    #[error("a session is an array, this is {0}")]
    NotAnArray(&'static str),
    /// A whole session that has no PHP form.
    #[error("no session: {0}")]
    NoForm(php::SerdeError),
}

impl SessionData {
    /// An empty session.
    pub fn new() -> Self {
        Self::default()
    }

    /// The session that a Rust value makes: a struct, a map, `serde_json::json!({…})`.
    ///
    /// # Errors
    /// When it has no PHP form, or one that is not an array.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Self, SessionError> {
        match php::to_value(value).map_err(SessionError::NoForm)? {
            Value::Array(array) => Ok(Self(array)),
            other => Err(SessionError::NotAnArray(other.type_name())),
        }
    }

    /// Reads a stored session; no bytes are an empty one.
    ///
    /// # Errors
    /// When the bytes are not a serialized array, or hold what is more than data
    /// (objects, references).
    pub fn parse(bytes: &[u8]) -> Result<Self, SessionError> {
        if bytes.is_empty() {
            return Ok(Self::new());
        }
        match php::unserialize(bytes)? {
            Value::Array(array) => Ok(Self(array)),
            // What a PHP handler that set `$_SESSION = null` leaves behind.
            Value::Null => Ok(Self::new()),
            other => Err(SessionError::NotAnArray(other.type_name())),
        }
    }

    /// The session as it is stored.
    pub fn to_bytes(&self) -> Bytes {
        php::serialize(&Value::Array(self.0.clone())).into()
    }

    /// The value under `key`, or `None` where there is none.
    ///
    /// # Errors
    /// When the value is there but has another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SessionError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        let read = php::from_value(value.clone());
        read.map(Some).map_err(|source| SessionError::Value { key: key.to_owned(), source })
    }

    /// Puts a value under `key`; whether that changed anything.
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

    /// Takes out what is under `key`; whether there was anything.
    pub fn remove(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    /// Puts all of `with` over what is there, arrays within arrays likewise
    /// (PHP's `array_replace_recursive`).
    pub fn merge(&mut self, with: Array) {
        self.0 = php::array_replace_recursive(std::mem::take(&mut self.0), with);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The PHP array.
    pub fn as_array(&self) -> &Array {
        &self.0
    }

    /// The PHP array, for good.
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
    fn is_stored_as_php_stores_it() {
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
