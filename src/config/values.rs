//! The `config` crate's values as what their keys ask for. Its own reading makes a whole number of 1.6, a
//! bool of "on" and text of 7. The environment, which is all text, needs that; in a file it would hide a
//! mistake.

use config::{ConfigError, Map, Value, ValueKind};
use serde::de::value::StringDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IntoDeserializer as _, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

/// `is_file`: no value may be of another type than its key's.
///
/// # Errors
/// The first mistake, and its key.
pub fn read<'de, T: Deserialize<'de>>(
    values: config::Config,
    is_file: bool,
) -> Result<T, ConfigError> {
    T::deserialize(Keyed { key: String::new(), value: values.cache, is_file })
}

struct Keyed {
    /// From the top: `guard.issuer[0].key`.
    key: String,
    value: Value,
    is_file: bool,
}

impl Keyed {
    fn whole<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        if !self.is_file {
            return match self.value.kind {
                ValueKind::I64(number) => visitor.visit_i64(number),
                _ => visitor.visit_u64(self.value.into_uint()?),
            };
        }
        let unexpected = match &self.value.kind {
            ValueKind::Float(number) => Unexpected::Float(*number),
            ValueKind::Boolean(value) => Unexpected::Bool(*value),
            ValueKind::String(text) => Unexpected::Str(text),
            _ => return self.deserialize_any(visitor),
        };
        Err(Error::invalid_type(unexpected, &"a whole number"))
    }
}

/// Serde would say "expected u8".
macro_rules! whole {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
            self.whole(visitor)
        })*
    };
}

/// Serde's own readers take only what they ask for, so each value goes to them as it is.
impl<'de> Deserializer<'de> for Keyed {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        let Self { key, value, is_file } = self;
        match value.kind {
            ValueKind::Nil => visitor.visit_unit(),
            ValueKind::Boolean(value) => visitor.visit_bool(value),
            ValueKind::I64(number) => visitor.visit_i64(number),
            ValueKind::I128(number) => visitor.visit_i128(number),
            ValueKind::U64(number) => visitor.visit_u64(number),
            ValueKind::U128(number) => visitor.visit_u128(number),
            ValueKind::Float(number) => visitor.visit_f64(number),
            ValueKind::String(text) => visitor.visit_string(text),
            ValueKind::Table(members) => visitor.visit_map(Members {
                key,
                members: members.into_iter(),
                next: None,
                is_file,
            }),
            ValueKind::Array(items) => {
                visitor.visit_seq(Items { key, items: items.into_iter().enumerate(), is_file })
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        if self.is_file {
            return self.deserialize_any(visitor);
        }
        visitor.visit_bool(self.value.into_bool()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        if self.is_file {
            return self.deserialize_any(visitor);
        }
        visitor.visit_string(self.value.into_string()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        if self.is_file {
            return self.deserialize_any(visitor);
        }
        visitor.visit_f64(self.value.into_float()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ConfigError> {
        visitor.visit_newtype_struct(self)
    }

    whole! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 char bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        enum identifier ignored_any
    }
}

struct Members {
    key: String,
    members: <Map<String, Value> as IntoIterator>::IntoIter,
    /// Whose name has been read.
    next: Option<Keyed>,
    is_file: bool,
}

impl<'de> MapAccess<'de> for Members {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ConfigError> {
        let Some((name, value)) = self.members.next() else { return Ok(None) };
        let dot = if self.key.is_empty() { "" } else { "." };
        let key = format!("{}{dot}{name}", self.key);
        self.next = Some(Keyed { key, value, is_file: self.is_file });
        let name: StringDeserializer<ConfigError> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ConfigError> {
        keyed(self.next.take().expect("a value is read after its name"), seed)
    }
}

struct Items {
    key: String,
    items: std::iter::Enumerate<std::vec::IntoIter<Value>>,
    is_file: bool,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = ConfigError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ConfigError> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        let key = format!("{}[{index}]", self.key);
        keyed(Keyed { key, value, is_file: self.is_file }, seed).map(Some)
    }
}

fn keyed<'de, T: DeserializeSeed<'de>>(value: Keyed, seed: T) -> Result<T::Value, ConfigError> {
    let key = value.key.clone();
    seed.deserialize(value).map_err(|error| match error {
        // Of a value further in.
        ConfigError::At { .. } => error,
        error => ConfigError::At { error: Box::new(error), origin: None, key: Some(key) },
    })
}
