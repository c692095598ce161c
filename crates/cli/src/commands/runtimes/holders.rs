//! Who needs installed versions: sessions that may go on, and environments that ask for some. A server that holds the data
//! directory is asked, else its store is looked at.

use crate::arguments::DataArgument;
use crate::reach::{Reach, Server};
use client::{ClientError, SessionQuery};
use control::Runtime;
use domain::{SessionStatus, WorkspaceId};
use runtimes::{Holders, Version, Wanted};
use serde::Deserialize;
use std::path::Path;
use store::Store;
use terminal::{Environment, Failure, Signals};
use wire::environments::{Environment as Definition, RuntimeName};
use wire::keys::All;
use wire::page::{Listing, Order, Page};

const PAGE: usize = 100;
const CLAUDE: &str = "claude";
/// Of sessions that need what they run on.
const GOES_ON: [SessionStatus; 3] = [
    SessionStatus::Idle,
    SessionStatus::Running,
    SessionStatus::Rescheduling,
];

/// What is read of a session, whatever else it has.
#[derive(Deserialize)]
struct Session {
    #[serde(default)]
    hostler: Option<Facts>,
}

#[derive(Deserialize)]
struct Facts {
    #[serde(default)]
    runtime: Option<Played>,
}

#[derive(Deserialize)]
struct Played {
    name: String,
    version: String,
}

/// What is read of an environment.
#[derive(Deserialize)]
struct Asking {
    name: String,
    #[serde(default)]
    hostler: Option<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    runtime: String,
    #[serde(default)]
    runtime_version: Option<String>,
}

pub(super) async fn find(
    data: &Path,
    environment: &Environment,
    signals: &mut Signals,
) -> Result<Holders, Failure> {
    // A server elsewhere has runtimes of its own.
    let here = DataArgument {
        data: Some(data.to_owned()),
    };
    let found = async {
        match Reach::find(&here, None, environment)? {
            Reach::Nothing { .. } => Ok(Holders::default()),
            Reach::Server(server) => of_server(&server).await.map_err(|error| server.explain(error)),
            Reach::Directory(instance) => {
                let failed = |error: store::Error| Failure::failed("store", error);
                let store = Store::open(instance).await;
                let store = store.map_err(|error| Failure::failed("store", error))?;
                let holders = of_store(&store).await;
                store.close().await;
                holders.map_err(failed)
            }
        }
    };
    tokio::select! {
        found = found => found,
        _ = signals.next() => Err(Failure::interrupted()),
    }
}

async fn of_store(store: &Store) -> Result<Holders, store::Error> {
    let mut holders = Holders::default();
    for session in store.sessions().await? {
        let goes_on = session.archived_at.is_none() && GOES_ON.contains(&session.status);
        if goes_on && let Runtime::Claude { version } = control::runtime(&session)? {
            holders.sessions.extend(version.parse::<Version>());
        }
    }
    for (workspace, _) in store.workspaces().await? {
        let mut page: Option<String> = None;
        loop {
            let slice = Listing::new("environments", Order::Desc).slice(page.as_deref(), Some(PAGE));
            // A cursor of its own fits.
            let Ok(slice) = slice else { break };
            let found = store.environments(&workspace, false, &slice).await?;
            let found = slice.page(found, store::environments::position);
            holders.pins.extend(found.data.iter().filter_map(pin));
            page = found.next_page;
            if page.is_none() {
                break;
            }
        }
    }
    Ok(holders)
}

fn pin(environment: &Definition) -> Option<(String, Wanted)> {
    let settings = &environment.definition.hostler;
    let wanted = settings.runtime_version.as_ref()?;
    let is_claude = settings.runtime == RuntimeName::Claude;
    let wanted = is_claude.then(|| wanted.parse().ok())??;
    Some((named(&environment.definition.name), wanted))
}

fn named(environment: &str) -> String {
    format!("environment {environment:?}")
}

async fn of_server(server: &Server) -> Result<Holders, ClientError> {
    #[derive(Deserialize)]
    struct Workspace {
        id: WorkspaceId,
    }
    let mut holders = Holders::default();
    let workspaces: All<Workspace> = server.client.get("/host/v1/workspaces").await?;
    for Workspace { id } in workspaces.data {
        let client = server.client.clone().in_workspace(&id);
        let query = SessionQuery {
            statuses: GOES_ON.to_vec(),
            limit: PAGE,
            ..SessionQuery::default()
        };
        let mut cursor: Option<String> = None;
        loop {
            let page = client.sessions(&query, cursor.as_deref()).await?;
            for raw in &page.data {
                let session: Session = serde_json::from_str(raw.get()).map_err(|error| unreadable(&error))?;
                let played = session.hostler.and_then(|facts| facts.runtime);
                if let Some(played) = played.filter(|played| played.name == CLAUDE) {
                    holders.sessions.extend(played.version.parse::<Version>());
                }
            }
            if page.next_page.is_none() || page.next_page == cursor {
                break;
            }
            cursor = page.next_page;
        }
        let mut cursor: Option<String> = None;
        loop {
            let after = cursor
                .as_ref()
                .map(|cursor| format!("&page={cursor}"))
                .unwrap_or_default();
            let page: Page<Asking> = client
                .get(&format!("/v1/environments?limit={PAGE}{after}"))
                .await?;
            for Asking { name, hostler } in page.data {
                let asked = hostler.filter(|asked| asked.runtime == CLAUDE);
                let wanted = asked.and_then(|asked| asked.runtime_version?.parse().ok());
                holders.pins.extend(wanted.map(|wanted| (named(&name), wanted)));
            }
            if page.next_page.is_none() || page.next_page == cursor {
                break;
            }
            cursor = page.next_page;
        }
    }
    Ok(holders)
}

fn unreadable(error: &serde_json::Error) -> ClientError {
    ClientError::Answer {
        reason: error.to_string(),
    }
}
