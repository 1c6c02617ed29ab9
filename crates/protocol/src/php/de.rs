//! From PHP values to Rust types: a serde deserializer.

use bytes::Bytes;
use indexmap::map;
use serde::de::{
    self, Deserialize, DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Array, Key, SerdeError, Value};

/// The Rust value that a PHP one makes.
///
/// Any array can be read as a map or struct, under its keys; an integer key is offered as its decimal
/// form or as an integer, whichever is asked for. A list can be read as a sequence or tuple. The empty
/// array is both. An integer may be read as a float, never a float as an integer. Strings are text if
/// they are UTF-8 and bytes otherwise, null is `None` and `()`, and a variant is its name, or an array
/// of its content under its name.
///
/// # Errors
///
/// If the value has not the shape of the type.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, SerdeError> {
    T::deserialize(Deserializer(value))
}

struct Deserializer(Value);

impl Deserializer {
    fn mismatch(self, visitor: &dyn de::Expected) -> SerdeError {
        let unexpected = match &self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(b) => Unexpected::Bool(*b),
            Value::Int(n) => Unexpected::Signed(*n),
            Value::Float(x) => Unexpected::Float(*x),
            Value::String(bytes) => Unexpected::Bytes(bytes),
            Value::Array(array) if array.is_list() => Unexpected::Seq,
            Value::Array(_) => Unexpected::Map,
        };
        SerdeError::invalid_type(unexpected, visitor)
    }
}

fn visit_string<'de, V: Visitor<'de>>(bytes: Bytes, visitor: V) -> Result<V::Value, SerdeError> {
    match String::from_utf8(bytes.into()) {
        Ok(text) => visitor.visit_string(text),
        Err(error) => visitor.visit_byte_buf(error.into_bytes()),
    }
}

fn visit_list<'de, V: Visitor<'de>>(array: Array, visitor: V) -> Result<V::Value, SerdeError> {
    let mut list = List(array.into_iter());
    let value = visitor.visit_seq(&mut list)?;
    match list.0.len() {
        0 => Ok(value),
        n => Err(SerdeError::custom(format_args!("{n} elements too many in a list"))),
    }
}

impl<'de> de::Deserializer<'de> for Deserializer {
    type Error = SerdeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(b),
            Value::Int(n) => visitor.visit_i64(n),
            Value::Float(x) => visitor.visit_f64(x),
            Value::String(bytes) => visit_string(bytes, visitor),
            Value::Array(array) if array.is_list() => visit_list(array, visitor),
            Value::Array(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::String(bytes) => visitor.visit_byte_buf(bytes.into()),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Array(array) => visitor.visit_map(Map { pairs: array.into_iter(), value: Value::Null }),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(Variant { name: name.into(), content: None }),
            Value::Array(array) if array.len() == 1 => {
                let pair = array.into_iter().next();
                let (name, content) =
                    pair.ok_or_else(|| SerdeError::custom("an array of one without one"))?;
                visitor.visit_enum(Variant { name, content: Some(content) })
            }
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct seq tuple
        tuple_struct identifier
    }
}

struct List(map::IntoIter<Key, Value>);

impl<'de> SeqAccess<'de> for List {
    type Error = SerdeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, SerdeError> {
        self.0.next().map(|(_, value)| seed.deserialize(Deserializer(value))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Map {
    pairs: map::IntoIter<Key, Value>,
    /// That of the key given out last.
    value: Value,
}

impl<'de> MapAccess<'de> for Map {
    type Error = SerdeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, SerdeError> {
        let Some((key, value)) = self.pairs.next() else { return Ok(None) };
        self.value = value;
        seed.deserialize(KeyDeserializer(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, SerdeError> {
        seed.deserialize(Deserializer(std::mem::take(&mut self.value)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.pairs.len())
    }
}

/// A key is text unless an integer is asked for.
struct KeyDeserializer(Key);

macro_rules! integer_keys {
    ($($method:ident),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
            match self.0 {
                Key::Int(n) => visitor.visit_i64(n),
                Key::String(_) => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> de::Deserializer<'de> for KeyDeserializer {
    type Error = SerdeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visit_string(self.0.to_bytes(), visitor)
    }

    integer_keys!(
        deserialize_i8,
        deserialize_i16,
        deserialize_i32,
        deserialize_i64,
        deserialize_i128,
        deserialize_u8,
        deserialize_u16,
        deserialize_u32,
        deserialize_u64,
        deserialize_u128
    );

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_byte_buf(self.0.to_bytes().into())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_enum(Variant { name: self.0, content: None })
    }

    forward_to_deserialize_any! {
        bool f32 f64 char str string unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// An enum's variant; without content it is a unit variant.
struct Variant {
    name: Key,
    content: Option<Value>,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = SerdeError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), SerdeError> {
        let name = seed.deserialize(KeyDeserializer(self.name.clone()))?;
        Ok((name, self))
    }
}

impl Variant {
    fn content(self) -> Deserializer {
        Deserializer(self.content.unwrap_or_default())
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = SerdeError;

    fn unit_variant(self) -> Result<(), SerdeError> {
        Deserialize::deserialize(self.content())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, SerdeError> {
        seed.deserialize(self.content())
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, SerdeError> {
        de::Deserializer::deserialize_seq(self.content(), visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        de::Deserializer::deserialize_map(self.content(), visitor)
    }
}
