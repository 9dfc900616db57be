//! A number of the table in JSON.

use serde_json::Value;

/// As the XML writes it: 359.99, which as a double has more digits, and 255 rather than 255.0.
pub fn json_number(number: f32) -> Value {
    match number.fract() == 0.0 && number.abs() < 9e15 {
        true => Value::from(number as i64),
        false => Value::from(number.to_string().parse::<f64>().unwrap_or_else(|_| number.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_in_the_xml() {
        for (number, text) in [(255.0, "255"), (-1.0, "-1"), (0.0, "0"), (359.99, "359.99")] {
            assert_eq!(json_number(number).to_string(), text);
        }
        assert_eq!(json_number(f32::NAN), Value::Null);
    }
}
