//! PHP's `serialize()`, and PHP's way to print a float.

use std::io::Write;

use super::{KeyRef, Value};

/// The value as PHP's `serialize()` writes it, byte for byte.
pub fn serialize(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    serialize_into(value, &mut out);
    out
}

/// Like [`serialize`], onto the end of a buffer.
pub fn serialize_into(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"N;"),
        Value::Bool(b) => out.extend_from_slice(if *b { b"b:1;" } else { b"b:0;" }),
        Value::Int(n) => int(*n, out),
        Value::Float(x) => {
            out.extend_from_slice(b"d:");
            float(*x, b'E', out);
            out.push(b';');
        }
        Value::String(bytes) => string(bytes, out),
        Value::Array(array) => {
            open(array.len(), out);
            for (name, value) in array {
                key(name.into(), out);
                serialize_into(value, out);
            }
            out.push(b'}');
        }
    }
}

/// The beginning of an array; its elements and a `}` follow.
pub(super) fn open(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"a:");
    members(len, out);
}

/// The same, of an array or object, from the number of its members on.
pub(super) fn members(len: usize, out: &mut Vec<u8>) {
    digits(len, out);
    out.extend_from_slice(b":{");
}

pub(super) fn key(key: KeyRef<'_>, out: &mut Vec<u8>) {
    match key {
        KeyRef::Int(n) => int(n, out),
        KeyRef::String(bytes) => string(bytes, out),
    }
}

pub(super) fn int(n: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"i:");
    digits(n, out);
    out.push(b';');
}

pub(super) fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"s:");
    digits(bytes.len(), out);
    out.extend_from_slice(b":\"");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\";");
}

pub(super) fn digits(n: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Writing into memory does not fail.
pub(super) fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// A float with the fewest digits that read back as the same one, laid out as PHP does with
/// `serialize_precision` -1: plain from 1e-4 up to below 1e17, otherwise with an exponent after `e`
/// (`serialize()` writes `E`, JSON `e`) and at least one digit behind the point.
pub(super) fn float(x: f64, e: u8, out: &mut Vec<u8>) {
    if x.is_nan() {
        return out.extend_from_slice(b"NAN");
    }
    if x.is_sign_negative() {
        out.push(b'-');
    }
    if x.is_infinite() {
        return out.extend_from_slice(b"INF");
    }
    if x == 0.0 {
        return out.push(b'0');
    }
    let (digits, exponent) = shortest(x.abs());
    match usize::try_from(exponent) {
        Ok(e) if e < 17 => {
            let (whole, rest) = digits.split_at(digits.len().min(e + 1));
            out.extend_from_slice(whole);
            out.resize(out.len() + (e + 1 - whole.len()), b'0');
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest);
            }
        }
        Err(_) if exponent >= -4 => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + (-1 - exponent) as usize, b'0');
            out.extend_from_slice(&digits);
        }
        _ => {
            out.extend_from_slice(&[digits[0], b'.']);
            out.extend_from_slice(if digits.len() > 1 { &digits[1..] } else { b"0" });
            out.push(e);
            print(out, format_args!("{exponent:+}"));
        }
    }
}

/// The digits of a positive finite float, without zeros at either end, and the power of ten of the
/// first.
fn shortest(x: f64) -> (Vec<u8>, i32) {
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(x);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [whole.as_bytes(), rest.as_bytes()].concat();
    let zeros = digits.iter().take_while(|d| **d == b'0').count();
    digits.drain(..zeros);
    digits.truncate(digits.iter().rposition(|d| *d != b'0').map_or(0, |last| last + 1));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    (digits, exponent + whole.len() as i32 - 1 - zeros as i32)
}
