//! What a JSON value has to look like, said once: requests are checked by it, and the served `OpenAPI` document is
//! printed from it, so that neither can say what the other does not.
//!
//! A schema is data made by the functions here. An object takes no field that it does not name. What the API has and
//! this server does not have yet is in a schema too ([`unsupported`]), so that it is refused by its name.

mod check;
mod document;
mod query;

use std::ops::RangeInclusive;

#[derive(Debug, Clone)]
pub struct Schema {
    kind: Kind,
    nullable: bool,
    about: &'static str,
    name: Option<&'static str>,
    code: Option<&'static str>,
}

#[derive(Debug, Clone)]
enum Kind {
    Any,
    Boolean,
    Integer {
        least: i64,
        most: i64,
    },
    Number {
        least: f64,
        most: f64,
    },
    Text(Text),
    Choice {
        allowed: Vec<&'static str>,
        later: Vec<&'static str>,
    },
    List {
        of: Box<Schema>,
        most: usize,
    },
    Map {
        of: Box<Schema>,
        key: Text,
        most: usize,
    },
    Object {
        fields: Vec<Field>,
        open: bool,
    },
    Tagged {
        tag: &'static str,
        variants: Vec<Variant>,
    },
    Either(Vec<Schema>),
    Unsupported,
}

#[derive(Debug, Clone)]
struct Text {
    least: usize,
    most: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Any,
    /// As a class of a regular expression, and as what it means.
    Characters(&'static str, fn(char) -> bool),
    /// RFC 3339.
    Timestamp,
}

/// A field of an object.
#[derive(Debug, Clone)]
pub struct Field {
    name: &'static str,
    required: bool,
    schema: Schema,
}

/// One of several objects, told apart by a field.
#[derive(Debug, Clone)]
pub struct Variant {
    value: &'static str,
    schema: Schema,
}

impl Kind {
    fn schema(self) -> Schema {
        Schema {
            kind: self,
            nullable: false,
            about: "",
            name: None,
            code: None,
        }
    }
}

/// Any value at all.
pub fn any() -> Schema {
    Kind::Any.schema()
}

pub fn boolean() -> Schema {
    Kind::Boolean.schema()
}

pub fn integer(range: RangeInclusive<i64>) -> Schema {
    let (least, most) = range.into_inner();
    Kind::Integer { least, most }.schema()
}

pub fn number(range: RangeInclusive<f64>) -> Schema {
    let (least, most) = range.into_inner();
    Kind::Number { least, most }.schema()
}

/// Text with a number of characters.
pub fn text(characters: RangeInclusive<usize>) -> Schema {
    let (least, most) = characters.into_inner();
    let form = Form::Any;
    Kind::Text(Text { least, most, form }).schema()
}

/// Text of some characters only; `class` is how a regular expression writes them.
pub fn text_of(characters: RangeInclusive<usize>, class: &'static str, allowed: fn(char) -> bool) -> Schema {
    let (least, most) = characters.into_inner();
    let form = Form::Characters(class, allowed);
    Kind::Text(Text { least, most, form }).schema()
}

/// A point in time, as RFC 3339 writes it.
pub fn timestamp() -> Schema {
    let form = Form::Timestamp;
    Kind::Text(Text {
        least: 1,
        most: 64,
        form,
    })
    .schema()
}

pub fn choice<const N: usize>(allowed: [&'static str; N]) -> Schema {
    Kind::Choice {
        allowed: allowed.to_vec(),
        later: Vec::new(),
    }
    .schema()
}

pub fn list(of: Schema, most: usize) -> Schema {
    Kind::List {
        of: Box::new(of),
        most,
    }
    .schema()
}

/// An object whose names are data, each with at most so many characters.
pub fn map(of: Schema, most: usize, key_characters: usize) -> Schema {
    let key = Text {
        least: 1,
        most: key_characters,
        form: Form::Any,
    };
    Kind::Map {
        of: Box::new(of),
        key,
        most,
    }
    .schema()
}

pub fn object(fields: impl IntoIterator<Item = Field>) -> Schema {
    Kind::Object {
        fields: fields.into_iter().collect(),
        open: false,
    }
    .schema()
}

/// One of several objects, told apart by the field `tag`, which the variants do not name themselves.
pub fn tagged(tag: &'static str, variants: impl IntoIterator<Item = Variant>) -> Schema {
    Kind::Tagged {
        tag,
        variants: variants.into_iter().collect(),
    }
    .schema()
}

/// One of several, told apart by their JSON type.
pub fn either(schemas: impl IntoIterator<Item = Schema>) -> Schema {
    Kind::Either(schemas.into_iter().collect()).schema()
}

/// Nothing but `null`, an empty list or an empty object is taken.
pub fn unsupported() -> Schema {
    Kind::Unsupported.schema()
}

pub fn required(name: &'static str, schema: Schema) -> Field {
    Field {
        name,
        required: true,
        schema,
    }
}

pub fn optional(name: &'static str, schema: Schema) -> Field {
    Field {
        name,
        required: false,
        schema,
    }
}

pub fn variant(value: &'static str, schema: Schema) -> Variant {
    Variant { value, schema }
}

/// A field that always has this value.
pub fn constant(name: &'static str, value: &'static str) -> Field {
    required(name, choice([value]))
}

impl Schema {
    #[must_use]
    pub fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// For people who read the document.
    #[must_use]
    pub fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Printed once, under this name, and referred to.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// The API's word for whatever is wrong here.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// An object that takes other fields too.
    #[must_use]
    pub fn open(mut self) -> Self {
        if let Kind::Object { open, .. } = &mut self.kind {
            *open = true;
        }
        self
    }

    /// Choices that the API has, and this server does not have yet.
    #[must_use]
    pub fn later<const N: usize>(mut self, values: [&'static str; N]) -> Self {
        if let Kind::Choice { later, .. } = &mut self.kind {
            later.extend(values);
        }
        self
    }
}
