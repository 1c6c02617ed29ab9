//! PHP values against PHP: the bytes in `vectors/php_serialize.json` were written by PHP 8.2.

use bytes::Bytes;
use gatewayworker_protocol::php::{
    Array, Error, Key, MAX_DEPTH, Value, array_replace_recursive, from_value, json_encode, merge_sessions,
    serialize, to_value, unserialize,
};
use proptest::prelude::*;
use serde::Deserialize;

const LIMIT: usize = 1 << 20;

#[derive(Deserialize)]
struct Vectors {
    values: Vec<SerializedValue>,
    array_replace_recursive: Vec<Merge>,
    bad_input: Vec<BadInput>,
}

#[derive(Deserialize)]
struct SerializedValue {
    name: String,
    serialized_hex: String,
}

#[derive(Deserialize)]
struct Merge {
    session: String,
    update: String,
    merged: String,
}

#[derive(Deserialize)]
struct BadInput {
    input: String,
    php_unserialize: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/php_serialize.json")).unwrap()
}

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

macro_rules! array {
    ($($key:expr => $value:expr),* $(,)?) => {
        Value::Array(Array::from_iter::<Vec<(Key, Value)>>(vec![$((Key::from($key), Value::from($value))),*]))
    };
}
pub(crate) use array;

pub(crate) fn list<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Value {
    Array::list(values).into()
}

/// The values behind the vectors' names.
fn named(name: &str) -> Value {
    match name {
        "null" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        "zero" => 0.into(),
        "int" => 42.into(),
        "negative int" => (-7).into(),
        "int max" => i64::MAX.into(),
        "int min" => i64::MIN.into(),
        "float inf" => f64::INFINITY.into(),
        "float -inf" => f64::NEG_INFINITY.into(),
        "float nan" => f64::NAN.into(),
        float if float.starts_with("float ") => float["float ".len()..].parse::<f64>().unwrap().into(),
        "empty string" => "".into(),
        "ascii" => "hello".into(),
        "utf-8" => "你好".into(),
        "binary" => b"\x00\xff\xfe".as_slice().into(),
        "quotes" => "a\"b;s:1:\"x\";".into(),
        "empty array" => array! {},
        "list" => list([1, 2, 3]),
        "map" => array! { "a" => 1, "b" => "two" },
        "numeric string keys become ints" => {
            array! { "1" => "a", "01" => "b", "-5" => "c", "9223372036854775808" => "d" }
        }
        "sparse" => array! { 5 => "x", 2 => "y" },
        "mixed" => array! { 0 => "a", "k" => "v", 10 => "t", 11 => "u" },
        "nested" => array! {
            "user" => array! {
                "name" => "n",
                "tags" => list(["x", "y"]),
                "geo" => array! { "lat" => 1.25, "lng" => -3.5 },
            },
            "n" => (),
            "t" => true,
        },
        other => panic!("a new vector, {other}: say here what it is"),
    }
}

#[test]
fn every_value_is_written_as_php_writes_it_and_read_back() {
    for vector in vectors().values {
        let (value, bytes) = (named(&vector.name), unhex(&vector.serialized_hex));
        assert_eq!(
            serialize(&value).escape_ascii().to_string(),
            bytes.escape_ascii().to_string(),
            "{}",
            vector.name
        );
        let read = unserialize(&bytes).unwrap();
        match value {
            Value::Float(x) if x.is_nan() => assert!(matches!(read, Value::Float(y) if y.is_nan())),
            Value::Float(x) => assert!(matches!(read, Value::Float(y) if y.to_bits() == x.to_bits())),
            value => assert_eq!(read, value, "{}", vector.name),
        }
    }
}

/// It takes serde_json's `float_roundtrip`. (Built together with what depends on jsonschema, which asks for
/// that too, this cannot fail: `cargo test -p gatewayworker-protocol` can.)
#[test]
fn a_number_in_json_is_the_nearest_float_and_is_written_with_the_same_digits() {
    for (json, php) in [
        ("117.63331139400017", "d:117.63331139400017;"),
        ("0.30000000000000004", "d:0.30000000000000004;"),
        ("1e22", "d:1.0E+22;"),
        ("5e-324", "d:5.0E-324;"),
        ("2.2250738585072014e-308", "d:2.2250738585072014E-308;"),
        ("1.7976931348623157e308", "d:1.7976931348623157E+308;"),
        ("-0.0", "d:-0;"),
        ("9007199254740993.0", "d:9007199254740992;"),
        ("18446744073709551616", "d:1.8446744073709552E+19;"),
        ("-9223372036854775809", "d:-9.223372036854776E+18;"),
    ] {
        let value = Value::from_json(serde_json::from_str(json).unwrap());
        assert_eq!(String::from_utf8(serialize(&value)).unwrap(), php, "{json}");
        assert_eq!(serialize(&unserialize(php.as_bytes()).unwrap()), php.as_bytes());
    }
}

