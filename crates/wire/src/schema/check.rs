//! A value against a schema: the first thing that is wrong, by its path.

use super::{Field, Form, Kind, Schema, Text, Variant};
use crate::invalid::{Invalid, shown};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

type Checked = Result<(), Invalid>;

impl Schema {
    pub fn check(&self, value: &Value) -> Checked {
        if value.is_null() && (self.nullable || matches!(self.kind, Kind::Any | Kind::Unsupported)) {
            return Ok(());
        }
        self.check_kind(value).map_err(|invalid| match self.code {
            Some(code) => invalid.with_code(code),
            None => invalid,
        })
    }

    fn check_kind(&self, value: &Value) -> Checked {
        match &self.kind {
            Kind::Any => Ok(()),
            Kind::Boolean => want(value.is_boolean(), value, "true or false"),
            Kind::Integer { least, most } => integer(value, *least, *most),
            Kind::Number { least, most } => number(value, *least, *most),
            Kind::Text(text) => text.check(string(value)?),
            Kind::Choice { allowed, later } => choice(string(value)?, allowed, later),
            Kind::List { of, most } => list(value, of, *most),
            Kind::Map { of, key, most } => map(value, of, key, *most),
            Kind::Object { fields, open } => object(value, fields, *open, None),
            Kind::Tagged { tag, variants } => tagged(value, tag, variants),
            Kind::Either(schemas) => either(value, schemas),
            Kind::Unsupported => empty(value),
        }
    }

    /// Whether it is about values of this JSON type at all.
    fn suits(&self, value: &Value) -> bool {
        match &self.kind {
            Kind::Any | Kind::Unsupported => true,
            Kind::Boolean => value.is_boolean(),
            Kind::Integer { .. } | Kind::Number { .. } => value.is_number(),
            Kind::Text(_) | Kind::Choice { .. } => value.is_string(),
            Kind::List { .. } => value.is_array(),
            Kind::Map { .. } | Kind::Object { .. } | Kind::Tagged { .. } => value.is_object(),
            Kind::Either(schemas) => schemas.iter().any(|schema| schema.suits(value)),
        }
    }

    fn wanted(&self) -> &'static str {
        match &self.kind {
            Kind::Any | Kind::Unsupported => "any value",
            Kind::Boolean => "true or false",
            Kind::Integer { .. } => "a whole number",
            Kind::Number { .. } => "a number",
            Kind::Text(_) | Kind::Choice { .. } => "a string",
            Kind::List { .. } => "an array",
            Kind::Map { .. } | Kind::Object { .. } | Kind::Tagged { .. } => "an object",
            Kind::Either(_) => "one of several types",
        }
    }
}

impl Text {
    fn check(&self, text: &str) -> Checked {
        let characters = text.chars().count();
        if !(self.least..=self.most).contains(&characters) {
            let (least, most) = (self.least, self.most);
            let problem = format!("must have {least} to {most} characters, and has {characters}");
            return Err(Invalid::new("", problem));
        }
        match self.form {
            Form::Any => Ok(()),
            Form::Characters(class, allowed) => match text.chars().find(|character| !allowed(*character)) {
                None => Ok(()),
                Some(wrong) => Err(Invalid::new(
                    "",
                    format!("must have characters of {class} only, and has {wrong:?}"),
                )),
            },
            Form::Timestamp => match OffsetDateTime::parse(text, &Rfc3339) {
                Ok(_) => Ok(()),
                Err(_) => Err(Invalid::new(
                    "",
                    format!(
                        "must be a time as in RFC 3339, like 2026-01-31T12:00:00Z, and not {:?}",
                        shown(text)
                    ),
                )),
            },
        }
    }
}

fn want(fits: bool, value: &Value, wanted: &str) -> Checked {
    if fits {
        return Ok(());
    }
    Err(Invalid::new(
        "",
        format!("must be {wanted}, and not {}", what(value)),
    ))
}

fn what(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn string(value: &Value) -> Result<&str, Invalid> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(Invalid::new(
            "",
            format!("must be a string, and not {}", what(other)),
        )),
    }
}

fn integer(value: &Value, least: i64, most: i64) -> Checked {
    want(value.is_number(), value, "a whole number")?;
    match value.as_i64() {
        Some(number) if (least..=most).contains(&number) => Ok(()),
        _ => Err(Invalid::new(
            "",
            format!("must be a whole number from {least} to {most}, and not {value}"),
        )),
    }
}

