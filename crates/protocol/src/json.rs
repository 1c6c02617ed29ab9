//! Lists in JSON, read as PHP reads them.
//!
//! The original's peers write lists with `json_encode` and read them with
//! `json_decode(…, true)`: a list with holes arrives as an object, a number may
//! stand where a string is meant and the other way round.

use bytes::Bytes;
use serde_json::Value;

/// The values of a list or an object, in order; nothing of anything else.
pub(crate) fn values(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// The keys whose value is not null, of a list (whose keys are positions) or an
/// object: what PHP's `isset($list[$id])` answers true for.
pub(crate) fn set_keys(value: &Value) -> Vec<u32> {
    match value {
        Value::Array(list) => (0..).zip(list).filter(|(_, v)| !v.is_null()).map(|(i, _)| i).collect(),
        Value::Object(map) => {
            map.iter().filter(|(_, v)| !v.is_null()).filter_map(|(k, _)| k.parse().ok()).collect()
        }
        _ => Vec::new(),
    }
}

/// A connection id, written as a number or as its decimal form.
pub(crate) fn connection_id(value: &Value) -> Option<u32> {
    match value {
        Value::Number(n) => n.as_u64().and_then(|n| n.try_into().ok()),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

/// A string, or a number's decimal form, as PHP would use it for an array key.
pub(crate) fn string(value: &Value) -> Option<Bytes> {
    match value {
        Value::String(s) => Some(Bytes::copy_from_slice(s.as_bytes())),
        Value::Number(n) if n.is_f64() => n.as_f64().map(|f| (f as i64).to_string().into()),
        Value::Number(n) => Some(n.to_string().into()),
        _ => None,
    }
}

/// `{"3":3}`: PHP reads the keys of some lists and the values of others.
pub(crate) fn id_map(ids: &[u32]) -> Value {
    ids.iter().map(|id| (id.to_string(), Value::from(*id))).collect::<serde_json::Map<_, _>>().into()
}