#[test]
fn sessions_are_merged_as_php_merges_them() {
    for Merge { session, update, merged } in vectors().array_replace_recursive {
        let ours = merge_sessions(session.as_bytes(), update.as_bytes(), LIMIT).unwrap();
        assert_eq!(String::from_utf8(ours).unwrap(), merged, "{session} with {update}");
    }
}

#[test]
fn where_no_session_is_stored_the_update_becomes_it_unread() {
    for nothing in [&b""[..], b"0"] {
        assert_eq!(merge_sessions(nothing, b"whatever", LIMIT).unwrap(), b"whatever");
    }
}

#[test]
fn what_is_not_an_array_is_not_merged() {
    assert_eq!(merge_sessions(b"i:1;", b"a:0:{}", LIMIT), Err(Error::NotAnArray("int")));
    assert_eq!(merge_sessions(b"a:0:{}", b"N;", LIMIT), Err(Error::NotAnArray("null")));
    assert_eq!(merge_sessions(b"a:0:{}", b"", LIMIT), Err(Error::Truncated { offset: 0 }));
}

#[test]
fn what_php_rejects_is_rejected_and_so_are_objects() {
    for BadInput { input, php_unserialize } in vectors().bad_input {
        let read = unserialize(input.as_bytes());
        match php_unserialize.as_str() {
            "false (rejected)" => assert!(read.is_err(), "{input}: {read:?}"),
            object if object.contains("__PHP_Incomplete_Class") => {
                assert_eq!(read, Err(Error::Refused { what: "an object", offset: 0 }), "{input}");
            }
            int => assert_eq!(read, Ok(Value::Int(int.parse().unwrap())), "{input}"),
        }
    }
}

#[test]
fn more_than_data_is_refused_by_name() {
    let refused = |input: &str, what| {
        assert_eq!(unserialize(input.as_bytes()), Err(Error::Refused { what, offset: 18 }), "{input}");
    };
    refused("a:2:{i:0;i:1;i:11;R:2;}", "a reference");
    refused("a:2:{i:0;i:1;i:11;r:2;}", "a reference");
    refused("a:2:{i:0;i:1;i:11;O:1:\"A\":0:{}}", "an object");
    refused("a:2:{i:0;i:1;i:11;C:1:\"A\":0:{}}", "an object");
    refused("a:2:{i:0;i:1;i:11;E:3:\"A:B\";}", "an enum");
    refused("a:2:{i:0;i:1;i:11;S:1:\"\\61\";}", "an escaped string");
}

#[test]
fn reading_is_as_lenient_as_php() {
    for (input, value) in [
        ("i:1;trailing", 1.into()),
        ("a:0:{}a:0:{}", array! {}),
        ("i:+5;", 5.into()),
        ("i:-0;", 0.into()),
        ("i:000000000000000000000000000007;", 7.into()),
        ("i:18446744073709551617;", i64::MAX.into()),
        ("i:-9223372036854775809;", i64::MIN.into()),
        ("s:01:\"a\";", "a".into()),
        ("d:1.;", 1.0.into()),
        ("d:.5;", 0.5.into()),
        ("d:+1E+5;", 1e5.into()),
        ("d:-1e999;", f64::NEG_INFINITY.into()),
        ("a:2:{s:1:\"7\";i:1;i:7;i:2;}", array! { 7 => 2 }),
        ("a:3:{s:1:\"a\";i:1;s:1:\"b\";i:2;s:1:\"a\";i:3;}", array! { "a" => 3, "b" => 2 }),
    ] {
        assert_eq!(unserialize(input.as_bytes()), Ok(value), "{input}");
    }
    for input in [
        "s:+1:\"a\";",
        "a:+0:{}",
        "d:.;",
        "d:+INF;",
        "d:-NAN;",
        "d:nan;",
        "d:inf;",
        "d:0x1;",
        "d: 1;",
        "d:1e;",
        "i:-;",
    ] {
        assert!(unserialize(input.as_bytes()).is_err(), "{input}");
    }
}

