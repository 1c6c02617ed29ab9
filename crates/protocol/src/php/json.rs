//! JSON as PHP makes it of its values, and serde_json's values in and out.

use serde_json::Value as Json;

use super::graph::Graph;
use super::serialize::print;
use super::{Array, Key, Value};

/// What PHP's `json_encode($value, JSON_UNESCAPED_UNICODE)` says of a serialized value: a PHP WebSocket
/// gateway sends one to a client in this form. It knows no classes, so an object has the name of its
/// class as `__PHP_Incomplete_Class_Name`, and its public properties.
///
/// None where PHP answers `false`: bytes that cannot be read, a string that is not UTF-8, an infinite
/// float or one that is no number, arrays more than 512 deep. None as well for the few bytes of
/// references from which PHP makes JSON many times as long.
pub fn json_encode(serialized: &[u8]) -> Option<String> {
    // Without references not even `s:1:"\0";` becomes as much.
    let limit = serialized.len().saturating_mul(16).saturating_add(64 * 1024);
    let mut graph = Graph::default();
    let root = graph.read(serialized).ok()?;
    String::from_utf8(graph.to_json(root, limit)?).ok()
}

impl Value {
    /// A serde_json value: lists become arrays, other arrays objects (an empty one is a list).
    ///
    /// None where something has no JSON: a string or key that is not UTF-8, an infinite float or one
    /// that is no number. The order of an object's keys is as serde_json keeps it.
    pub fn into_json(self) -> Option<Json> {
        Some(match self {
            Value::Null => Json::Null,
            Value::Bool(b) => b.into(),
            Value::Int(n) => n.into(),
            Value::Float(x) => serde_json::Number::from_f64(x)?.into(),
            Value::String(bytes) => String::from_utf8(bytes.into()).ok()?.into(),
            Value::Array(array) if array.is_list() => {
                array.into_iter().map(|(_, value)| value.into_json()).collect::<Option<Vec<_>>>()?.into()
            }
            Value::Array(array) => {
                let pair = |(key, value): (Key, Value)| {
                    Some((String::from_utf8(key.to_bytes().into()).ok()?, value.into_json()?))
                };
                Json::Object(array.into_iter().map(pair).collect::<Option<_>>()?)
            }
        })
    }

    /// What PHP's `json_decode($json, true)` makes of it: objects become arrays, with PHP's keys, and
    /// integers over `i64` become floats.
    pub fn from_json(json: Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(b) => b.into(),
            Json::Number(n) => match n.as_i64() {
                Some(n) => Value::Int(n),
                None => n.as_f64().map_or(Value::Null, Value::Float),
            },
            Json::String(text) => text.into(),
            Json::Array(values) => Array::list(values.into_iter().map(Value::from_json)).into(),
            Json::Object(map) => {
                map.into_iter().map(|(key, json)| (key, Value::from_json(json))).collect::<Array>().into()
            }
        }
    }
}

/// The two line terminators stay escaped with JSON_UNESCAPED_UNICODE: JavaScript once took them for
/// line ends.
pub(super) fn string(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.push(b'"');
    for c in std::str::from_utf8(bytes).ok()?.chars() {
        match c {
            '"' | '\\' | '/' => out.extend_from_slice(&[b'\\', c as u8]),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => print(out, format_args!("\\u{:04x}", c as u32)),
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::serialize;
    use super::*;

    fn to_json(value: &Value) -> Option<String> {
        json_encode(&serialize(value))
    }

    /// Every right side is what PHP 8.2 answered.
    #[test]
    fn json_is_what_php_makes_of_it() {
        let array = |pairs: &[(&str, i64)]| Value::from(Array::from_iter(pairs.iter().copied()));
        for (value, expected) in [
            (Value::Null, "null"),
            (true.into(), "true"),
            (i64::MIN.into(), "-9223372036854775808"),
            (1.0.into(), "1"),
            ((-0.0).into(), "-0"),
            (0.0001.into(), "0.0001"),
            (1e-5.into(), "1.0e-5"),
            (1.5e-10.into(), "1.5e-10"),
            (1e16.into(), "10000000000000000"),
            (1e25.into(), "1.0e+25"),
            ("a/b\"\\\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}".into(), r#""a\/b\"\\\b\f\n\r\t\u0000\u001f""#),
            ("\u{2028}x\u{2029}".into(), r#""\u2028x\u2029""#),
            ("你😀".into(), "\"你😀\""),
            (array(&[]), "[]"),
            (array(&[("0", 1), ("1", 2)]), "[1,2]"),
            (array(&[("1", 1)]), r#"{"1":1}"#),
            (array(&[("1", 1), ("0", 2)]), r#"{"1":1,"0":2}"#),
            (array(&[("", 1), ("\0a", 2), ("-5", 3)]), r#"{"":1,"\u0000a":2,"-5":3}"#),
        ] {
            let json = to_json(&value).map(|json| json.replace('\u{7f}', ""));
            assert_eq!(json.as_deref(), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn what_has_no_json_has_none_wherever_it_stands() {
        let binary = || Value::from(b"\xff".as_slice());
        for value in [
            binary(),
            f64::NAN.into(),
            f64::INFINITY.into(),
            Array::list([binary()]).into(),
            Array::from_iter([(Key::from_bytes(b"\xff"), 1)]).into(),
        ] {
            assert_eq!(to_json(&value), None, "{value:?}");
            assert_eq!(value.clone().into_json(), None, "{value:?}");
        }
    }

    #[test]
    fn arrays_go_as_deep_as_php_lets_them() {
        let nested =
            |depth| (1..depth).fold(Value::from(Array::new()), |inner, _| Array::list([inner]).into());
        assert!(to_json(&nested(512)).is_some());
        assert_eq!(to_json(&nested(513)), None);
    }

    #[test]
    fn json_objects_become_arrays_with_phps_keys() {
        let json: Json =
            serde_json::from_str(r#"{"7":[1,2.5,null],"k":{},"big":18446744073709551615}"#).unwrap();
        let value = Value::from_json(json);
        let array = value.as_array().unwrap();
        assert_eq!(array.get(7), Some(&Array::list([1.into(), 2.5.into(), Value::Null]).into()));
        assert_eq!(array.get("k"), Some(&Array::new().into()));
        assert_eq!(array.get("big"), Some(&18446744073709551615.0.into()));
    }

    #[test]
    fn json_survives_a_visit_to_php() {
        let json: Json =
            serde_json::from_str(r#"{"a":[1,-2.5,"x",true,null],"o":{"7":"y","k":[]}}"#).unwrap();
        assert_eq!(Value::from_json(json.clone()).into_json(), Some(json));
    }
}
