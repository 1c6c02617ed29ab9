//! From Rust types to PHP values: a serde serializer.

use std::fmt::Display;

use serde::ser::{self, Serialize};

use super::{Array, Key, Value};

/// Why a Rust value has no PHP one, or a PHP value does not make the Rust one asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SerdeError(String);

impl ser::Error for SerdeError {
    fn custom<T: Display>(message: T) -> Self {
        SerdeError(message.to_string())
    }
}

impl serde::de::Error for SerdeError {
    fn custom<T: Display>(message: T) -> Self {
        SerdeError(message.to_string())
    }
}

/// The PHP value of a Rust one.
///
/// Structs and maps become arrays under their names and keys (`"7"` becomes 7, as in PHP), sequences
/// and tuples lists, text and bytes strings, `None` and `()` null. An enum variant becomes its name, or
/// an array of its content under its name.
///
/// # Errors
///
/// If an integer does not fit an `i64`, or a map's key is neither text, bytes nor an integer.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, SerdeError> {
    value.serialize(Serializer)
}

struct Serializer;

/// An array in the making. A map's key waits here for its value, a variant's name for the end.
struct Builder {
    array: Array,
    key: Option<Key>,
    variant: Option<&'static str>,
}

impl Builder {
    fn new(variant: Option<&'static str>) -> Builder {
        Builder { array: Array::new(), key: None, variant }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        self.array.push(to_value(value)?);
        Ok(())
    }

    fn finish(self) -> Value {
        match self.variant {
            Some(name) => Array::from_iter([(name, self.array)]).into(),
            None => self.array.into(),
        }
    }
}

fn int<N: TryInto<i64> + Display + Copy>(n: N) -> Result<i64, SerdeError> {
    n.try_into().map_err(|_| SerdeError(format!("{n} is not within PHP's integers")))
}

impl ser::Serializer for Serializer {
    type Ok = Value;
    type Error = SerdeError;
    type SerializeSeq = Builder;
    type SerializeTuple = Builder;
    type SerializeTupleStruct = Builder;
    type SerializeTupleVariant = Builder;
    type SerializeMap = Builder;
    type SerializeStruct = Builder;
    type SerializeStructVariant = Builder;

    fn serialize_bool(self, v: bool) -> Result<Value, SerdeError> {
        Ok(v.into())
    }

    fn serialize_i8(self, v: i8) -> Result<Value, SerdeError> {
        Ok(Value::Int(v.into()))
    }

    fn serialize_i16(self, v: i16) -> Result<Value, SerdeError> {
        Ok(Value::Int(v.into()))
    }

    fn serialize_i32(self, v: i32) -> Result<Value, SerdeError> {
        Ok(Value::Int(v.into()))
    }

    fn serialize_i64(self, v: i64) -> Result<Value, SerdeError> {
        Ok(Value::Int(v))
    }

    fn serialize_i128(self, v: i128) -> Result<Value, SerdeError> {
        int(v).map(Value::Int)
    }

    fn serialize_u8(self, v: u8) -> Result<Value, SerdeError> {
        Ok(Value::Int(v.into()))
    }

    fn serialize_u16(self, v: u16) -> Result<Value, SerdeError> {
        Ok(Value::Int(v.into()))
    }

    fn serialize_u32(self, v: u32) -> Result<Value, SerdeError> {
        Ok(Value::Int(v.into()))
    }

    fn serialize_u64(self, v: u64) -> Result<Value, SerdeError> {
        int(v).map(Value::Int)
    }

    fn serialize_u128(self, v: u128) -> Result<Value, SerdeError> {
        int(v).map(Value::Int)
    }

    fn serialize_f32(self, v: f32) -> Result<Value, SerdeError> {
        Ok(Value::Float(v.into()))
    }

    fn serialize_f64(self, v: f64) -> Result<Value, SerdeError> {
        Ok(Value::Float(v))
    }

    fn serialize_char(self, v: char) -> Result<Value, SerdeError> {
        Ok(v.to_string().into())
    }

    fn serialize_str(self, v: &str) -> Result<Value, SerdeError> {
        Ok(v.into())
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<Value, SerdeError> {
        Ok(v.into())
    }

    fn serialize_none(self) -> Result<Value, SerdeError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, v: &T) -> Result<Value, SerdeError> {
        to_value(v)
    }

    fn serialize_unit(self) -> Result<Value, SerdeError> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, SerdeError> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, SerdeError> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        v: &T,
    ) -> Result<Value, SerdeError> {
        to_value(v)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        v: &T,
    ) -> Result<Value, SerdeError> {
        Ok(Array::from_iter([(variant, to_value(v)?)]).into())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Builder, SerdeError> {
        Ok(Builder::new(None))
    }

    fn serialize_tuple(self, _: usize) -> Result<Builder, SerdeError> {
        Ok(Builder::new(None))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Builder, SerdeError> {
        Ok(Builder::new(None))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Builder, SerdeError> {
        Ok(Builder::new(Some(variant)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Builder, SerdeError> {
        Ok(Builder::new(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Builder, SerdeError> {
        Ok(Builder::new(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Builder, SerdeError> {
        Ok(Builder::new(Some(variant)))
    }
}

macro_rules! sequence {
    ($($compound:ident $method:ident),*) => {$(
        impl ser::$compound for Builder {
            type Ok = Value;
            type Error = SerdeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
                self.push(value)
            }

            fn end(self) -> Result<Value, SerdeError> {
                Ok(self.finish())
            }
        }
    )*};
}

sequence!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

macro_rules! structure {
    ($($compound:ident),*) => {$(
        impl ser::$compound for Builder {
            type Ok = Value;
            type Error = SerdeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), SerdeError> {
                self.array.insert(name, to_value(value)?);
                Ok(())
            }

            fn end(self) -> Result<Value, SerdeError> {
                Ok(self.finish())
            }
        }
    )*};
}

structure!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Builder {
    type Ok = Value;
    type Error = SerdeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), SerdeError> {
        self.key = Some(match to_value(key)? {
            Value::Int(n) => Key::Int(n),
            Value::String(bytes) => bytes.into(),
            other => return Err(SerdeError(format!("{} cannot be an array key", other.type_name()))),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), SerdeError> {
        let key = self.key.take().ok_or_else(|| SerdeError("a value came before its key".into()))?;
        self.array.insert(key, to_value(value)?);
        Ok(())
    }

    fn end(self) -> Result<Value, SerdeError> {
        Ok(self.finish())
    }
}
