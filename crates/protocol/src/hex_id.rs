//! Random 64-bit ids of processes in JSON: as 16 hexadecimal digits, since not every reader of JSON
//! keeps all bits of a number.

/// The id as text.
pub(crate) fn to_text(id: u64) -> String {
    format!("{id:016x}")
}

/// Reads an id; `None` where the text is none.
pub(crate) fn from_text(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// An id that may be missing, for serde. A text that is no id counts as missing.
pub(crate) mod option {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::ref_option, reason = "serde passes the field by reference")]
    pub(crate) fn serialize<S: Serializer>(id: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => serializer.serialize_str(&super::to_text(*id)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let id = Option::<String>::deserialize(deserializer)?;
        Ok(id.as_deref().and_then(super::from_text))
    }
}
