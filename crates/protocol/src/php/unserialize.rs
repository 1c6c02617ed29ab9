//! PHP's `unserialize()` for input that nobody vouches for: what is allocated and how deep it goes is
//! bounded by the bytes that are really there.

use bytes::Bytes;

use super::{Array, KeyRef, MAX_DEPTH, Value};

/// Why bytes are not a serialized value, and where that showed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something stands where the format has something else.
    #[error("not PHP's serialization format at byte {offset}")]
    Malformed {
        /// Bytes from the start of the input.
        offset: usize,
    },
    /// The input ends, or a length or count claims more than follows.
    #[error("the input ends before the value at byte {offset} does")]
    Truncated {
        /// Bytes from the start of the input.
        offset: usize,
    },
    /// Well known to PHP, but more than data.
    #[error("{what} at byte {offset} is not accepted")]
    Refused {
        /// What it is: an object, a reference and so on.
        what: &'static str,
        /// Bytes from the start of the input.
        offset: usize,
    },
    /// More than `limit` arrays or objects inside each other.
    #[error("arrays nested deeper than {limit} at byte {offset}")]
    TooDeep {
        /// How many there may be.
        limit: usize,
        /// Bytes from the start of the input.
        offset: usize,
    },
    /// What comes of it is longer than it may be.
    #[error("the result is longer than {limit} bytes")]
    TooLong {
        /// How long it may be, in bytes.
        limit: usize,
    },
    /// A value, but one of this type where an array is needed.
    #[error("{0} instead of an array")]
    NotAnArray(&'static str),
}

/// The fewest bytes that an array element takes, read or written: `i:0;N;`.
pub(super) const ELEMENT: usize = 6;

/// The value that PHP's `unserialize()` makes of these bytes.
///
/// As in PHP 8.2, bytes after the value are ignored, integers out of range become the nearest `i64`,
/// the later of two equal keys wins (in the place of the first), and string keys become integers where
/// PHP has it so.
///
/// # Errors
///
/// If PHP would answer `false`; and where it would not, for objects, enums, references and escaped
/// strings (`S:`, which `serialize()` never writes), and for arrays nested deeper than [`MAX_DEPTH`].
pub fn unserialize(input: &[u8]) -> Result<Value, Error> {
    Reader::new(input).value(0)
}

