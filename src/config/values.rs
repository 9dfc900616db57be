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

/// What is the same for all types is not generic: this is in the program once for each.
impl Keyed {
    fn boolean(self) -> Result<bool, ConfigError> {
        match self.value.kind {
            ValueKind::Boolean(value) => Ok(value),
            _ if self.is_file => Err(self.unexpected("a boolean")),
            _ => self.value.into_bool(),
        }
    }

    fn text(self) -> Result<String, ConfigError> {
        match self.value.kind {
            ValueKind::String(text) => Ok(text),
            _ if self.is_file => Err(self.unexpected("a string")),
            _ => self.value.into_string(),
        }
    }

    fn number(self) -> Result<f64, ConfigError> {
        match self.value.kind {
            ValueKind::Float(number) => Ok(number),
            ValueKind::I64(number) => Ok(number as f64),
            _ if self.is_file => Err(self.unexpected("a number")),
            _ => self.value.into_float(),
        }
    }

    fn whole_number(self) -> Result<i64, ConfigError> {
        match self.value.kind {
            ValueKind::I64(number) => Ok(number),
            _ if self.is_file => Err(self.unexpected("a whole number")),
            _ => self.value.into_int(),
        }
    }

    fn unexpected(self, expected: &str) -> ConfigError {
        let unexpected = match &self.value.kind {
            ValueKind::Nil => Unexpected::Unit,
            ValueKind::Boolean(value) => Unexpected::Bool(*value),
            ValueKind::I64(number) => Unexpected::Signed(*number),
            ValueKind::U64(number) => Unexpected::Unsigned(*number),
            ValueKind::Float(number) => Unexpected::Float(*number),
            ValueKind::String(text) => Unexpected::Str(text),
            ValueKind::Array(_) => Unexpected::Seq,
            ValueKind::Table(_) => Unexpected::Map,
            // TOML has none.
            ValueKind::I128(_) | ValueKind::U128(_) => Unexpected::Other("so large a number"),
        };
        Error::invalid_type(unexpected, &expected)
    }
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
        visitor.visit_bool(self.boolean()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_f64(self.number()?)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_i64(self.whole_number()?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_i64(self.whole_number()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_i64(self.whole_number()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        visitor.visit_i64(self.whole_number()?)
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

impl Members {
    fn next_name(&mut self) -> Option<String> {
        let (name, value) = self.members.next()?;
        let dot = if self.key.is_empty() { "" } else { "." };
        let key = format!("{}{dot}{name}", self.key);
        self.next = Some(Keyed { key, value, is_file: self.is_file });
        Some(name)
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = ConfigError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ConfigError> {
        let Some(name) = self.next_name() else { return Ok(None) };
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

impl Items {
    fn next_item(&mut self) -> Option<Keyed> {
        let (index, value) = self.items.next()?;
        Some(Keyed { key: format!("{}[{index}]", self.key), value, is_file: self.is_file })
    }
}

impl<'de> SeqAccess<'de> for Items {
    type Error = ConfigError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ConfigError> {
        self.next_item().map(|item| keyed(item, seed)).transpose()
    }
}

fn keyed<'de, T: DeserializeSeed<'de>>(value: Keyed, seed: T) -> Result<T::Value, ConfigError> {
    let key = value.key.clone();
    seed.deserialize(value).map_err(|error| at(key, error))
}

fn at(key: String, error: ConfigError) -> ConfigError {
    match error {
        // Of a value further in.
        ConfigError::At { .. } => error,
        error => ConfigError::At { error: Box::new(error), origin: None, key: Some(key) },
    }
}
