//! A schema as JSON Schema, in the dialect of `OpenAPI` 3.1.

use super::{Field, Form, Kind, Schema, Text, Variant};
use serde_json::{Map, Value, json};

impl Schema {
    /// The schema as JSON; what has a name goes into `named` and is referred to.
    pub fn document(&self, named: &mut Map<String, Value>) -> Value {
        let mut document = match self.name {
            None => self.written_out(named),
            Some(name) => {
                if !named.contains_key(name) {
                    // A name first, so that a schema that holds itself comes to an end.
                    named.insert(name.to_owned(), Value::Null);
                    let written = self.written_out(named);
                    named.insert(name.to_owned(), written);
                }
                json!({"$ref": format!("#/components/schemas/{name}")})
            }
        };
        if self.nullable {
            document = or_null(document);
        }
        if !self.about.is_empty()
            && let Value::Object(fields) = &mut document
        {
            fields.insert("description".to_owned(), self.about.into());
        }
        document
    }

    fn written_out(&self, named: &mut Map<String, Value>) -> Value {
        match &self.kind {
            Kind::Any => json!({}),
            Kind::Boolean => json!({"type": "boolean"}),
            Kind::Integer { least, most } => json!({"type": "integer", "minimum": least, "maximum": most}),
            Kind::Number { least, most } => json!({"type": "number", "minimum": least, "maximum": most}),
            Kind::Text(text) => text.document(),
            Kind::Choice { allowed, .. } => match allowed[..] {
                [only] => json!({"type": "string", "const": only}),
                _ => json!({"type": "string", "enum": allowed}),
            },
            Kind::List { of, most } => {
                json!({"type": "array", "items": of.document(named), "maxItems": most})
            }
            Kind::Map { of, key, most } => json!({
                "type": "object",
                "additionalProperties": of.document(named),
                "propertyNames": key.document(),
                "maxProperties": most,
            }),
            Kind::Object { fields, open } => object(fields, *open, None, named),
            Kind::Tagged { tag, variants } => tagged(tag, variants, named),
            Kind::Either(schemas) => {
                let schemas: Vec<Value> = schemas.iter().map(|schema| schema.document(named)).collect();
                json!({"anyOf": schemas})
            }
            Kind::Unsupported => {
                json!({"enum": [null, [], {}], "description": "Not supported by this server yet."})
            }
        }
    }
}

impl Text {
    fn document(&self) -> Value {
        let Self { least, most, form } = self;
        match form {
            Form::Any => json!({"type": "string", "minLength": least, "maxLength": most}),
            Form::Characters(class, _) => json!({
                "type": "string",
                "minLength": least,
                "maxLength": most,
                "pattern": format!("^{class}*$"),
            }),
            Form::Timestamp => json!({"type": "string", "format": "date-time"}),
        }
    }
}

fn or_null(mut document: Value) -> Value {
    if let Some(kind) = document.get("type").and_then(Value::as_str).map(str::to_owned)
        && document.get("const").is_none()
        && document.get("enum").is_none()
    {
        document["type"] = json!([kind, "null"]);
        return document;
    }
    json!({"anyOf": [document, {"type": "null"}]})
}

fn object(fields: &[Field], open: bool, tag: Option<(&str, &str)>, named: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    if let Some((tag, value)) = tag {
        properties.insert(tag.to_owned(), json!({"type": "string", "const": value}));
        required.push(tag);
    }
    for field in fields {
        properties.insert(field.name.to_owned(), field.schema.document(named));
        if field.required {
            required.push(field.name);
        }
    }
    let mut document = json!({"type": "object", "properties": properties, "additionalProperties": open});
    if !required.is_empty() {
        document["required"] = json!(required);
    }
    document
}

/// What is not supported is not offered.
fn tagged(tag: &str, variants: &[Variant], named: &mut Map<String, Value>) -> Value {
    let mut written = Vec::new();
    for variant in variants {
        if let Kind::Object { fields, open } = &variant.schema.kind {
            written.push(object(fields, *open, Some((tag, variant.value)), named));
        }
    }
    match written.len() {
        1 => written.remove(0),
        _ => json!({"oneOf": written}),
    }
}
