//! A file's values are of the types that their keys have. The `config` crate makes a whole number of 1.6,
//! a bool of "on" and text of 7: the environment, which is all text, needs it, and in a file it would hide
//! a mistake.

use config::{ConfigError, Value, ValueKind};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

/// `file`: one of which `config` has made a `T`, since that has the keys of all other mistakes.
///
/// # Errors
/// The first value of another type, and its key.
pub fn check<'de, T: Deserialize<'de>>(file: config::Config) -> Result<(), ConfigError> {
    T::deserialize(Strict { key: String::new(), value: file.cache }).map(drop)
}

struct Strict {
    key: String,
    value: Value,
}

impl Strict {
    fn whole<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        let unexpected = match &self.value.kind {
            ValueKind::Float(number) => Unexpected::Float(*number),
            ValueKind::Boolean(value) => Unexpected::Bool(*value),
            ValueKind::String(text) => Unexpected::Str(text),
            _ => return self.deserialize_any(visitor),
        };
        Err(at(self.key, Error::invalid_type(unexpected, &"a whole number")))
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
impl<'de> Deserializer<'de> for Strict {
    type Error = ConfigError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ConfigError> {
        let Self { key, value } = self;
        match value.kind {
            ValueKind::Table(members) => {
                let members = members.into_iter().map(|(name, value)| {
                    let dot = if key.is_empty() { "" } else { "." };
                    (name.clone(), Strict { key: format!("{key}{dot}{name}"), value })
                });
                visitor.visit_map(MapDeserializer::new(members))
            }
            ValueKind::Array(items) => {
                let items = items.into_iter().enumerate();
                let items =
                    items.map(|(index, value)| Strict { key: format!("{key}[{index}]"), value });
                visitor.visit_seq(SeqDeserializer::new(items))
            }
            _ => value.deserialize_any(visitor).map_err(|error| at(key, error)),
        }
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
        bool i8 i16 i32 i64 i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, ConfigError> for Strict {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn at(key: String, error: ConfigError) -> ConfigError {
    ConfigError::At { error: Box::new(error), origin: None, key: Some(key) }
}
