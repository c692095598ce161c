//! The store of one data directory: an `SQLite` file with agents, environments, keys, the sessions, their event logs,
//! sandboxes, model calls and egress decisions.
//!
//! Whatever a method has answered `Ok` to is on the disk. There is one writer, which puts what waits for it into one
//! commit; readers never wait for it. A session's log takes an append only from its present owner, told by the epoch.

pub mod agents;
pub mod append;
pub mod census;
pub mod egress_audit;
pub mod environments;
pub mod error;
pub mod event_pages;
pub mod events;
pub mod hosted;
pub mod instance;
pub mod keys;
pub mod model_calls;
pub mod refused;
pub mod sandboxes;
pub mod sessions;
pub mod successor;

mod moment;
mod schema;
mod writer;

pub use agents::AgentFilter;
pub use append::{Append, Appended, ChangedSettings, Lines, NewEvent, TurnChange};
pub use census::Census;
pub use egress_audit::Decision;
pub use error::{Error, OpenError};
pub use event_pages::EventFilter;
pub use events::Query;
pub use hosted::SessionFilter;
pub use instance::{Instance, InstanceError};
pub use keys::{Key, KeyHash, NewKey};
pub use model_calls::{CallId, Closed, NewCall, Outcome, RecordedCall, Sums};
pub use refused::Refused;
pub use sandboxes::{Sandbox, SandboxChange};
pub use sessions::{Hosting, NewSession, Session};
pub use successor::Watch;
pub use wire::LoggedEvent;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const FILE: &str = "hostler.db";
const READERS: u32 = 4;

/// A handle to the store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: writer::Writer,
    readers: SqlitePool,
    /// Counts the model calls that were closed by this process.
    calls_closed: watch::Sender<u64>,
    instance: Instance,
}

impl Store {
    /// Opens the database of a locked data directory, making or migrating it.
    pub async fn open(instance: Instance) -> Result<Self, OpenError> {
        let path = instance.directory().join(FILE);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let connection = schema::connect_and_migrate(&options, &path).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options.create_if_missing(false).read_only(true))
            .await
            .map_err(|source| OpenError::database(path, source))?;
        let writer = writer::Writer::start(connection);
        let store = Self {
            inner: Arc::new(Inner {
                writer,
                readers,
                calls_closed: watch::Sender::new(0),
                instance,
            }),
        };
        store.record_instance().await?;
        Ok(store)
    }

    pub fn instance(&self) -> &Instance {
        &self.inner.instance
    }

    /// Waits until everything that was asked for is written and closes the database. Later calls answer
    /// [`Error::Closed`].
    pub async fn close(&self) {
        // The writer last: whoever closes last moves the log into the database, and only it may write.
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }

    fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }
}
