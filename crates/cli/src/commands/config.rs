//! `hostler config`: the configuration file of a server, and what is in force.

use crate::arguments::ConfigCommand;
use crate::layers::{Layers, Source};
use crate::settings::{self, ADMIN_KEY, MODEL_KEY};
use configuration::{REFERENCE, in_order, shown};
use std::fmt::Write as _;
use std::path::Path;
use terminal::{Environment, Failure, Terminal};

const COLUMNS: usize = 46;

pub(crate) fn config(
    command: &ConfigCommand,
    environment: &Environment,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    match command {
        ConfigCommand::Default => terminal.output(REFERENCE.as_bytes()),
        ConfigCommand::Check { file } => {
            let found = in_force(file.as_deref(), environment)?;
            terminal.output(found.text.as_bytes());
            found.notes.iter().for_each(|note| terminal.line(note));
        }
    }
    Ok(())
}

struct Found {
    /// A configuration file that says the same.
    text: String,
    /// Of the keys, which are not shown.
    notes: Vec<String>,
}

/// Without flags: nobody has said any yet.
fn in_force(file: Option<&Path>, environment: &Environment) -> Result<Found, Failure> {
    let mut layers = Layers::find(file, environment)?;
    layers.add_environment(environment)?;
    layers.add_usual_data(environment)?;
    settings::check(&layers)?;
    let mut text = match &layers.document {
        Some(document) => format!("# {}", document.path.display()),
        None => "# no configuration file".to_owned(),
    };
    let values = layers.values();
    let mut begun = None;
    for (table, name) in in_order() {
        let key = table.map_or_else(|| name.to_owned(), |table| format!("{table}.{name}"));
        let Some(value) = values.get(&key) else { continue };
        if begun != table {
            let _ = write!(text, "\n\n[{}]", table.unwrap_or_default());
            begun = table;
        }
        let line = format!("{name} = {}", shown(value));
        match layers.source(&key) {
            Source::Default => drop(write!(text, "\n{line}")),
            source => drop(write!(text, "\n{line:<COLUMNS$}  # {source}")),
        }
    }
    text.push('\n');
    Ok(Found {
        text,
        notes: notes(&layers, environment)?,
    })
}

fn notes(layers: &Layers, environment: &Environment) -> Result<Vec<String>, Failure> {
    let in_file = settings::model_key(layers)?.is_some();
    let model = match (environment.api_key.is_some(), in_file) {
        (true, _) => "the model's key is that of ANTHROPIC_API_KEY".to_owned(),
        (false, true) => format!("the model's key is that of `{MODEL_KEY}`"),
        (false, false) => format!("there is no key for the model: set ANTHROPIC_API_KEY or `{MODEL_KEY}`"),
    };
    let admin = match settings::admin_key(layers, environment)? {
        Some(given) if given.file.is_none() => "the admin key is that of HOSTLER_API_KEY".to_owned(),
        Some(_) => format!("the admin key is that of `{ADMIN_KEY}`"),
        None => "the admin key is the one in the data directory".to_owned(),
    };
    Ok(vec![model, admin])
}
