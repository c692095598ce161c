//! Where the sessions are: with a server, or in a data directory that nobody uses. From the directory they are only read:
//! what a server left there goes on with the next one.

use crate::arguments::PlaceArguments;
use crate::entry::Entry;
use crate::reach::{Reach, Server, flags, quoted};
use client::{ClientError, EventQuery};
use domain::SessionId;
use std::path::{Path, PathBuf};
use store::{Query, Store};
use terminal::{Environment, Failure};
use wire::page::Order;

const PAGE: usize = 500;

pub(super) enum Place {
    Server(Box<Server>),
    Store(Store),
    /// There is no data directory yet.
    Nothing {
        data: PathBuf,
    },
}

impl Place {
    pub(super) async fn find(arguments: &PlaceArguments, environment: &Environment) -> Result<Self, Failure> {
        match Reach::find(&arguments.data, arguments.workspace.as_ref(), environment)? {
            Reach::Server(server) => Ok(Self::Server(server)),
            Reach::Nothing { data } => Ok(Self::Nothing { data }),
            Reach::Directory(instance) => {
                let store = Store::open(instance).await;
                Ok(Self::Store(
                    store.map_err(|error| Failure::failed("store", error))?,
                ))
            }
        }
    }

    pub(super) async fn close(self) {
        if let Self::Store(store) = self {
            store.close().await;
        }
    }

    /// The events of a session, the oldest first; of these types, or of all where there are none.
    pub(super) fn events<'a>(&'a self, session: &'a SessionId, types: &'a [String]) -> Pages<'a> {
        Pages {
            place: self,
            session,
            types,
            cursor: None,
            after: 0,
            over: false,
        }
    }
}

/// A server that runs: nobody else acts on what is sent.
pub(super) fn server(arguments: &PlaceArguments, environment: &Environment) -> Result<Box<Server>, Failure> {
    let data = match Reach::find(&arguments.data, arguments.workspace.as_ref(), environment)? {
        Reach::Server(server) => return Ok(server),
        Reach::Directory(instance) => instance.directory().to_owned(),
        Reach::Nothing { data } => data,
    };
    let named = quoted(&data.to_string_lossy());
    let message = format!(
        "no server runs on {}, and only a server's sessions take part in this",
        data.display()
    );
    Err(Failure::said("no_server", message).hint(format!(
        "start one: hostler serve --data {named}; or name one that runs elsewhere with HOSTLER_URL"
    )))
}

/// That a session is not there, where nothing is.
pub(super) fn nothing(session: &SessionId, data: &Path) -> Failure {
    let message = format!(
        "there is no session {session}: there is nothing at {}",
        data.display()
    );
    Failure::said("session", message).hint("set HOSTLER_URL, or name another --data DIR")
}

pub(super) async fn row(
    store: &Store,
    session: &SessionId,
    place: &PlaceArguments,
) -> Result<store::Session, Failure> {
    let row = store.session(session).await;
    row.map_err(|error| {
        let flags = flags(&place.data, place.workspace.as_ref());
        Failure::failed("session", error).hint(format!("hostler sessions list{flags} has what is there"))
    })
}

/// What a server refused of a session, with where else to look.
pub(super) fn refused(server: &Server, error: ClientError) -> Failure {
    let is_missing = error.is_status(404);
    let failure = server.explain(error);
    if is_missing {
        failure.hint(format!(
            "hostler sessions list{} has what is there; --workspace NAME looks in another workspace, and sessions of \
             `hostler run` are in a data directory without a server",
            server.flags
        ))
    } else {
        failure
    }
}

/// A log, page by page.
pub(super) struct Pages<'a> {
    place: &'a Place,
    session: &'a SessionId,
    types: &'a [String],
    cursor: Option<String>,
    after: u64,
    over: bool,
}

impl Pages<'_> {
    /// In a store, what comes after a number.
    #[must_use]
    pub(super) fn after(self, seq: u64) -> Self {
        Self { after: seq, ..self }
    }

    /// Nothing after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>, Failure> {
        if self.over {
            return Ok(None);
        }
        match self.place {
            Place::Nothing { .. } => Ok(None),
            Place::Store(store) => self.of_store(store).await,
            Place::Server(server) => self.of_server(server).await,
        }
    }

    async fn of_store(&mut self, store: &Store) -> Result<Option<Vec<Entry>>, Failure> {
        let query = Query {
            after: self.after,
            limit: PAGE as u32,
            types: self.types,
        };
        let found = store.events(self.session, query).await;
        let found = found.map_err(|error| Failure::failed("store", error))?;
        let Some(last) = found.last() else {
            return Ok(None);
        };
        self.after = last.seq;
        Ok(Some(found.into_iter().map(Entry::of_logged).collect()))
    }

    async fn of_server(&mut self, server: &Server) -> Result<Option<Vec<Entry>>, Failure> {
        let query = EventQuery {
            types: self.types.to_vec(),
            order: Order::Asc,
            limit: PAGE,
        };
        let page = server.client.events(self.session, &query, self.cursor.as_deref());
        let page = page.await.map_err(|error| refused(server, error))?;
        if page.next_page.is_some() && page.next_page == self.cursor {
            return Err(server.explain(ClientError::Answer {
                reason: "each page leads to itself".to_owned(),
            }));
        }
        self.over = page.next_page.is_none();
        self.cursor = page.next_page;
        let entries: Result<Vec<Entry>, _> = page.data.iter().map(|raw| Entry::of_json(raw.get())).collect();
        let entries = entries.map_err(|error| unread(server, &error))?;
        Ok(Some(entries))
    }
}

/// What a server says of a session or an event and is neither.
pub(crate) fn unread(server: &Server, error: &serde_json::Error) -> Failure {
    server.explain(unreadable(error))
}

pub(super) fn unreadable(error: &serde_json::Error) -> ClientError {
    ClientError::Answer {
        reason: error.to_string(),
    }
}
