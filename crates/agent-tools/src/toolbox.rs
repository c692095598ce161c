//! The one way in: finds the tool, holds its input against the schema, runs it off the async threads.

use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::memory::Memory;
use crate::place::Place;
use crate::shell::Shell;
use crate::{Definition, Kind, Outcome, Settings, bash, edit, glob, grep, input, read, write};

/// The tools of one session. Calls of [`Concurrency::Safe`](crate::Concurrency) tools may run at the same time.
pub struct Toolbox {
    definitions: Vec<Definition>,
    settings: Arc<Settings>,
    files: Arc<Files>,
    shell: Shell,
}

/// What the file tools share.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) place: Arc<Place>,
    pub(crate) memory: Memory,
}

impl Toolbox {
    /// Starts nothing: the shell starts with the first command.
    pub fn new(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        let place = Arc::new(Place::new(settings.cwd.clone()));
        Self {
            definitions: vec![
                bash::definition(&settings),
                read::definition(),
                write::definition(),
                edit::definition(),
                glob::definition(),
                grep::definition(),
            ],
            shell: Shell::new(Arc::clone(&settings), Arc::clone(&place)),
            files: Arc::new(Files {
                place,
                memory: Memory::default(),
            }),
            settings,
        }
    }

    pub fn definitions(&self) -> Vec<Definition> {
        self.definitions.clone()
    }

    /// The directory the shell is in.
    pub fn current_directory(&self) -> PathBuf {
        self.files.place.current()
    }

    /// Runs one call. `cancel` interrupts it: the answer then comes within seconds, and the toolbox stays usable.
    pub async fn call(&self, name: &str, input: Value, cancel: CancellationToken) -> Outcome {
        let Some(definition) = self.definitions.iter().find(|definition| definition.name == name) else {
            return Outcome::refused(format!("Error: No such tool available: {name}"));
        };
        if let Some(misfit) = input::misfit(name, &definition.input_schema, &input) {
            return Outcome::refused(misfit);
        }
        if cancel.is_cancelled() {
            return Outcome::interrupted();
        }
        // A change to a file is quick and is told as it was: an interrupt doesn't turn it into a half-known one.
        let cancel = if definition.kind == Kind::Edit {
            CancellationToken::new()
        } else {
            cancel
        };
        match definition.name {
            bash::NAME => match parse(input) {
                Ok(input) => bash::call(&self.shell, &self.settings, input, cancel).await,
                Err(refusal) => refusal,
            },
            read::NAME => self.off_thread(input, cancel, read::call).await,
            write::NAME => self.off_thread(input, cancel, write::call).await,
            edit::NAME => self.off_thread(input, cancel, edit::call).await,
            glob::NAME => self.off_thread(input, cancel, glob::call).await,
            _ => self.off_thread(input, cancel, grep::call).await,
        }
    }

    /// Takes files as read, as they are now: for a session that goes on with its history.
    pub fn note_files_read(&self, paths: impl IntoIterator<Item = PathBuf>) {
        for path in paths {
            self.files.memory.remember_as_it_is(&path);
        }
    }

    /// Ends the shell and everything it started. Later commands start a new shell.
    pub async fn shutdown(&self) {
        self.shell.end().await;
    }

    async fn off_thread<Input: DeserializeOwned + Send + 'static>(
        &self,
        input: Value,
        cancel: CancellationToken,
        tool: fn(&Files, &Input, &CancellationToken) -> Outcome,
    ) -> Outcome {
        let input = match parse(input) {
            Ok(input) => input,
            Err(refusal) => return refusal,
        };
        let files = Arc::clone(&self.files);
        let seen = cancel.clone();
        let work = tokio::task::spawn_blocking(move || tool(&files, &input, &seen));
        tokio::select! {
            biased;
            done = work => done.unwrap_or_else(|failure| {
                tracing::error!(%failure, "a tool ended abnormally");
                Outcome::failed("The tool ended abnormally; the call had no result")
            }),
            () = cancel.cancelled() => Outcome::interrupted(),
        }
    }
}

fn parse<Input: DeserializeOwned>(input: Value) -> Result<Input, Outcome> {
    serde_json::from_value(input).map_err(|error| Outcome::refused(format!("InputValidationError: {error}")))
}