#[test]
fn a_length_that_the_input_cannot_hold_allocates_nothing() {
    for input in ["a:4294967295:{", "a:99999999999999999999999:{", "a:3:{i:0;N;i:1;N;}"] {
        assert_eq!(unserialize(input.as_bytes()), Err(Error::Truncated { offset: 1 }), "{input}");
    }
    for input in ["s:99999999999:\"x\";", "s:18446744073709551615:\"x\";", "s:99999999999999999999999:\"x\";"]
    {
        assert_eq!(unserialize(input.as_bytes()), Err(Error::Truncated { offset: 1 }), "{input}");
    }
}

#[test]
fn nested_arrays_cannot_claim_the_same_bytes_twice() {
    // Either array would find its elements in what follows, but not both.
    let input = "a:3:{i:0;a:3:{i:0;N;i:1;N;i:2;N;";
    assert_eq!(unserialize(input.as_bytes()), Err(Error::Truncated { offset: 10 }));
}

fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = "a:1:{i:0;".repeat(depth - 1).into_bytes();
    bytes.extend_from_slice(b"a:0:{}");
    bytes.resize(bytes.len() + depth - 1, b'}');
    bytes
}

#[test]
fn arrays_may_be_nested_so_deep_and_no_deeper() {
    let deepest = unserialize(&nested(MAX_DEPTH)).unwrap();
    assert_eq!(serialize(&deepest), nested(MAX_DEPTH));
    assert_eq!(deepest.clone(), deepest);
    assert!(json_encode(&nested(MAX_DEPTH)).is_some());
    assert!(merge_sessions(&nested(MAX_DEPTH), &nested(MAX_DEPTH), LIMIT).is_ok());
    assert_eq!(from_value::<Value>(to_value(&deepest).unwrap()).unwrap(), deepest);
    assert!(format!("{deepest:?}").starts_with("[[["));

    for depth in [MAX_DEPTH + 1, 5000, 100_000] {
        let offset = 9 * MAX_DEPTH;
        assert_eq!(unserialize(&nested(depth)), Err(Error::TooDeep { limit: MAX_DEPTH, offset }));
    }
}

#[test]
fn keys_that_look_like_integers_are_integers() {
    for (text, n) in [
        ("0", 0),
        ("7", 7),
        ("-5", -5),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
    ] {
        assert_eq!(Key::from(text), Key::Int(n));
        assert_eq!(Key::Int(n).to_bytes(), text);
    }
    for text in ["", "07", "-0", "+1", "-", "1.0", "1 ", "９", "9223372036854775808", "-9223372036854775809"]
    {
        assert_eq!(Key::from(text), Key::String(Bytes::from(text)));
        assert_eq!(Key::from(text).to_bytes(), text);
    }
}

#[test]
fn arrays_keep_the_order_in_which_keys_came() {
    let mut array = Array::from_iter([("b", 1), ("a", 2), ("c", 3)]);
    assert_eq!(array.insert("b", 4), Some(1.into()));
    assert_eq!(Value::from(array.clone()), array! { "b" => 4, "a" => 2, "c" => 3 });
    assert_ne!(Value::from(array.clone()), array! { "a" => 2, "b" => 4, "c" => 3 });
    assert_eq!(array.remove("b"), Some(4.into()));
    assert_eq!(array.remove("b"), None);
    assert_eq!(array.keys().cloned().collect::<Vec<_>>(), ["a".into(), "c".into()]);
    assert_eq!(array.get("a"), Some(&2.into()));
    assert!(!array.contains_key(7));
}

#[test]
fn push_goes_on_from_the_greatest_integer_there_was() {
    let mut array = Array::new();
    assert!(array.push("a"));
    array.insert(7, "b");
    array.remove(7);
    array.insert("k", "c");
    assert!(array.push("d"));
    assert_eq!(Value::from(array.clone()), array! { 0 => "a", "k" => "c", 8 => "d" });
    array.insert(i64::MAX, "e");
    assert!(!array.push("f"));
    assert_eq!(array.len(), 4);
}

