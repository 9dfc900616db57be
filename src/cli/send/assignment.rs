//! `field=value` -> a member of the payload. Pure.

use serde_json::{Number, Value};

/// Reads one argument, for clap.
pub fn read(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), read_value(value))),
        _ => Err("it must be FIELD=VALUE, such as shoot_command=1".to_owned()),
    }
}

/// What looks like a number, `null`, `true` or `false` in JSON is that; everything else is text, which
/// is the name of an entry. Whether the field takes it is for the catalogue to say.
fn read_value(text: &str) -> Value {
    match text {
        "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        text => match serde_json::from_str::<Number>(text) {
            Ok(number) => Value::Number(number),
            Err(_) => Value::String(text.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_have_the_types_of_json() {
        for (text, value) in [
            ("a=1", json!(1)),
            ("a=-2.5", json!(-2.5)),
            ("a=1e3", json!(1e3)),
            ("a=47.397742", json!(47.397742)),
            ("a=null", json!(null)),
            ("a=true", json!(true)),
            ("a=false", json!(false)),
            ("a=MAV_ROI_NONE", json!("MAV_ROI_NONE")),
            ("a=A|B", json!("A|B")),
            // No numbers of JSON: the catalogue refuses them by name where a number is needed.
            ("a=NaN", json!("NaN")),
            ("a=007", json!("007")),
            ("a=+5", json!("+5")),
            ("a=1 2", json!("1 2")),
            ("a=", json!("")),
            ("a=b=c", json!("b=c")),
            ("a=[1]", json!("[1]")),
        ] {
            assert_eq!(read(text), Ok(("a".to_owned(), value)), "{text}");
        }
    }

    #[test]
    fn what_is_no_assignment() {
        for text in ["", "a", "=", "=1"] {
            assert!(read(text).unwrap_err().contains("FIELD=VALUE"), "{text}");
        }
    }
}
