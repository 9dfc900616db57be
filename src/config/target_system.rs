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
                    _ => Err(invalid(Unexpected::Unsigned(number))),
                }
            }
        }

        impl Visitor<'_> for Reader {
            type Value = TargetSystem;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("1 to 255, or \"auto\"")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Self::check(number)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                let number =
                    u64::try_from(number).map_err(|_| invalid(Unexpected::Signed(number)))?;
                Self::check(number)
            }

            /// Numbers too: the environment has only text.
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match text.parse() {
                    _ if text == "auto" => Ok(TargetSystem(None)),
                    Ok(number) => Self::check(number),
                    Err(_) => Err(invalid(Unexpected::Str(text))),
                }
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

fn invalid<E: Error>(found: Unexpected<'_>) -> E {
    E::custom(format!("link.target_system: {found} does not do; it must be 1 to 255, or \"auto\""))
}
