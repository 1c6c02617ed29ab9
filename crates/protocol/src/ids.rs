//! Uids and groups: byte strings that the application chooses. Commands and questions carry them.

use std::fmt;

use bytes::Bytes;

/// A text that cannot be a uid or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {what} may not be empty or \"0\"")]
pub struct IdError {
    what: &'static str,
}

macro_rules! byte_string_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// Any bytes but the empty string and `"0"`, which the original rejects
        /// too (PHP's `empty`). Numbers become their decimal form.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Bytes);

        impl $name {
            /// Takes `bytes` as they are.
            ///
            /// # Errors
            /// When they are empty or `"0"`.
            pub fn new(bytes: impl Into<Bytes>) -> Result<Self, IdError> {
                let bytes = bytes.into();
                if bytes.is_empty() || bytes.as_ref() == b"0" {
                    return Err(IdError { what: $what });
                }
                Ok(Self(bytes))
            }

            /// The bytes, as they are on the wire.
            pub fn as_bytes(&self) -> &Bytes {
                &self.0
            }

            /// The bytes as text; `None` where they are not UTF-8.
            pub fn as_str(&self) -> Option<&str> {
                std::str::from_utf8(&self.0).ok()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&String::from_utf8_lossy(&self.0), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(text: &str) -> Result<Self, IdError> {
                Self::new(Bytes::copy_from_slice(text.as_bytes()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<&String> for $name {
            type Error = IdError;
            fn try_from(text: &String) -> Result<Self, IdError> {
                Self::try_from(text.as_str())
            }
        }

        impl TryFrom<i64> for $name {
            type Error = IdError;
            fn try_from(number: i64) -> Result<Self, IdError> {
                Self::new(number.to_string())
            }
        }

        impl TryFrom<&Self> for $name {
            type Error = IdError;
            fn try_from(id: &Self) -> Result<Self, IdError> {
                Ok(id.clone())
            }
        }

    };
}

byte_string_id! {
    /// A user: any number of clients may be bound to it.
    Uid, "uid"
}

byte_string_id! {
    /// A group, which clients join and leave.
    GroupId, "group"
}

// `impl TryInto<Uid>` takes a Uid as well, whose error is `Infallible`.
impl From<std::convert::Infallible> for IdError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_empty_text_and_0_as_php_does() {
        assert!(Uid::try_from("").is_err());
        assert!(Uid::try_from("0").is_err());
        assert!(Uid::try_from(0).is_err());
        assert_eq!(Uid::try_from(7).unwrap(), Uid::try_from("7").unwrap());
        assert!(GroupId::try_from("00").is_ok());
    }
}