fn number(value: &Value, least: f64, most: f64) -> Checked {
    want(value.is_number(), value, "a number")?;
    match value.as_f64() {
        Some(number) if (least..=most).contains(&number) => Ok(()),
        _ => Err(Invalid::new(
            "",
            format!("must be a number from {least} to {most}, and not {value}"),
        )),
    }
}

fn choice(text: &str, allowed: &[&'static str], later: &[&'static str]) -> Checked {
    if allowed.contains(&text) {
        return Ok(());
    }
    if let Some(name) = later.iter().find(|name| **name == text) {
        return Err(Invalid::unsupported("", name));
    }
    let allowed = allowed.join(", ");
    Err(Invalid::new(
        "",
        format!("must be one of {allowed}, and not {:?}", shown(text)),
    ))
}

fn list(value: &Value, of: &Schema, most: usize) -> Checked {
    let Value::Array(items) = value else {
        return want(false, value, "an array");
    };
    if items.len() > most {
        let problem = format!("must have at most {most} items, and has {}", items.len());
        return Err(Invalid::new("", problem));
    }
    let mut items = items.iter().enumerate();
    items.try_for_each(|(index, item)| of.check(item).map_err(|invalid| invalid.at(index)))
}

fn map(value: &Value, of: &Schema, key: &Text, most: usize) -> Checked {
    let Value::Object(pairs) = value else {
        return want(false, value, "an object");
    };
    if pairs.len() > most {
        let problem = format!("must have at most {most} keys, and has {}", pairs.len());
        return Err(Invalid::new("", problem));
    }
    pairs.iter().try_for_each(|(name, value)| {
        key.check(name)
            .map_err(|invalid| Invalid::new("", format!("the key {:?} {}", shown(name), invalid.problem)))?;
        of.check(value).map_err(|invalid| invalid.under(name))
    })
}

/// `tag` is a field that has been checked already.
fn object(value: &Value, fields: &[Field], open: bool, tag: Option<&str>) -> Checked {
    let Value::Object(given) = value else {
        return want(false, value, "an object");
    };
    if !open {
        refuse_unknown(given, fields, tag)?;
    }
    for field in fields {
        match given.get(field.name) {
            Some(value) => field.check(value)?,
            None if field.required => return Err(Invalid::new(field.name, "is required")),
            None => {}
        }
    }
    Ok(())
}

impl Field {
    fn check(&self, value: &Value) -> Checked {
        let checked = match self.schema.kind {
            Kind::Unsupported => empty(value).map_err(|_| Invalid::unsupported("", self.name)),
            _ => self.schema.check(value),
        };
        checked.map_err(|invalid| invalid.under(self.name))
    }
}

fn refuse_unknown(given: &Map<String, Value>, fields: &[Field], tag: Option<&str>) -> Checked {
    let known = |name: &str| tag == Some(name) || fields.iter().any(|field| field.name == name);
    match given.keys().find(|name| !known(name)) {
        None => Ok(()),
        Some(unknown) => {
            let names: Vec<&str> = tag
                .into_iter()
                .chain(fields.iter().map(|field| field.name))
                .collect();
            let problem = format!("is not a field here; there are {}", names.join(", "));
            Err(Invalid::new("", problem).under(unknown))
        }
    }
}

fn tagged(value: &Value, tag: &str, variants: &[Variant]) -> Checked {
    let Value::Object(given) = value else {
        return want(false, value, "an object");
    };
    let Some(named) = given.get(tag) else {
        return Err(Invalid::new(tag, "is required"));
    };
    let named = string(named).map_err(|invalid| invalid.under(tag))?;
    let Some(found) = variants.iter().find(|variant| variant.value == named) else {
        let allowed: Vec<&str> = variants.iter().map(|variant| variant.value).collect();
        return choice(named, &allowed, &[]).map_err(|invalid| invalid.under(tag));
    };
    match &found.schema.kind {
        Kind::Object { fields, open } => object(value, fields, *open, Some(tag)),
        Kind::Unsupported => Err(Invalid::unsupported(tag, found.value)),
        _ => found.schema.check(value),
    }
}

fn either(value: &Value, schemas: &[Schema]) -> Checked {
    if let Some(schema) = schemas.iter().find(|schema| schema.suits(value)) {
        return schema.check(value);
    }
    let wanted: Vec<&str> = schemas.iter().map(Schema::wanted).collect();
    want(false, value, &wanted.join(" or "))
}

fn empty(value: &Value) -> Checked {
    let empty = match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    if empty {
        Ok(())
    } else {
        Err(Invalid::unsupported("", "this"))
    }
}
