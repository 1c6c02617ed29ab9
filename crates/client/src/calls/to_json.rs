//! Writing answers as JSON, for the calls in `ask`.
//!
//! A uid or group that is not UTF-8 gets replacement characters. A session that JSON has no
//! form for is null.

use std::fmt::Display;
use std::time::UNIX_EPOCH;

use gatewayworker_protocol::php::{self, Array};
use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::{ClientId, Column, Row, SessionData, SessionError};

pub(super) fn text(name: impl Display) -> Value {
    name.to_string().into()
}

pub(super) fn list<T: Display>(names: Vec<T>) -> Value {
    names.into_iter().map(text).collect()
}

/// An object with the JSON that `form` makes of each value.
pub(super) fn object<K: Display, T>(map: IndexMap<K, T>, form: impl Fn(T) -> Value) -> Value {
    Value::Object(map.into_iter().map(|(name, value)| (name.to_string(), form(value))).collect())
}

pub(super) fn lists<K: Display, T: Display>(map: IndexMap<K, Vec<T>>) -> Value {
    object(map, list)
}

/// A session as an object, even where PHP has a list; `None` if it has no JSON form.
pub(super) fn session(session: SessionData) -> Option<Value> {
    let value = |(key, value): (php::Key, php::Value)| {
        Some((String::from_utf8(key.to_bytes().into()).ok()?, value.into_json()?))
    };
    Some(Value::Object(Array::into_iter(session.into_array()).map(value).collect::<Option<Map<_, _>>>()?))
}

pub(super) fn session_or_null(read: Result<SessionData, SessionError>) -> Value {
    read.ok().and_then(session).unwrap_or(Value::Null)
}

/// An object of the columns that were asked for, for each client.
pub(super) fn rows(rows: IndexMap<ClientId, Row>, columns: &[Column]) -> Value {
    object(rows, |row| {
        let column = |column: &Column| match column {
            Column::Uid => ("uid".into(), row.uid.as_ref().map_or(Value::Null, text)),
            Column::Groups => ("groups".into(), list(row.groups.clone())),
            Column::Session => ("session".into(), session_or_null(row.session())),
            Column::DetachedSince => {
                let since = row.detached_since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
                ("detached_since".into(), since.map(|since| since.as_secs()).into())
            }
        };
        Value::Object(columns.iter().map(column).collect())
    })
}
