//! What the loop needs of tools: their definitions and a way to call them. `agent_tools::Toolbox` in the product.

use agent_tools::{Definition, Outcome, Toolbox};
use serde_json::Value;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use tokio_util::sync::CancellationToken;

/// Tools by name. A call ends soon after its token is cancelled, and never fails: what goes wrong is its outcome.
pub trait Tools {
    fn definitions(&self) -> Vec<Definition>;

    fn call<'a>(
        &'a self,
        name: &'a str,
        input: Value,
        cancel: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

    /// What relative paths in inputs are taken from.
    fn current_directory(&self) -> PathBuf;

    /// Files that the conversation has read already, in a session that goes on.
    fn note_files_read(&self, paths: Vec<PathBuf>);

    /// Ends whatever calls have started.
    fn shutdown<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + 'a>>;
}

impl Tools for Toolbox {
    fn definitions(&self) -> Vec<Definition> {
        Toolbox::definitions(self)
    }

    fn call<'a>(
        &'a self,
        name: &'a str,
        input: Value,
        cancel: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Outcome> + 'a>> {
        Box::pin(Toolbox::call(self, name, input, cancel))
    }

    fn current_directory(&self) -> PathBuf {
        Toolbox::current_directory(self)
    }

    fn note_files_read(&self, paths: Vec<PathBuf>) {
        Toolbox::note_files_read(self, paths);
    }

    fn shutdown<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(Toolbox::shutdown(self))
    }
}
