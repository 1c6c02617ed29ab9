//! The key that the daemons and client libraries of a cluster share. It must never appear in a log.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// The shared key; empty where none is used.
///
/// `Debug` hides it, and it is compared in constant time.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct SecretKey(String);

impl SecretKey {
    /// Makes a key; `""` stands for none.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// Whether no key is used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key itself. It is for the wire, and for nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretKey {}

impl std::str::FromStr for SecretKey {
    type Err = std::convert::Infallible;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(key))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "***" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_key() {
        assert_eq!(format!("{:?}", SecretKey::new("hunter2")), "***");
        assert_eq!(format!("{:?}", SecretKey::default()), "none");
    }
}