#[test]
fn a_list_has_the_keys_from_0_on_in_order() {
    let is_list = |value: Value| value.as_array().unwrap().is_list();
    assert!(is_list(array! {}));
    assert!(is_list(array! { 0 => "a", "1" => "b" }));
    assert!(!is_list(array! { 1 => "a" }));
    assert!(!is_list(array! { 1 => "b", 0 => "a" }));
    assert!(!is_list(array! { "a" => 1 }));
}

#[test]
fn debug_shows_strings_readably() {
    let value = array! { "name" => "你\n", 3 => b"\xff!".as_slice(), "list" => list([1]) };
    assert_eq!(format!("{value:?}"), r#"{"name": "你\n", 3: b"\xff!", "list": [1]}"#);
}

fn string() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<String>().prop_map(Into::into),
        any::<Vec<u8>>(),
        any::<i64>().prop_map(|n| n.to_string().into())
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        string().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        let key =
            prop_oneof![any::<i64>().prop_map(Key::Int), string().prop_map(|bytes| Key::from_bytes(&bytes))];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(list),
            prop::collection::vec((key, inner), 0..8).prop_map(|pairs| Array::from_iter(pairs).into()),
        ]
    })
}

proptest! {
    #[test]
    fn every_float_is_the_same_after_json_and_after_php(bits in any::<u64>()) {
        let x = f64::from_bits(bits);
        let php = unserialize(&serialize(&x.into())).unwrap();
        let Value::Float(read) = php else { panic!("{php:?}") };
        prop_assert!(read.to_bits() == bits || (read.is_nan() && x.is_nan()));
        if x.is_finite() {
            let json = serde_json::from_str(&Value::from(x).into_json().unwrap().to_string()).unwrap();
            prop_assert_eq!(Value::from_json(json), Value::Float(x));
        }
    }

    #[test]
    fn what_was_written_is_read_back(value in value()) {
        prop_assert_eq!(unserialize(&serialize(&value)), Ok(value));
    }

    #[test]
    fn a_value_cut_short_is_truncated_wherever_the_cut(value in value()) {
        let bytes = serialize(&value);
        for end in 0..bytes.len() {
            let cut = unserialize(&bytes[..end]);
            prop_assert!(matches!(cut, Err(Error::Truncated { .. })), "{:?}", cut);
        }
    }

    #[test]
    fn what_is_read_from_spoilt_bytes_is_a_proper_value(
        value in value(),
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = serialize(&value);
        for (at, byte) in spoil {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = unserialize(&bytes) {
            let written = serialize(&read);
            prop_assert_eq!(serialize(&unserialize(&written).unwrap()), written);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>(), text in "[aNbisd:;{}\"0-9.eE+-]{0,60}") {
        let _ = unserialize(&bytes);
        let _ = unserialize(text.as_bytes());
    }

    #[test]
    fn merging_puts_the_update_over_the_session(base in value(), with in value()) {
        let (Some(base), Some(with)) = (base.into_array(), with.into_array()) else { return Ok(()) };
        let merged = array_replace_recursive(base.clone(), with.clone());
        prop_assert!(merged.keys().take(base.len()).eq(base.keys()));
        for (key, value) in &with {
            let is_array = |v: &Value| v.as_array().is_some();
            let both_arrays = is_array(value) && base.get(key).is_some_and(is_array);
            prop_assert!(both_arrays || merged.get(key) == Some(value));
        }
        prop_assert_eq!(array_replace_recursive(merged.clone(), with), merged);
    }

    #[test]
    fn values_pass_through_serde_unchanged(value in value()) {
        prop_assert_eq!(&to_value(&value).unwrap(), &value);
        prop_assert_eq!(&from_value::<Value>(value.clone()).unwrap(), &value);
    }

    #[test]
    fn rust_types_pass_through_php(
        numbers in prop::collection::btree_map(any::<i64>(), any::<Option<f64>>(), 0..5),
        words in prop::collection::btree_map(any::<String>(), any::<(bool, u32, char)>(), 0..5),
        lists in any::<Vec<Vec<i16>>>(),
    ) {
        let before = (numbers, words, lists);
        let value = unserialize(&serialize(&to_value(&before).unwrap())).unwrap();
        let after = from_value(value).unwrap();
        prop_assert_eq!(before, after);
    }
}
