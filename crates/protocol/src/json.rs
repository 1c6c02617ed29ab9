//! Lists of ids in the ext of commands, read as PHP reads them.
//!
//! The original's peers write lists with `json_encode`, read them with `json_decode(…, true)` and
//! look each item up in an array. So a list with holes arrives as an object, and an item stands for
//! the array key that PHP makes of it. The files of commands and questions call this.

use bytes::Bytes;
use serde_json::Value;

use crate::php::{KeyRef, float_to_int};

/// The values of a list or an object, in order; none of any other value.
pub(crate) fn values(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// The keys whose value is not null, of a list (whose keys are positions) or an
/// object: those for which PHP's `isset($list[$id])` is true.
pub(crate) fn set_keys(value: &Value) -> Vec<u32> {
    match value {
        Value::Array(list) => (0..).zip(list).filter(|(_, v)| !v.is_null()).map(|(i, _)| i).collect(),
        Value::Object(map) => {
            map.iter().filter(|(_, v)| !v.is_null()).filter_map(|(k, _)| number(k.as_bytes())).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether PHP's `if` takes the value for true.
pub(crate) fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !matches!(s.as_str(), "" | "0"),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// The connection that PHP finds by this value.
fn connection_id(value: &Value) -> Option<u32> {
    number(&key(value)?)
}

/// The connection ids among the values of a list or an object.
pub(crate) fn connection_ids(value: &Value) -> Vec<u32> {
    values(value).into_iter().filter_map(connection_id).collect()
}

/// The uids or groups among the values of a list or an object.
pub(crate) fn names(value: &Value) -> Vec<Bytes> {
    values(value).into_iter().filter_map(key).collect()
}

/// The uids or groups in JSON text; none where it cannot be read.
pub(crate) fn names_or_none(text: &[u8]) -> Vec<Bytes> {
    names(&serde_json::from_slice(text).unwrap_or_default())
}

fn number(key: &[u8]) -> Option<u32> {
    match KeyRef::from(key) {
        KeyRef::Int(id) => id.try_into().ok(),
        KeyRef::String(_) => None,
    }
}

/// The array key that PHP makes of a value, an integer in its decimal form; none of a
/// list or an object, of which the original dies.
pub(crate) fn key(value: &Value) -> Option<Bytes> {
    match value {
        Value::Null => Some(Bytes::new()),
        Value::Bool(b) => Some(Bytes::from_static(if *b { b"1" } else { b"0" })),
        Value::String(s) => Some(Bytes::copy_from_slice(s.as_bytes())),
        Value::Number(n) => {
            let n = n.as_i64().or_else(|| n.as_f64().map(float_to_int))?;
            Some(n.to_string().into())
        }
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A JSON list of uids or groups. JSON holds text only: other bytes are replaced, as they could
/// name no uid and no group.
pub(crate) fn name_list(names: &[Bytes]) -> Value {
    names.iter().map(|name| Value::from(String::from_utf8_lossy(name))).collect()
}

/// `{"3":3}`: PHP reads the keys of some lists and the values of others.
pub(crate) fn id_map(ids: &[u32]) -> Value {
    ids.iter().map(|id| (id.to_string(), Value::from(*id))).collect::<serde_json::Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// Every right side is what `array_keys([$item => …])` shows in PHP 8.2.
    #[test]
    fn an_item_stands_for_the_array_key_that_php_makes_of_it() {
        for (item, expected) in [
            ("true", "1"),
            ("false", "0"),
            ("null", ""),
            ("7", "7"),
            ("-7", "-7"),
            ("-0", "0"),
            ("1.0", "1"),
            ("1.7", "1"),
            ("-1.7", "-1"),
            ("0.9", "0"),
            ("1E3", "1000"),
            ("1e300", "0"),
            ("9.3e18", "-9146744073709551616"),
            ("1e19", "-8446744073709551616"),
            ("-1e19", "8446744073709551616"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "-9223372036854775808"),
            ("18446744073709551616", "0"),
            (r#""08""#, "08"),
            (r#""1.7""#, "1.7"),
            (r#""""#, ""),
        ] {
            assert_eq!(key(&read(item)).unwrap(), expected, "{item}");
        }
        assert_eq!(key(&read("[1]")), None);
        assert_eq!(key(&read("{}")), None);
    }

    #[test]
    fn a_connection_is_found_by_the_values_by_which_php_finds_it() {
        for (item, expected) in [
            ("3", Some(3)),
            (r#""3""#, Some(3)),
            ("3.9", Some(3)),
            ("true", Some(1)),
            (r#""03""#, None),
            (r#""+3""#, None),
            (r#""3.0""#, None),
            ("null", None),
            ("-3", None),
            ("4294967296", None),
        ] {
            assert_eq!(connection_id(&read(item)), expected, "{item}");
        }
        assert_eq!(set_keys(&read(r#"{"3":3,"04":4,"+5":5,"6":null,"7":false}"#)), [3, 7]);
        assert_eq!(set_keys(&read("[9,null,9]")), [0, 2]);
    }
}
