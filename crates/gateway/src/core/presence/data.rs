//! What others see of a uid in a room: some values of its client's session, as a JSON object.

use std::sync::Arc;

use gatewayworker_protocol::php::{self, Value};
use serde_json::Map;

/// The most bytes of the object. More is left out altogether: half of a JSON object is none.
pub const MAX_DATA_BYTES: usize = 1024;

/// Returns the values that a stored session has under these keys. `{}` where it has none, cannot be read, or they are too
/// long.
pub fn data_of(session: &[u8], keys: &[String]) -> Arc<str> {
    read(session, keys).filter(|data| data.len() <= MAX_DATA_BYTES).map_or_else(|| "{}".into(), Into::into)
}

fn read(session: &[u8], keys: &[String]) -> Option<String> {
    if keys.is_empty() || session.is_empty() {
        return None;
    }
    let Ok(Value::Array(session)) = php::unserialize(session) else { return None };
    let value = |key: &String| Some((key.clone(), session.get(key.as_bytes())?.clone().into_json()?));
    let data: Map<_, _> = keys.iter().filter_map(value).collect();
    serde_json::to_string(&data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_the_named_values_of_the_session_and_no_others() {
        let session = br#"a:3:{s:4:"name";s:3:"Ann";s:6:"secret";s:1:"x";s:5:"level";i:7;}"#;
        let keys = ["level".into(), "name".into(), "missing".into()];
        let data: serde_json::Value = serde_json::from_str(&data_of(session, &keys)).unwrap();
        assert_eq!(data, serde_json::json!({"name": "Ann", "level": 7}));
    }

    #[test]
    fn data_is_empty_where_the_session_has_nothing_of_it_or_too_much() {
        let keys = ["name".to_owned()];
        let long = php::serialize(&php::Array::from_iter([("name", "x".repeat(2_000))]).into());
        for session in [&b""[..], b"N;", b"garbage", br#"a:1:{s:1:"a";i:1;}"#, &long] {
            assert_eq!(&*data_of(session, &keys), "{}");
        }
    }
}
