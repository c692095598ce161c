//! The query of a URL against an object's schema: each parameter becomes the JSON that it stands for.

use super::{Field, Kind, Schema};
use crate::Invalid;
use crate::invalid::shown;
use serde_json::{Map, Value};

/// Sent by older clients with every request, and without a meaning here.
const IGNORED: &str = "beta";

impl Schema {
    /// The fields of an object, for who prints them.
    pub fn fields(&self) -> &[Field] {
        match &self.kind {
            Kind::Object { fields, .. } => fields,
            _ => &[],
        }
    }

    /// Reads decoded parameters. One that is not known is refused; a list's may be repeated.
    pub fn read_query(&self, parameters: &[(String, String)]) -> Result<Value, Invalid> {
        let mut read = Map::new();
        for (name, text) in parameters.iter().filter(|(name, _)| name != IGNORED) {
            let Some(field) = self.fields().iter().find(|field| field.name == name) else {
                return Err(self.unknown(name));
            };
            let wrong = |invalid: Invalid| invalid.under(name);
            if let Kind::List { of, .. } = &field.schema.kind {
                let value = of.read_parameter(text).map_err(wrong)?;
                if let Value::Array(items) = read.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                    items.push(value);
                }
            } else {
                let value = field.schema.read_parameter(text).map_err(wrong)?;
                if read.insert(name.clone(), value).is_some() {
                    return Err(Invalid::new(name, "is given twice"));
                }
            }
        }
        Ok(Value::Object(read))
    }

    fn unknown(&self, name: &str) -> Invalid {
        let names: Vec<&str> = self.fields().iter().map(|field| field.name).collect();
        let there = match names[..] {
            [] => "there are none".to_owned(),
            _ => format!("there are {}", names.join(", ")),
        };
        Invalid::new(shown(name), format!("is not a parameter here; {there}"))
    }

    fn read_parameter(&self, text: &str) -> Result<Value, Invalid> {
        match &self.kind {
            Kind::Boolean => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(Invalid::new("", "must be true or false")),
            },
            Kind::Integer { .. } => {
                let number: Result<i64, _> = text.parse();
                Ok(number
                    .map_err(|_| Invalid::new("", "must be a whole number"))?
                    .into())
            }
            _ => Ok(Value::String(text.to_owned())),
        }
    }
}

impl Field {
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn is_required(&self) -> bool {
        self.required
    }

    pub fn schema(&self) -> &Schema {
        &self.schema
    }
}

#[cfg(test)]
mod tests {
    use crate::schema::{boolean, choice, integer, list, object, optional, text};
    use serde_json::json;

    fn read(parameters: &[(&str, &str)]) -> Result<serde_json::Value, String> {
        let schema = object([
            optional("limit", integer(1..=100)),
            optional("page", text(1..=10)),
            optional("include_archived", boolean()),
            optional("statuses[]", list(choice(["idle", "running"]), 2)),
        ]);
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let parameters: Vec<_> = parameters.iter().map(own).collect();
        let value = schema
            .read_query(&parameters)
            .map_err(|invalid| invalid.to_string())?;
        schema.check(&value).map_err(|invalid| invalid.to_string())?;
        Ok(value)
    }

    #[test]
    fn parameters_become_what_they_stand_for() {
        let given = [
            ("beta", "true"),
            ("limit", "7"),
            ("page", "7"),
            ("include_archived", "false"),
            ("statuses[]", "idle"),
            ("statuses[]", "running"),
        ];
        let expected =
            json!({"limit": 7, "page": "7", "include_archived": false, "statuses[]": ["idle", "running"]});
        assert_eq!(read(&given), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_said_by_name() {
        let table = [
            (vec![("limit", "x")], "limit: must be a whole number"),
            (
                vec![("limit", "101")],
                "limit: must be a whole number from 1 to 100, and not 101",
            ),
            (vec![("limit", "1"), ("limit", "2")], "limit: is given twice"),
            (
                vec![("include_archived", "1")],
                "include_archived: must be true or false",
            ),
            (
                vec![("statuses[]", "gone")],
                "statuses[][0]: must be one of idle, running, and not \"gone\"",
            ),
            (
                vec![("sort", "x")],
                "sort: is not a parameter here; there are limit, page, include_archived, statuses[]",
            ),
        ];
        for (parameters, expected) in table {
            assert_eq!(read(&parameters).unwrap_err(), expected);
        }
    }
}