/// Reads the parts of a serialized string one by one.
pub(super) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    /// Bytes that the open arrays still need at the least. As it never exceeds what is left of the
    /// input, the room made for elements stays in proportion to it, however the counts are nested.
    owed: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0, owed: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The bytes from `start` up to here.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.input[start..self.at]
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        let offset = self.at;
        let refused = |what| Err(Error::Refused { what, offset });
        match self.byte()? {
            b'N' => {
                self.expect(b";")?;
                Ok(Value::Null)
            }
            b'b' => self.bool().map(Value::Bool),
            b'i' => self.int().map(Value::Int),
            b'd' => self.float().map(Value::Float),
            b's' => self.string().map(|bytes| Value::String(Bytes::copy_from_slice(bytes))),
            b'a' if depth == MAX_DEPTH => Err(Error::TooDeep { limit: MAX_DEPTH, offset }),
            b'a' => self.array(depth + 1).map(Value::Array),
            b'O' | b'C' | b'o' => refused("an object"),
            b'E' => refused("an enum"),
            b'R' | b'r' => refused("a reference"),
            b'S' => refused("an escaped string"),
            _ => Err(Error::Malformed { offset }),
        }
    }

    pub(super) fn bool(&mut self) -> Result<bool, Error> {
        self.expect(b":")?;
        let offset = self.at;
        let b = match self.byte()? {
            b'0' => false,
            b'1' => true,
            _ => return Err(Error::Malformed { offset }),
        };
        self.expect(b";")?;
        Ok(b)
    }

    pub(super) fn int(&mut self) -> Result<i64, Error> {
        self.expect(b":")?;
        let negative = match self.input.get(self.at) {
            Some(sign @ (b'-' | b'+')) => {
                self.at += 1;
                *sign == b'-'
            }
            _ => false,
        };
        let n = self.digits()?;
        self.expect(b";")?;
        Ok(if negative { 0i64.saturating_sub_unsigned(n) } else { 0i64.saturating_add_unsigned(n) })
    }

    pub(super) fn float(&mut self) -> Result<f64, Error> {
        self.expect(b":")?;
        let offset = self.at;
        let rest = &self.input[offset..];
        let end = rest.iter().position(|b| *b == b';').ok_or(Error::Truncated { offset })?;
        self.at += end + 1;
        match &rest[..end] {
            b"NAN" => Ok(f64::NAN),
            b"INF" => Ok(f64::INFINITY),
            b"-INF" => Ok(f64::NEG_INFINITY),
            // Without letters, what Rust reads as a float is what PHP does.
            number if number.iter().all(|b| b"0123456789+-.eE".contains(b)) => {
                let number = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
                number.ok_or(Error::Malformed { offset })
            }
            _ => Err(Error::Malformed { offset }),
        }
    }

    /// `:1:"a";`
    pub(super) fn string(&mut self) -> Result<&'a [u8], Error> {
        let bytes = self.quoted()?;
        self.expect(b";")?;
        Ok(bytes)
    }

    /// `:1:"a"`
    pub(super) fn quoted(&mut self) -> Result<&'a [u8], Error> {
        let offset = self.at;
        let length = self.length()?;
        self.expect(b"\"")?;
        let bytes = self.skip(length).ok_or(Error::Truncated { offset })?;
        self.expect(b"\"")?;
        Ok(bytes)
    }

    /// `:1:{a}`, what a class of its own has written.
    pub(super) fn custom(&mut self) -> Result<(), Error> {
        let offset = self.at;
        let length = self.length()?;
        self.expect(b"{")?;
        self.skip(length).ok_or(Error::Truncated { offset })?;
        self.expect(b"}")
    }

    fn skip(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.input[self.at..].get(..length)?;
        self.at += length;
        Some(bytes)
    }

    fn array(&mut self, depth: usize) -> Result<Array, Error> {
        let count = self.open()?;
        let mut array = Array::with_capacity(count);
        for _ in 0..count {
            let key = self.name()?.canonical();
            array.insert(key, self.value(depth)?);
        }
        self.close()?;
        Ok(array)
    }

    /// `:1:{`, with which an array begins, and an object after its class. As many members
    /// follow as are returned, each a [`name`](Self::name) and a value, then the
    /// [end](Self::close).
    pub(super) fn open(&mut self) -> Result<usize, Error> {
        let offset = self.at;
        let count = self.length()?;
        self.expect(b"{")?;
        let owed = count.saturating_mul(ELEMENT).saturating_add(1).saturating_add(self.owed);
        if owed > self.input.len() - self.at {
            return Err(Error::Truncated { offset });
        }
        self.owed = owed;
        Ok(count)
    }

    /// The end of an array or object.
    pub(super) fn close(&mut self) -> Result<(), Error> {
        self.owed -= 1;
        self.expect(b"}")
    }

    /// What a member stands under, as it is written: in an array it is yet to be made
    /// [canonical](KeyRef::canonical).
    pub(super) fn name(&mut self) -> Result<KeyRef<'a>, Error> {
        self.owed -= ELEMENT;
        let offset = self.at;
        match self.byte()? {
            b'i' => self.int().map(KeyRef::Int),
            b's' => self.string().map(KeyRef::String),
            _ => Err(Error::Malformed { offset }),
        }
    }

    /// `:12:`, as it stands before strings and arrays.
    fn length(&mut self) -> Result<usize, Error> {
        self.expect(b":")?;
        let n = self.digits()?;
        self.expect(b":")?;
        Ok(usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// At least one digit; too great a number is the greatest.
    fn digits(&mut self) -> Result<u64, Error> {
        let offset = self.at;
        let mut n = 0u64;
        while let Some(digit @ b'0'..=b'9') = self.input.get(self.at) {
            n = n.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        if self.at > offset {
            return Ok(n);
        }
        Err(if offset < self.input.len() { Error::Malformed { offset } } else { Error::Truncated { offset } })
    }

    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        let byte = *self.input.get(self.at).ok_or(Error::Truncated { offset: self.at })?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn expect(&mut self, expected: &[u8]) -> Result<(), Error> {
        for want in expected {
            let offset = self.at;
            if self.byte()? != *want {
                return Err(Error::Malformed { offset });
            }
        }
        Ok(())
    }
}
