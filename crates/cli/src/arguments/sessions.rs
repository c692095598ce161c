//! What is asked of sessions.

use super::{AllowArguments, DataArgument};
use crate::reach::flags;
use clap::{Args, Subcommand};
use domain::{AgentId, EventId, SessionId, SessionStatus, WorkspaceId};

/// Of a type's name.
const TYPE_CHARACTERS: usize = 64;

#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// Sessions, the newest first
    List(ListArguments),
    /// What a session is, did and said, what it cost, and what it waits for
    Show(ShowArguments),
    /// Send a session a message, or an answer that it waits for, and see what the agent does
    Send(Box<SendArguments>),
    /// The events of a session, one a line
    Logs(LogsArguments),
    /// Talk with a session: see what it does, answer what it asks, say what comes next
    Attach(AttachArguments),
    /// What a session of `hostler run` changed in its workspace, as a unified diff
    Diff {
        /// As `hostler sessions list` has it
        session: SessionId,
        #[command(flatten)]
        data: DataArgument,
    },
    /// Apply what a session of `hostler run` changed to its workspace
    Apply {
        /// As `hostler sessions list` has it
        session: SessionId,
        #[command(flatten)]
        allow: AllowArguments,
        #[command(flatten)]
        data: DataArgument,
    },
    /// Remove sessions, with their events, their files, and changes that were not applied
    Rm(RemoveArguments),
}

/// Where the sessions are.
#[derive(Debug, Clone, Args)]
pub struct PlaceArguments {
    /// The workspace of the API, for a key that opens all of them; else it is `default`, or the key's own
    #[arg(long, value_name = "NAME")]
    pub workspace: Option<WorkspaceId>,
    #[command(flatten)]
    pub data: DataArgument,
}

#[derive(Debug, Args)]
pub struct ListArguments {
    /// Only those with this status: idle, running, rescheduling or terminated. May be repeated
    #[arg(long, value_name = "STATUS", value_parser = status)]
    pub status: Vec<SessionStatus>,
    /// Only those of this agent
    #[arg(long, value_name = "AGENT_ID")]
    pub agent: Option<AgentId>,
    /// Archived ones too
    #[arg(long)]
    pub all: bool,
    /// At most so many [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// One JSON object for each session
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: PlaceArguments,
}

#[derive(Debug, Args)]
pub struct ShowArguments {
    /// As `hostler sessions list` has it
    pub session: SessionId,
    #[command(flatten)]
    pub place: PlaceArguments,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct SendArguments {
    /// As `hostler sessions list` has it
    pub session: SessionId,
    /// What to say; `-` reads it from standard input. With --result, what the tool answers
    #[arg(required_unless_present_any = ["interrupt", "allow", "deny"])]
    pub text: Option<String>,
    /// End what the agent is doing, before anything else is said
    #[arg(long)]
    pub interrupt: bool,
    /// Let a call run that asks first. May be repeated
    #[arg(long, value_name = "EVENT_ID")]
    pub allow: Vec<EventId>,
    /// Do not let it run. May be repeated
    #[arg(long, value_name = "EVENT_ID")]
    pub deny: Vec<EventId>,
    /// Why not, for the agent
    #[arg(long, value_name = "TEXT", requires = "deny")]
    pub message: Option<String>,
    /// Answer a call of a custom tool with TEXT
    #[arg(long, value_name = "EVENT_ID", requires = "text")]
    pub result: Option<EventId>,
    /// The custom tool failed, and TEXT says how
    #[arg(long, requires = "result")]
    pub failed: bool,
    /// Do not wait for what the agent does
    #[arg(long)]
    pub no_wait: bool,
    /// One JSON object for each event, from those that were sent, in place of the answer
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: PlaceArguments,
}

#[derive(Debug, Args)]
pub struct LogsArguments {
    /// As `hostler sessions list` has it
    pub session: SessionId,
    /// Go on with what comes, until Ctrl-C or the end of the session
    #[arg(long, short)]
    pub follow: bool,
    /// Only these types, like `agent.message,agent.tool_use`
    #[arg(long, value_name = "TYPE,…", value_delimiter = ',', value_parser = event_type)]
    pub types: Vec<String>,
    /// Begin after this event
    #[arg(long, value_name = "EVENT_ID")]
    pub since_event: Option<EventId>,
    /// Each event as the JSON object that the API has
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: PlaceArguments,
}

#[derive(Debug, Args)]
pub struct AttachArguments {
    /// As `hostler sessions list` has it
    pub session: SessionId,
    #[command(flatten)]
    pub place: PlaceArguments,
}

#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// As `hostler sessions list` has them
    #[arg(required = true, value_name = "SESSION")]
    pub sessions: Vec<SessionId>,
    /// Interrupt those that are running, and remove them too
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub place: PlaceArguments,
}

impl PlaceArguments {
    /// A session, as other commands find it.
    pub(crate) fn named(&self, session: &SessionId) -> String {
        let flags = flags(&self.data, self.workspace.as_ref());
        format!("{session}{flags}")
    }
}

fn status(text: &str) -> Result<SessionStatus, String> {
    text.parse()
        .map_err(|_| "use idle, running, rescheduling or terminated".to_owned())
}

/// Types come and go with servers: any that may be one is asked for.
fn event_type(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_');
    if (1..=TYPE_CHARACTERS).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err("use types like agent.message, agent.tool_use, session.status_idle".to_owned())
}
