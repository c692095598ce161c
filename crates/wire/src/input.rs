//! How a request's body becomes a value: its schema first, then its type, then what neither can say.

use crate::Invalid;
use crate::schema::Schema;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a request carries.
pub trait Input: DeserializeOwned {
    fn schema() -> Schema;

    /// What holds between fields.
    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }

    fn read(value: Value) -> Result<Self, Invalid> {
        refuse_nul(&value)?;
        Self::schema().check(&value)?;
        let input: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            Invalid::new(if path == "." { "" } else { &path }, error.inner().to_string())
        })?;
        input.check()?;
        Ok(input)
    }
}

/// No string holds a NUL: databases and processes end a text there.
fn refuse_nul(value: &Value) -> Result<(), Invalid> {
    let wrong = || Invalid::new("", "must not hold a NUL character");
    match value {
        Value::String(text) if text.contains('\0') => Err(wrong()),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(index, item)| refuse_nul(item).map_err(|invalid| invalid.at(index)))
        }
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            if name.contains('\0') {
                return Err(Invalid::new("", "a key must not hold a NUL character"));
            }
            refuse_nul(field).map_err(|invalid| invalid.under(name))
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{integer, list, object, required};
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    struct Numbers {
        numbers: Vec<u8>,
    }

    impl Input for Numbers {
        fn schema() -> Schema {
            object([required("numbers", list(integer(0..=1000), 3))])
        }

        fn check(&self) -> Result<(), Invalid> {
            if self.numbers.is_empty() {
                return Err(Invalid::new("numbers", "must not be empty"));
            }
            Ok(())
        }
    }

    #[test]
    fn schema_type_and_check_all_name_the_field() {
        let table = [
            (
                json!({"numbers": [1, "2"]}),
                "numbers[1]: must be a whole number, and not a string",
            ),
            (
                json!({"numbers": [1, 300]}),
                "numbers[1]: invalid value: integer `300`, expected u8",
            ),
            (json!({"numbers": []}), "numbers: must not be empty"),
            (
                json!({"numbers": [], "a\0": 1}),
                "the request: a key must not hold a NUL character",
            ),
            (
                json!({"numbers": ["\0"]}),
                "numbers[0]: must not hold a NUL character",
            ),
            (json!([]), "the request: must be an object, and not an array"),
        ];
        for (value, expected) in table {
            assert_eq!(Numbers::read(value).unwrap_err().to_string(), expected);
        }
        assert_eq!(Numbers::read(json!({"numbers": [7]})).unwrap().numbers, [7]);
    }
}
