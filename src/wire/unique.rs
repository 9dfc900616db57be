//! JSON in which no object has a member twice: whoever judged the message on its way here may have read
//! the other one (RFC 8259, section 4). Pure.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::{Entry, Map};
use serde_json::{Number, Value};

/// As `serde_json::from_slice` reads a value.
///
/// # Errors
/// What is not valid JSON, and a member that stands twice.
pub fn from_slice(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes).map(|Unique(value)| value)
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(is.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            match object.entry(name) {
                Entry::Vacant(member) => {
                    let Unique(value) = members.next_value()?;
                    member.insert(value);
                }
                Entry::Occupied(member) => {
                    return Err(A::Error::custom(format_args!("{:?} stands twice", member.key())));
                }
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_member_that_stands_twice_is_named() {
        for (json, name) in [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"payload":{"x":1,"y":2,"x":3}}"#, "x"),
            (r#"[{"b":{"":null,"":null}}]"#, ""),
            // One name, in two spellings.
            (r#"{"a":1,"\u0061":2}"#, "a"),
        ] {
            let error = from_slice(json.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name:?} stands twice")), "{error}");
        }
        assert!(from_slice(br#"[{"a":1},{"a":2,"b":{"a":3}}]"#).is_ok());
    }

    proptest! {
        #[test]
        fn all_else_is_read_as_serde_json_does(
            json in r#"([\[\]{},:" ]|true|null|-?[0-9]{1,20}(\.[0-9]{1,3}|e[0-9]{1,3})?|"[a-d]"){0,12}"#
        ) {
            let ours = from_slice(json.as_bytes());
            let theirs = serde_json::from_str::<Value>(&json);
            match (&ours, &theirs) {
                (Err(error), Ok(_)) => prop_assert!(error.to_string().contains("stands twice")),
                _ => prop_assert_eq!(ours.ok(), theirs.ok()),
            }
        }
    }
}
