//! Rust values as PHP values: structs, enums and maps through serde.

use std::collections::{BTreeMap, HashMap};

use gatewayworker_protocol::php::{Array, Key, Value, from_value, to_value};
use serde::{Deserialize, Serialize};

use super::php_values::{array, list};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Session {
    name: String,
    age: u8,
    ratio: f64,
    nick: Option<String>,
    initial: char,
    at: (i32, bool),
    rooms: Vec<String>,
    seen: BTreeMap<i64, String>,
    tags: BTreeMap<String, u32>,
    mood: Mood,
    moods: BTreeMap<Mood, Mood>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Mood {
    Calm,
    Level(i64),
    Between(i64, i64),
    Because { of: String },
}

fn session() -> Session {
    Session {
        name: "Ann".into(),
        age: 33,
        ratio: 0.5,
        nick: None,
        initial: '你',
        at: (-1, true),
        rooms: vec!["a".into()],
        seen: [(7, "x".into()), (-1, "y".into())].into(),
        tags: [("7".into(), 1), ("k".into(), 2)].into(),
        mood: Mood::Because { of: "rain".into() },
        moods: [(Mood::Calm, Mood::Level(3))].into(),
    }
}

#[test]
fn structs_become_the_arrays_php_would_use() {
    let value = to_value(&session()).unwrap();
    let expected = array! {
        "name" => "Ann",
        "age" => 33,
        "ratio" => 0.5,
        "nick" => (),
        "initial" => "你",
        "at" => array! { 0 => -1, 1 => true },
        "rooms" => list(["a"]),
        "seen" => array! { -1 => "y", 7 => "x" },
        "tags" => array! { 7 => 1, "k" => 2 },
        "mood" => array! { "Because" => array! { "of" => "rain" } },
        "moods" => array! { "Calm" => array! { "Level" => 3 } },
    };
    assert_eq!(value, expected);
    assert_eq!(from_value::<Session>(value).unwrap(), session());
}

#[test]
fn every_kind_of_variant_is_read_back() {
    for mood in [Mood::Calm, Mood::Level(-1), Mood::Between(1, 2), Mood::Because { of: "x".into() }] {
        assert_eq!(from_value::<Mood>(to_value(&mood).unwrap()).unwrap(), mood);
    }
    assert_eq!(to_value(&Mood::Calm).unwrap(), "Calm".into());
    assert_eq!(to_value(&Mood::Between(1, 2)).unwrap(), array! { "Between" => list([1, 2]) });
    assert!(from_value::<Mood>("Wild".into()).is_err());
    assert!(from_value::<Mood>("Level".into()).is_err());
}

#[test]
fn an_empty_array_is_an_empty_sequence_map_and_struct() {
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Settings {
        theme: String,
    }
    assert!(from_value::<Vec<i64>>(array! {}).unwrap().is_empty());
    assert_eq!(from_value::<HashMap<String, i64>>(array! {}).unwrap(), HashMap::new());
    assert_eq!(from_value::<Settings>(array! {}).unwrap(), Settings::default());
}

#[test]
fn any_array_is_a_map_but_only_a_list_is_a_sequence() {
    let strings = [("0".to_owned(), 1), ("1".to_owned(), 2)].into();
    assert_eq!(from_value::<BTreeMap<String, i64>>(list([1, 2])).unwrap(), strings);
    assert_eq!(from_value::<BTreeMap<u16, i64>>(list([1, 2])).unwrap(), [(0, 1), (1, 2)].into());
    assert!(from_value::<BTreeMap<u16, i64>>(array! { "a" => 1 }).is_err());
    assert!(from_value::<Vec<i64>>(array! { 1 => 1 }).is_err());
    assert!(from_value::<(i64, i64)>(list([1, 2, 3])).is_err());
    assert!(from_value::<(i64, i64)>(list([1])).is_err());
}

#[test]
fn numbers_keep_their_kind_except_an_integer_read_as_a_float() {
    assert_eq!(from_value::<f64>(Value::Int(3)).unwrap(), 3.0);
    assert!(from_value::<i64>(Value::Float(3.0)).is_err());
    assert!(from_value::<u8>(Value::Int(256)).is_err());
    assert!(from_value::<u8>(Value::Int(-1)).is_err());
    assert!(to_value(&u64::MAX).is_err());
    assert!(to_value(&i128::MIN).is_err());
    assert!(to_value(&HashMap::from([(u64::MAX, 1)])).is_err());
    assert!(to_value(&HashMap::from([(true, 1)])).is_err());
}

#[test]
fn strings_are_text_if_they_can_be_and_bytes_otherwise() {
    let binary: Value = b"\xff".as_slice().into();
    assert!(from_value::<String>(binary.clone()).is_err());
    assert_eq!(from_value::<Value>(binary.clone()).unwrap(), binary);
    assert_eq!(to_value(&binary).unwrap(), binary);
    assert_eq!(from_value::<std::ffi::CString>("a".into()).unwrap(), c"a".to_owned());
}

#[test]
fn a_value_can_stand_anywhere_in_a_struct() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Loose {
        id: i64,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }
    let value = array! { "id" => 1, "x" => list([1]), "y" => array! { 7 => "z" }, "5" => () };
    let loose: Loose = from_value(value).unwrap();
    assert_eq!(loose.rest["y"], array! { 7 => "z" });
    assert_eq!(from_value::<Loose>(to_value(&loose).unwrap()).unwrap(), loose);
}
