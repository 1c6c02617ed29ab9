//! What passes through without being looked into: objects, enums and references, in sessions that are
//! merged and in messages. `vectors/php_merges.jsonl` was written by PHP 8.2, with
//! `tests/interop/php/merge.php`.

use std::collections::HashMap;

use gatewayworker_protocol::php::{
    Array, Error, Key, Value, array_replace_recursive, json_encode, merge_sessions, serialize, unserialize,
};
use proptest::prelude::*;
use serde::Deserialize;

const LIMIT: usize = 1 << 20;

/// All three in hex.
#[derive(Deserialize)]
struct Merge {
    session: String,
    update: String,
    merged: String,
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// A string in which `\0` is a zero byte.
fn merged(session: &str, update: &str) -> Result<String, Error> {
    merge_sessions(session.as_bytes(), update.as_bytes(), LIMIT)
        .map(|merged| String::from_utf8(merged).unwrap())
}

#[test]
fn sessions_with_objects_and_references_are_merged_as_php_merges_them() {
    for line in include_str!("../vectors/php_merges.jsonl").lines() {
        let Merge { session, update, merged } = serde_json::from_str(line).unwrap();
        let [session, update, merged] = [session, update, merged].map(|hex| unhex(&hex));
        let ours = merge_sessions(&session, &update, LIMIT).unwrap();
        assert_eq!(
            ours.escape_ascii().to_string(),
            merged.escape_ascii().to_string(),
            "{} with {}",
            session.escape_ascii(),
            update.escape_ascii()
        );
    }
}

/// Every right side but for those of `C:` and `E:` is what PHP 8.2 answered.
#[test]
fn what_an_object_holds_passes_as_it_is() {
    for (session, update, expected) in [
        // An object under a new key, and in the place of another.
        (
            r#"a:1:{s:1:"n";i:1;}"#,
            r#"a:2:{s:4:"name";s:1:"x";s:4:"user";O:8:"stdClass":1:{s:2:"id";i:7;}}"#,
            r#"a:3:{s:1:"n";i:1;s:4:"name";s:1:"x";s:4:"user";O:8:"stdClass":1:{s:2:"id";i:7;}}"#,
        ),
        (
            r#"a:1:{i:0;O:8:"stdClass":1:{s:1:"7";i:7;}}"#,
            r#"a:1:{i:0;O:5:"My\Cl":2:{s:1:"8";d:0.1;s:1:"a";a:1:{i:0;i:1;}}}"#,
            r#"a:1:{i:0;O:5:"My\Cl":2:{s:1:"8";d:0.1;s:1:"a";a:1:{i:0;i:1;}}}"#,
        ),
        // An array does not go into an object, nor the other way round.
        (
            r#"a:1:{i:0;O:8:"stdClass":1:{s:1:"a";i:7;}}"#,
            r#"a:1:{i:0;a:1:{s:1:"b";i:8;}}"#,
            r#"a:1:{i:0;a:1:{s:1:"b";i:8;}}"#,
        ),
        // The same object twice, behind values that have come before it.
        (
            r#"a:2:{i:0;O:8:"stdClass":0:{}i:1;r:2;}"#,
            r#"a:3:{i:2;i:5;i:3;O:8:"stdClass":1:{s:1:"a";r:3;}i:4;r:3;}"#,
            r#"a:5:{i:0;O:8:"stdClass":0:{}i:1;r:2;i:2;i:5;i:3;O:8:"stdClass":1:{s:1:"a";r:5;}i:4;r:5;}"#,
        ),
        // One variable under several keys: those that are left still share it.
        (
            r#"a:3:{s:1:"a";i:1;s:1:"b";R:2;s:1:"c";R:2;}"#,
            r#"a:2:{s:1:"a";i:9;s:1:"d";i:3;}"#,
            r#"a:4:{s:1:"a";i:9;s:1:"b";i:1;s:1:"c";R:3;s:1:"d";i:3;}"#,
        ),
        // What is merged into is no longer shared.
        (
            r#"a:2:{s:1:"a";O:8:"stdClass":1:{s:1:"x";a:1:{i:0;i:5;}}s:1:"b";R:3;}"#,
            r#"a:1:{s:1:"b";a:1:{i:1;i:6;}}"#,
            r#"a:2:{s:1:"a";O:8:"stdClass":1:{s:1:"x";a:1:{i:0;i:5;}}s:1:"b";a:2:{i:0;i:5;i:1;i:6;}}"#,
        ),
        // Of the variables that shared an object one is left, which is not the one that holds it too.
        (
            r#"a:3:{s:1:"x";a:1:{i:0;O:8:"stdClass":0:{}}s:1:"a";r:3;s:1:"c";R:3;}"#,
            r#"a:1:{s:1:"x";i:-1;}"#,
            r#"a:3:{s:1:"x";i:-1;s:1:"a";O:8:"stdClass":0:{}s:1:"c";r:3;}"#,
        ),
        // The same in an array that is copied with what holds it: the copies share nothing.
        (
            r#"a:3:{i:0;a:1:{i:0;i:1;}i:1;a:1:{i:0;a:1:{i:0;R:2;}}i:2;R:4;}"#,
            r#"a:2:{i:0;a:1:{i:1;i:2;}i:2;a:1:{i:1;i:3;}}"#,
            r#"a:3:{i:0;a:2:{i:0;i:1;i:1;i:2;}i:1;a:1:{i:0;a:1:{i:0;a:1:{i:0;i:1;}}}i:2;a:2:{i:0;a:1:{i:0;a:1:{i:0;i:1;}}i:1;i:3;}}"#,
        ),
        // A variable that holds itself.
        (r#"a:1:{i:0;a:1:{i:0;R:2;}}"#, r#"a:1:{s:1:"x";i:1;}"#, r#"a:2:{i:0;a:1:{i:0;R:2;}s:1:"x";i:1;}"#),
        // Only a class and an enum that are there can be read by PHP, so the original loses these.
        (
            r#"a:1:{i:0;C:3:"Foo":5:{R:9;}}}"#,
            r#"a:3:{i:1;E:6:"Suit:H";i:2;r:2;i:3;C:3:"Bar":0:{}}"#,
            r#"a:4:{i:0;C:3:"Foo":5:{R:9;}}i:1;E:6:"Suit:H";i:2;r:3;i:3;C:3:"Bar":0:{}}"#,
        ),
    ] {
        assert_eq!(merged(session, update).unwrap(), expected, "{session} with {update}");
    }
}

#[test]
fn what_php_cannot_read_is_not_merged() {
    for bad in [
        "a:1:{i:0;R:3;}",
        "a:1:{i:0;R:0;}",
        "a:1:{i:0;R:-1;}",
        "a:1:{i:0;R:99999999999999999999;}",
        "a:2:{i:0;i:1;i:1;r:2;}",
        "a:1:{i:0;r:2;}",
        "a:1:{i:0;O:8:\"stdClass\":1:{}}",
        "a:1:{i:0;O:9:\"stdClass\":0:{}}",
        "a:1:{i:0;O:8:\"stdClass\":99999999:{}}",
        "a:1:{i:0;O:8:\"stdClass\":1:{N;N;}}",
        "a:1:{i:0;C:3:\"Foo\":9:{abc}}",
        "a:1:{i:0;E:6:\"Suit:H\"}",
        "a:1:{i:0;S:1:\"\\61\";}",
    ] {
        assert!(merged(bad, "a:0:{}").is_err(), "{bad}");
        assert!(merged("a:0:{}", bad).is_err(), "{bad}");
    }
    assert_eq!(merged("O:8:\"stdClass\":0:{}", "a:0:{}"), Err(Error::NotAnArray("object")));
}

/// `a:1:{i:0;a:1:{i:0; … a:0:{} … }}`
fn nested(depth: usize) -> String {
    format!("{}a:0:{{}}{}", "a:1:{i:0;".repeat(depth), "}".repeat(depth))
}

#[test]
fn sessions_may_be_nested_as_deep_as_php_reads_them() {
    let deepest = nested(4096);
    assert_eq!(merged(&deepest, &deepest).unwrap(), deepest);
    assert_eq!(merged(&deepest, "a:0:{}").unwrap(), deepest);
    for depth in [4097, 100_000] {
        let error = Error::TooDeep { limit: 4096, offset: 4096 * 9 };
        assert_eq!(merged(&nested(depth), "a:0:{}"), Err(error));
    }
}

#[test]
fn a_merge_ends_however_references_run() {
    // Where PHP has "Recursion detected".
    let itself = "a:1:{i:0;a:2:{i:0;R:2;i:1;R:2;}}";
    assert!(matches!(merged(itself, itself), Err(Error::TooDeep { .. })));
    // Each array twice in the one before it: 2^24 in all.
    let mut doubled = "a:1:{i:0;i:1;}".to_owned();
    for depth in (2..26).rev() {
        doubled = format!("a:2:{{i:0;{doubled}i:1;R:{};}}", depth + 1);
    }
    assert!(matches!(merged(&doubled, &doubled), Err(Error::TooLong { limit: LIMIT })));
    assert_eq!(merged(&doubled, "a:0:{}").unwrap(), doubled);
    assert_eq!(json_encode(doubled.as_bytes()), None);
}

#[test]
fn a_session_that_would_be_too_long_is_not_made() {
    let update = r#"a:1:{s:1:"b";s:10:"0123456789";}"#;
    let long = merge_sessions(br#"a:1:{s:1:"a";i:1;}"#, update.as_bytes(), 40);
    assert_eq!(long, Err(Error::TooLong { limit: 40 }));
    let long = merge_sessions(br#"a:1:{s:1:"a";i:1;}"#, update.as_bytes(), 45);
    assert_eq!(long.unwrap(), br#"a:2:{s:1:"a";i:1;s:1:"b";s:10:"0123456789";}"#);
}

/// Every right side is what PHP 8.2 answered for `json_encode(unserialize(…, ['allowed_classes' =>
/// false]), JSON_UNESCAPED_UNICODE)`.
#[test]
fn an_object_in_a_message_is_json_as_php_makes_it_without_the_class() {
    for (serialized, expected) in [
        (
            r#"a:2:{i:0;O:8:"stdClass":2:{s:2:"id";i:7;s:1:"7";d:1.5;}i:1;r:2;}"#,
            Some(
                r#"[{"__PHP_Incomplete_Class_Name":"stdClass","id":7,"7":1.5},{"__PHP_Incomplete_Class_Name":"stdClass","id":7,"7":1.5}]"#,
            ),
        ),
        (
            "O:3:\"Foo\":3:{s:2:\"id\";i:7;s:4:\"\0*\0p\";i:1;s:6:\"\0Foo\0q\";i:1;}",
            Some(r#"{"__PHP_Incomplete_Class_Name":"Foo","id":7}"#),
        ),
        (r#"C:3:"Foo":3:{abc}"#, Some(r#"{"__PHP_Incomplete_Class_Name":"Foo"}"#)),
        ("a:2:{i:0;a:1:{i:0;i:1;}i:1;R:2;}", Some("[[1],[1]]")),
        ("a:1:{i:0;a:1:{i:0;R:2;}}", None),
        (r#"a:1:{i:0;E:6:"Foo:Ba";}"#, None),
    ] {
        assert_eq!(json_encode(serialized.as_bytes()).as_deref(), expected, "{serialized}");
    }
}

/// Draws a serialized array with references and objects, and keeps count of the numbers.
#[derive(Debug)]
struct Draw<'a> {
    choices: std::slice::Iter<'a, u8>,
    numbers: usize,
    objects: Vec<usize>,
    out: String,
}

impl Draw<'_> {
    fn choice(&mut self, of: usize) -> usize {
        self.choices.next().map_or(0, |choice| *choice as usize % of)
    }

    fn members(&mut self, depth: usize) {
        let len = if depth == 0 { 0 } else { self.choice(4) };
        self.out += &format!("{len}:{{");
        let first = self.choice(3);
        for n in 0..len {
            self.out += &format!("s:1:\"{}\";", char::from(b'a' + (first + n) as u8));
            self.value(depth - 1);
        }
        self.out += "}";
    }

    fn value(&mut self, depth: usize) {
        match self.choice(6) {
            // Not to the outermost array, which PHP has no variable for.
            0 if self.numbers > 1 => {
                let target = 2 + self.choice(self.numbers - 1);
                self.out += &format!("R:{target};");
                return;
            }
            1 if !self.objects.is_empty() => {
                let nth = self.choice(self.objects.len());
                let target = self.objects[nth];
                self.numbers += 1;
                self.objects.push(self.numbers);
                self.out += &format!("r:{target};");
                return;
            }
            2 => {
                self.numbers += 1;
                self.objects.push(self.numbers);
                self.out += "O:1:\"A\":";
            }
            3 | 4 => {
                self.numbers += 1;
                self.out += "a:";
            }
            _ => {
                self.numbers += 1;
                let n = self.choice(10);
                self.out += &format!("i:{n};");
                return;
            }
        }
        self.members(depth);
    }
}

fn drawn(choices: &[u8]) -> String {
    let mut draw = Draw { choices: choices.iter(), numbers: 1, objects: Vec::new(), out: "a:".into() };
    draw.members(4);
    draw.out
}

/// The value with a copy wherever it refers to another, an object as a string of its class and content.
/// None where it holds itself. Written without a look at what it tests: each number is followed in the
/// text.
fn expanded(text: &str) -> Option<Value> {
    /// Where each number stands, and the outermost value.
    fn number(text: &str, at: &mut usize, places: &mut HashMap<usize, usize>) {
        let start = *at;
        let letter = text.as_bytes()[start];
        if letter != b'R' {
            places.insert(places.len() + 1, start);
        }
        if !matches!(letter, b'a' | b'O') {
            *at = start + text[start..].find(';').unwrap() + 1;
            return;
        }
        *at = start + text[start..].find('{').unwrap() + 1;
        while text.as_bytes()[*at] != b'}' {
            *at += "s:1:\"a\";".len();
            number(text, at, places);
        }
        *at += 1;
    }

    fn value(
        text: &str,
        start: usize,
        depth: usize,
        places: &HashMap<usize, usize>,
    ) -> Option<(Value, usize)> {
        let depth = depth.checked_sub(1)?;
        let end = start + text[start..].find([';', '{']).unwrap() + 1;
        let inner = |from: usize| text[start + from..end - 1].parse::<usize>().unwrap();
        match text.as_bytes()[start] {
            b'i' => Some(((inner(2) as i64).into(), end)),
            b'R' | b'r' => Some((value(text, places[&inner(2)], depth, places)?.0, end)),
            letter => {
                let (mut at, mut array) = (end, Array::new());
                while text.as_bytes()[at] != b'}' {
                    let name = &text[at + 5..at + 6];
                    let (member, next) = value(text, at + 8, depth, places)?;
                    array.insert(Key::from(name), member);
                    at = next;
                }
                let value = Value::from(array);
                let is_object = letter == b'O';
                Some((if is_object { format!("object {value:?}").into() } else { value }, at + 1))
            }
        }
    }

    let mut places = HashMap::new();
    number(text, &mut 0, &mut places);
    value(text, 0, 12, &places).map(|(value, _)| value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_put_together_says_what_its_parts_said(
        session in prop::collection::vec(any::<u8>(), 0..60),
        update in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let [session, update] = [session, update].map(|choices| drawn(&choices));
        let (Some(base), Some(with)) = (expanded(&session), expanded(&update)) else { return Ok(()) };
        let merged = merged(&session, &update).unwrap();
        let expected = array_replace_recursive(base.into_array().unwrap(), with.into_array().unwrap());
        prop_assert_eq!(expanded(&merged), Some(expected.into()), "{} with {}: {}", session, update, merged);
    }

    #[test]
    fn plain_data_is_merged_as_values_are(
        session in prop::collection::vec(any::<u8>(), 0..60),
        update in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let [session, update] = [session, update].map(|choices| drawn(&choices));
        let read = |text: &str| unserialize(text.as_bytes()).ok()?.into_array();
        let (Some(base), Some(with)) = (read(&session), read(&update)) else { return Ok(()) };
        let expected = serialize(&array_replace_recursive(base, with).into());
        prop_assert_eq!(merged(&session, &update).unwrap().into_bytes(), expected);
    }

    #[test]
    fn no_bytes_make_a_merge_panic(
        one in "[aNiOCErRs:;{}\"0-9]{0,60}",
        other in any::<Vec<u8>>(),
        choices in prop::collection::vec(any::<u8>(), 0..60),
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut spoilt = drawn(&choices).into_bytes();
        for (at, byte) in spoil {
            let at = at.index(spoilt.len());
            spoilt[at] = byte;
        }
        for input in [one.as_bytes(), &other, &spoilt] {
            let _ = json_encode(input);
            if let Ok(merged) = merge_sessions(input, input, LIMIT) {
                let again = merge_sessions(&merged, b"a:0:{}", 2 * LIMIT);
                prop_assert!(again.is_ok() || input.is_empty() || input == b"0", "{:?}", again);
            }
        }
    }
}
