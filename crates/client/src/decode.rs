//! Reading what gateways answer: PHP values of a known shape, from a peer that is
//! believed but may be of another version. What has not the shape is no answer.

use bytes::Bytes;
use gatewayworker_protocol::php::{self, Array, Key, Value};
use gatewayworker_protocol::{GroupId, Uid};

/// A whole number; PHP may say it as text.
pub(crate) fn number(answer: &[u8]) -> Option<u64> {
    unsigned(&php::unserialize(answer).ok()?)
}

/// An array; PHP says null where there is nothing to list.
pub(crate) fn array(answer: &[u8]) -> Option<Array> {
    match php::unserialize(answer).ok()? {
        Value::Array(array) => Some(array),
        Value::Null | Value::Bool(false) => Some(Array::new()),
        _ => None,
    }
}

/// A list of connection ids.
pub(crate) fn connections(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.values().map(|id| unsigned(id)?.try_into().ok()).collect()
}

/// A connection id that an answer's rows stand under.
pub(crate) fn connection(key: &Key) -> Option<u32> {
    match key {
        Key::Int(id) => (*id).try_into().ok(),
        Key::String(_) => None,
    }
}

/// A column of a row.
pub(crate) fn column<'a>(row: &'a Value, name: &str) -> Option<&'a Value> {
    row.as_array()?.get(name)
}

/// A uid, if there is one: null says there is none.
pub(crate) fn uid(value: &Value) -> Option<Uid> {
    Uid::new(text(value)?).ok()
}

/// The groups in a column, which is null for a client that never was in one.
pub(crate) fn groups(value: &Value) -> Vec<GroupId> {
    let groups = value.as_array().into_iter().flat_map(Array::values);
    groups.filter_map(group).collect()
}

/// One group; an answer made of array keys holds group "7" as the number 7.
pub(crate) fn group(value: &Value) -> Option<GroupId> {
    GroupId::new(text(value)?).ok()
}

/// A number that is not negative.
pub(crate) fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Int(n) => (*n).try_into().ok(),
        Value::String(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        Value::Bool(b) => Some((*b).into()),
        _ => None,
    }
}

/// A string, which PHP may have made a number of.
pub(crate) fn text(value: &Value) -> Option<Bytes> {
    match value {
        Value::String(bytes) => Some(bytes.clone()),
        Value::Int(n) => Some(n.to_string().into()),
        _ => None,
    }
}
