//! What a browser sends along with its handshake, read into PHP's arrays: the query string and the
//! cookies.
//!
//! No parser of URLs or headers: it takes what stands behind the `?`, and the value of `Cookie`.

use std::borrow::Cow;

use super::{Array, Key, Value};

/// Variables read from one query; PHP's `max_input_vars`.
pub const MAX_VARIABLES: usize = 1000;

/// Brackets after a variable's name; PHP's `max_input_nesting_level`.
pub const MAX_NESTING: usize = 64;

/// PHP's `parse_str()`: `a[]=1&b[c]=2&d.e=3` becomes `["a" => ["1"], "b" => ["c" => "2"], "d_e" =>
/// "3"]`.
///
/// As in PHP, variables past [`MAX_VARIABLES`] are dropped, one with more than [`MAX_NESTING`] brackets
/// is dropped together with all that its name already held, and what is no name (`=1`, `[a]=1`) is
/// passed over.
pub fn parse_str(query: &[u8]) -> Array {
    let mut variables = Array::new();
    let pairs = until_nul(query).split(|b| *b == b'&').filter(|pair| !pair.is_empty());
    for pair in pairs.take(MAX_VARIABLES) {
        let (name, value) = split_once(pair, b'=').unwrap_or((pair, b""));
        register(&mut variables, until_nul(&url_decode(name)), &url_decode(value));
    }
    variables
}

/// Cookies as Workerman's `Request::cookie()` reads them: names are trimmed, values are taken as they
/// are (neither trimmed nor url-decoded), the last of a name wins, and a part without `=` is passed
/// over.
pub fn parse_cookies(header: &[u8]) -> Array {
    let pairs = header.split(|b| *b == b';').filter_map(|part| split_once(part, b'='));
    pairs.map(|(name, value)| (Key::from_bytes(trim(name)), value)).collect()
}

/// Puts a variable where its name says.
fn register(variables: &mut Array, name: &[u8], value: &[u8]) {
    let name = &name[name.iter().take_while(|b| **b == b' ').count()..];
    let (head, mut rest) = name.split_at(name.iter().position(|b| *b == b'[').unwrap_or(name.len()));
    if head.is_empty() {
        return;
    }
    let mut path = vec![Some(Cow::Owned(mangle(head)))];
    while let Some(inside) = rest.strip_prefix(b"[") {
        if path.len() > MAX_NESTING {
            variables.remove(&*mangle(head));
            return;
        }
        match index(inside) {
            Some((key, after)) => {
                path.push(key.map(Cow::Borrowed));
                rest = after;
            }
            // An unclosed first bracket is part of the name; a later one ends it.
            None => {
                if path.len() == 1 {
                    path = vec![Some(Cow::Owned(mangle(name)))];
                }
                break;
            }
        }
    }
    place(variables, &path, name, value);
}

/// What stands between brackets, None if nothing, and what follows them. None without a closing bracket.
fn index(inside: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let end = inside.iter().position(|b| *b == b']')?;
    let (key, after) = (&inside[..end], &inside[end + 1..]);
    // A single blank is nothing, too, be it one that C's isspace() knows.
    let nothing = matches!(key, [] | [b' ' | b'\t'..=b'\r']);
    Some((if nothing { None } else { Some(key) }, after))
}

/// Walks down the path, putting an array wherever there is none, and leaves the value at its end. A
/// step that is None is a new element; where PHP can make no new one, the variable is dropped.
fn place(array: &mut Array, path: &[Option<Cow<'_, [u8]>>], name: &[u8], value: &[u8]) {
    let Some((step, rest)) = path.split_first() else { return };
    if step.as_deref().is_some_and(|key| forged_prefix(key, name)) {
        return;
    }
    let Some(slot) = array.slot(step.as_deref().map(Key::from_bytes)) else { return };
    if rest.is_empty() {
        *slot = value.into();
        return;
    }
    if !matches!(slot, Value::Array(_)) {
        *slot = Array::new().into();
    }
    if let Value::Array(inner) = slot {
        place(inner, rest, name, value);
    }
}

/// Whether a key looks like a protected cookie's though the name, as sent, does not. PHP stops at such
/// a key wherever the name comes from.
fn forged_prefix(key: &[u8], name: &[u8]) -> bool {
    [&b"__Host-"[..], b"__Secure-"].iter().any(|prefix| key.starts_with(prefix) && !name.starts_with(prefix))
}

/// PHP once made these names variables, and these characters cannot stand in one.
fn mangle(name: &[u8]) -> Vec<u8> {
    name.iter().map(|b| if matches!(b, b' ' | b'.' | b'[') { b'_' } else { *b }).collect()
}

/// PHP's `urldecode()`: `%41` becomes `A`, `+` a space, and what is no such sign stays.
pub fn url_decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|b| matches!(b, b'+' | b'%')) {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        out.push(match (*first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            (other, _) => other,
        });
    }
    out.into()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok())
}

/// Names and queries are C strings in PHP.
fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len())]
}

