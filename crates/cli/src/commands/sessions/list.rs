//! `hostler sessions list`.

use super::place::{Place, unread};
use crate::arguments::ListArguments;
use crate::session::{Session, row_as_json};
use client::SessionQuery;
use terminal::text::{json_line, minute, one_line};
use terminal::{Failure, Terminal};

/// Of one request.
const PAGE: usize = 100;
const AGENT_COLUMNS: usize = 20;
/// Of a title, where no terminal says how wide it is.
const TITLE_COLUMNS: usize = 50;
const HEAD_COLUMNS: usize = 31 + 2 + 12 + 2 + 16 + 2 + AGENT_COLUMNS + 2;

/// Sessions, as they are printed.
struct Rows<'a> {
    terminal: &'a mut Terminal,
    json: bool,
    left: usize,
    begun: bool,
}

pub(super) async fn list(
    arguments: &ListArguments,
    place: &Place,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    let mut rows = Rows {
        terminal,
        json: arguments.json,
        left: arguments.limit.map_or(usize::MAX, |limit| limit as usize),
        begun: false,
    };
    match place {
        Place::Nothing { .. } => {}
        Place::Store(store) => {
            let sessions = store.sessions().await;
            let sessions = sessions.map_err(|error| Failure::failed("store", error))?;
            for row in sessions.iter().filter(|row| is_wanted(row, arguments)) {
                rows.print(&Session::of_row(row), &row_as_json(row).to_string());
            }
        }
        Place::Server(server) => {
            let mut query = SessionQuery {
                agent: arguments.agent.clone(),
                statuses: arguments.status.clone(),
                include_archived: arguments.all,
                limit: PAGE,
            };
            let mut cursor: Option<String> = None;
            while rows.left > 0 {
                query.limit = PAGE.min(rows.left);
                let page = server.client.sessions(&query, cursor.as_deref()).await;
                let page = page.map_err(|error| server.explain(error))?;
                for raw in &page.data {
                    let session = Session::read(raw).map_err(|error| unread(server, &error))?;
                    rows.print(&session, raw.get());
                }
                if page.next_page.is_none() || page.next_page == cursor || page.data.is_empty() {
                    break;
                }
                cursor = page.next_page;
            }
        }
    }
    if !rows.begun && !rows.json {
        rows.terminal.line("no sessions");
    }
    Ok(())
}

fn is_wanted(row: &store::Session, arguments: &ListArguments) -> bool {
    let hosting = row.hosting.as_ref();
    let is_of = |wanted: Option<&str>, has: Option<&str>| wanted.is_none() || wanted == has;
    (arguments.all || row.archived_at.is_none())
        && (arguments.status.is_empty() || arguments.status.contains(&row.status))
        && is_of(
            arguments.agent.as_ref().map(domain::AgentId::as_str),
            hosting.map(|hosting| hosting.agent_id.as_str()),
        )
        && is_of(
            arguments
                .place
                .workspace
                .as_ref()
                .map(domain::WorkspaceId::as_str),
            hosting.map(|hosting| hosting.workspace_id.as_str()),
        )
}

impl Rows<'_> {
    fn print(&mut self, session: &Session, json: &str) {
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) && !self.json {
            let head = format!(
                "{:<31}  {:<12}  {:<16}  {:<AGENT_COLUMNS$}  TITLE",
                "ID", "STATUS", "CREATED (UTC)", "AGENT"
            );
            text = self.terminal.out_style().bold(&head) + "\n";
        }
        if self.json {
            text.push_str(&json_line(json));
        } else {
            text.push_str(&self.row(session));
        }
        text.push('\n');
        self.terminal.output(text.as_bytes());
    }

    fn row(&self, session: &Session) -> String {
        let columns = match self.terminal.out_width() {
            Some(width) => width.saturating_sub(HEAD_COLUMNS).max(20),
            None => TITLE_COLUMNS,
        };
        let agent = session.agent.as_ref();
        let agent = agent.map_or_else(|| "-".to_owned(), |agent| one_line(&agent.name, AGENT_COLUMNS));
        format!(
            "{:<31}  {:<12}  {:<16}  {agent:<AGENT_COLUMNS$}  {}",
            session.id.as_str(),
            one_line(session.standing(), 12),
            minute(session.created_at),
            one_line(session.title.as_deref().unwrap_or_default(), columns)
        )
        .trim_end()
        .to_owned()
    }
}
