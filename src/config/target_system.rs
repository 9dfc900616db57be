//! `[link] target_system`: a number, or "auto".

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// 1 to 255; `None`: to be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetSystem(pub Option<u8>);

impl<'de> Deserialize<'de> for TargetSystem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Reader {
            fn check<E: Error>(number: u64) -> Result<TargetSystem, E> {
                match u8::try_from(number) {
                    Ok(system @ 1..) => Ok(TargetSystem(Some(system))),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(number), &Reader)),
                }
            }
        }

        impl Visitor<'_> for Reader {
            type Value = TargetSystem;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or 1 to 255")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Self::check(number)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                let number = u64::try_from(number)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
                Self::check(number)
            }

            /// Numbers too: the environment has only text.
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match text.parse() {
                    _ if text == "auto" => Ok(TargetSystem(None)),
                    Ok(number) => Self::check(number),
                    Err(_) => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Reader)
    }
}
