//! Reading the answers of gateways: PHP values of a known shape.
//!
//! `questions.rs` and `select.rs` read each gateway's answer with these functions. A gateway
//! is trusted, but may be of another version: a function returns `None` where a value has
//! another shape than it expects, and the gateway then counts as one that did not answer.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Array, Key, Value};
use gatewayworker_protocol::{GroupId, Uid};

/// Reads a whole number. PHP may send it as text.
pub(crate) fn number(answer: &[u8]) -> Option<u64> {
    unsigned(&php::unserialize(answer).ok()?)
}

/// Reads an array. PHP sends null or false where there is nothing to list.
pub(crate) fn array(answer: &[u8]) -> Option<Array> {
    match php::unserialize(answer).ok()? {
        Value::Array(array) => Some(array),
        Value::Null | Value::Bool(false) => Some(Array::new()),
        _ => None,
    }
}

/// Reads a list of connection ids.
pub(crate) fn connections(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.values().map(|id| unsigned(id)?.try_into().ok()).collect()
}

/// Reads the connection id that is the key of a row.
pub(crate) fn connection(key: &Key) -> Option<u32> {
    match key {
        Key::Int(id) => (*id).try_into().ok(),
        Key::String(_) => None,
    }
}

/// Returns a column of a row.
pub(crate) fn column<'a>(row: &'a Value, name: &str) -> Option<&'a Value> {
    row.as_array()?.get(name)
}

/// Reads a uid. Null means that the client has none.
pub(crate) fn uid(value: &Value) -> Option<Uid> {
    Uid::new(text(value)?).ok()
}

/// Reads the groups in a column, which is null for a client that never was in a group.
pub(crate) fn groups(value: &Value) -> Vec<GroupId> {
    let groups = value.as_array().into_iter().flat_map(Array::values);
    groups.filter_map(group).collect()
}

/// Reads one group. An answer made of array keys has group "7" as the number 7.
pub(crate) fn group(value: &Value) -> Option<GroupId> {
    GroupId::new(text(value)?).ok()
}

/// Reads a number that is not negative.
pub(crate) fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Int(n) => (*n).try_into().ok(),
        Value::String(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        Value::Bool(b) => Some((*b).into()),
        _ => None,
    }
}

/// Reads a string, which PHP may have turned into a number.
pub(crate) fn text(value: &Value) -> Option<Bytes> {
    match value {
        Value::String(bytes) => Some(bytes.clone()),
        Value::Int(n) => Some(n.to_string().into()),
        _ => None,
    }
}