fn split_once(bytes: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == separator)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// PHP's `trim()`.
fn trim(mut bytes: &[u8]) -> &[u8] {
    const BLANK: &[u8] = b" \t\n\r\0\x0b";
    while let [first, rest @ ..] = bytes
        && BLANK.contains(first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && BLANK.contains(last)
    {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::php::serialize;

    fn parsed(query: &[u8]) -> String {
        String::from_utf8_lossy(&serialize(&parse_str(query).into())).into_owned()
    }

    /// Every right side is what PHP 8.2 answered.
    #[test]
    fn queries_become_what_php_makes_of_them() {
        for (query, expected) in [
            ("a=1&b=2", r#"a:2:{s:1:"a";s:1:"1";s:1:"b";s:1:"2";}"#),
            ("a[]=1&a[]=2", r#"a:1:{s:1:"a";a:2:{i:0;s:1:"1";i:1;s:1:"2";}}"#),
            ("a[b][c]=2", r#"a:1:{s:1:"a";a:1:{s:1:"b";a:1:{s:1:"c";s:1:"2";}}}"#),
            (
                "a[][b]=1&a[][b]=2",
                r#"a:1:{s:1:"a";a:2:{i:0;a:1:{s:1:"b";s:1:"1";}i:1;a:1:{s:1:"b";s:1:"2";}}}"#,
            ),
            ("c.d e=1", r#"a:1:{s:5:"c_d_e";s:1:"1";}"#),
            ("a.b[c.d]=1", r#"a:1:{s:3:"a_b";a:1:{s:3:"c.d";s:1:"1";}}"#),
            (" a=1", r#"a:1:{s:1:"a";s:1:"1";}"#),
            ("+a=1", r#"a:1:{s:1:"a";s:1:"1";}"#),
            ("a", r#"a:1:{s:1:"a";s:0:"";}"#),
            ("=1&[a]=1&[]=1&%20=1", "a:0:{}"),
            ("&&a=1&&", r#"a:1:{s:1:"a";s:1:"1";}"#),
            ("a=b=c", r#"a:1:{s:1:"a";s:3:"b=c";}"#),
            ("a%3Db=c", r#"a:1:{s:3:"a=b";s:1:"c";}"#),
            ("a;b=1", r#"a:1:{s:3:"a;b";s:1:"1";}"#),
            ("a%5Bb%5D=1", r#"a:1:{s:1:"a";a:1:{s:1:"b";s:1:"1";}}"#),
            ("a=%e4%bd%a0+%zz%4", r#"a:1:{s:1:"a";s:9:"你 %zz%4";}"#),
            ("a=%00b", "a:1:{s:1:\"a\";s:2:\"\0b\";}"),
            ("a%00b=1", r#"a:1:{s:1:"a";s:1:"1";}"#),
            ("a[b%00]=1", r#"a:1:{s:3:"a_b";s:1:"1";}"#),
            ("a=b\0c&d=1", r#"a:1:{s:1:"a";s:1:"b";}"#),
            ("a[b.c d=1", r#"a:1:{s:7:"a_b_c_d";s:1:"1";}"#),
            ("a[x][y.z=1", r#"a:1:{s:1:"a";a:1:{s:1:"x";s:1:"1";}}"#),
            ("a[b]c[d]=1", r#"a:1:{s:1:"a";a:1:{s:1:"b";s:1:"1";}}"#),
            ("a[[b]]=1", r#"a:1:{s:1:"a";a:1:{s:2:"[b";s:1:"1";}}"#),
            ("a]=1", r#"a:1:{s:2:"a]";s:1:"1";}"#),
            ("a[ ]=1&a[\t]=2", r#"a:1:{s:1:"a";a:2:{i:0;s:1:"1";i:1;s:1:"2";}}"#),
            ("a[ b]=1&a[  ]=2", r#"a:1:{s:1:"a";a:2:{s:2:" b";s:1:"1";s:2:"  ";s:1:"2";}}"#),
            ("a=1&a[b]=2", r#"a:1:{s:1:"a";a:1:{s:1:"b";s:1:"2";}}"#),
            ("a[b]=2&a=1", r#"a:1:{s:1:"a";s:1:"1";}"#),
            ("7=a&07=b&-5=c", r#"a:3:{i:7;s:1:"a";s:2:"07";s:1:"b";i:-5;s:1:"c";}"#),
            ("a[7]=1&a[]=2", r#"a:1:{s:1:"a";a:2:{i:7;s:1:"1";i:8;s:1:"2";}}"#),
            ("a[9223372036854775807]=1&a[]=2", r#"a:1:{s:1:"a";a:1:{i:9223372036854775807;s:1:"1";}}"#),
            ("__Host-a=1&..Host-b=2&_.Secure-c[d]=3", r#"a:1:{s:8:"__Host-a";s:1:"1";}"#),
            ("a[__Host-b]=1", r#"a:1:{s:1:"a";a:0:{}}"#),
        ] {
            assert_eq!(parsed(query.as_bytes()), expected, "{query:?}");
        }
    }

    #[test]
    fn variables_past_the_thousandth_are_dropped() {
        let query: Vec<String> = (0..MAX_VARIABLES + 5).map(|n| format!("k{n}=1")).collect();
        let variables = parse_str(query.join("&").as_bytes());
        assert_eq!(variables.len(), MAX_VARIABLES);
        assert!(variables.contains_key("k999"));
    }

    #[test]
    fn a_variable_nested_too_deep_goes_with_all_of_its_name() {
        let query = |depth| format!("a[z]=0&a{}=1&b=2", "[x]".repeat(depth));
        assert_eq!(parse_str(query(MAX_NESTING).as_bytes()).len(), 2);
        assert_eq!(parsed(query(MAX_NESTING + 1).as_bytes()), r#"a:1:{s:1:"b";s:1:"2";}"#);
    }

    #[test]
    fn cookies_are_taken_as_they_are() {
        let cookies = parse_cookies(b"a=1; b =%20x ;c;7=\"q\";a=2=3;\tb\x0b= y;=z");
        let expected: [(&str, &str); 4] = [("a", "2=3"), ("b", " y"), ("7", "\"q\""), ("", "z")];
        assert_eq!(cookies, Array::from_iter(expected));
        assert!(parse_cookies(b"").is_empty());
    }
}
