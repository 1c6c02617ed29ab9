//! Reads lists in a configuration file.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};

/// Reads a list of addresses that may also be written as one address without
/// brackets, as the original's `registerAddress` may; for `deserialize_with`.
///
/// # Errors
/// When it is neither.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Addresses;

    impl<'de> Visitor<'de> for Addresses {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an address or a list of addresses")
        }

        fn visit_str<E>(self, address: &str) -> Result<Self::Value, E> {
            Ok(vec![address.to_owned()])
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
            let mut addresses = Vec::new();
            while let Some(address) = seq.next_element()? {
                addresses.push(address);
            }
            Ok(addresses)
        }
    }

    deserializer.deserialize_any(Addresses)
}
