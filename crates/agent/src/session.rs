//! What a running session shares between its turn and the control requests served meanwhile. One task owns it all.

use crate::environment::{Environment, StateFrames};
use crate::model::{Client, Thinking, ToolDefinition};
use crate::output::Output;
use crate::questions::Questions;
use crate::run::Signal;
use crate::servers::{Address, Servers};
use crate::tools::Tools;
use crate::web::WebTool;
use agent_tools::{Concurrency, Kind};
use domain::{Cost, PriceTable};
use permissions::Permissions;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use stream_json::{SystemEvent, User};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The Claude Code version whose protocol this is; hosts gate features on it.
pub(crate) const PROTOCOL_VERSION: &str = "2.1.330";

/// The window of a model that no price table knows.
const UNKNOWN_WINDOW: u64 = 200_000;
const UNKNOWN_MAX_OUTPUT: u64 = 32_000;

/// What the command line fixed for good.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Options {
    pub(crate) max_turns: Option<u32>,
    pub(crate) max_budget: Option<Cost>,
    pub(crate) task_budget: Option<u64>,
    pub(crate) asks_host: bool,
    pub(crate) may_bypass: bool,
    pub(crate) partial_messages: bool,
    pub(crate) replays_user_messages: bool,
    pub(crate) effort: Option<String>,
}

/// What control requests change while the session runs.
pub(crate) struct Live {
    pub(crate) model: String,
    pub(crate) default_model: String,
    pub(crate) thinking: Thinking,
    pub(crate) permissions: Permissions,
    /// Blocks of the system prompt.
    pub(crate) system: Vec<String>,
}

/// A tool as the loop sees it.
pub(crate) struct Tool {
    pub(crate) definition: ToolDefinition,
    pub(crate) kind: Kind,
    pub(crate) concurrency: Concurrency,
    pub(crate) runner: Runner,
}

/// Who carries a call out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Runner {
    /// The toolbox, on this machine.
    Toolbox,
    /// A server in the host.
    Server(Address),
    Web(WebTool),
}

impl Tool {
    /// The MCP server whose tool it is.
    pub(crate) fn server(&self) -> Option<&str> {
        match &self.runner {
            Runner::Server(address) => Some(&address.server),
            Runner::Toolbox | Runner::Web(_) => None,
        }
    }
}

pub(crate) struct Session {
    pub(crate) cwd: PathBuf,
    pub(crate) environment: Environment,
    pub(crate) options: Options,
    pub(crate) client: Client,
    pub(crate) tools: Box<dyn Tools>,
    /// Those of the base set; deny rules are applied when they are listed.
    pub(crate) base_tools: Vec<Rc<Tool>>,
    pub(crate) servers: Servers,
    /// Made for the first page.
    pub(crate) fetcher: OnceCell<Result<web_fetch::Fetcher, outbound::BadProxy>>,
    pub(crate) live: RefCell<Live>,
    pub(crate) output: Output,
    /// Told of whenever permissions change, so that open questions are judged again.
    pub(crate) permission_changes: watch::Sender<()>,
    pub(crate) questions: Questions,
    /// Permission questions that wait for the host.
    pub(crate) asked: Cell<usize>,
    /// Whether the host has greeted.
    pub(crate) is_initialized: Cell<bool>,
    /// User lines that no turn has taken yet.
    pub(crate) inbox: RefCell<VecDeque<User>>,
    /// The uuids of all user lines so far: none runs twice.
    pub(crate) seen: RefCell<HashSet<String>>,
    /// Cancels the turn that runs.
    pub(crate) interrupt: RefCell<CancellationToken>,
    /// Cancelled once the session ends, whatever runs.
    pub(crate) leaving: CancellationToken,
    pub(crate) is_running: Cell<bool>,
    /// The last signal, until what it stopped has ended.
    pub(crate) signal: Cell<Option<Signal>>,
    /// How full the window was after the last call.
    pub(crate) context_tokens: Cell<u64>,
}

impl Session {
    pub(crate) fn id(&self) -> String {
        self.output.session_id()
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.interrupt.borrow().clone()
    }

    /// The tools that may be used: those no bare deny rule takes away.
    pub(crate) fn listed_tools(&self) -> Vec<Rc<Tool>> {
        let permissions = &self.live.borrow().permissions;
        let mut tools = self.base_tools.clone();
        tools.extend(self.servers.tools());
        tools.retain(|tool| !permissions.removes(&tool.definition.name, tool.server()));
        tools
    }

    pub(crate) fn tool(&self, name: &str) -> Option<Rc<Tool>> {
        self.listed_tools()
            .into_iter()
            .find(|tool| tool.definition.name == name)
    }

    /// As the model is told of them.
    pub(crate) fn tool_definitions(&self) -> Vec<ToolDefinition> {
        self.listed_tools()
            .iter()
            .map(|tool| tool.definition.clone())
            .collect()
    }

    /// Changes permissions, and has every open question judged again.
    pub(crate) fn change_permissions(&self, change: impl FnOnce(&mut Permissions)) {
        change(&mut self.live.borrow_mut().permissions);
        // Without an open question nobody listens.
        let _ = self.permission_changes.send(());
    }

    pub(crate) fn model(&self) -> String {
        self.live.borrow().model.clone()
    }

    pub(crate) fn context_window(&self) -> u64 {
        PriceTable::built_in()
            .model(&self.model())
            .map_or(UNKNOWN_WINDOW, |model| model.context_window)
    }

    pub(crate) fn max_output_tokens(&self) -> u64 {
        let limit = PriceTable::built_in()
            .model(&self.model())
            .map_or(UNKNOWN_MAX_OUTPUT, |model| model.max_output_tokens);
        self.environment
            .max_output_tokens
            .map_or(limit, |tokens| tokens.min(limit))
    }

    /// How full the window may be before the conversation is summarised: room is kept for one reply and the summary.
    pub(crate) fn compaction_threshold(&self) -> u64 {
        let window = self.context_window();
        window
            .saturating_sub(self.max_output_tokens().min(20_000))
            .saturating_sub(13_000)
            .max(window / 2)
    }

    pub(crate) async fn state(&self, state: &str) {
        let sdk_host_only = match self.environment.state_frames {
            StateFrames::Silent => return,
            StateFrames::HostOnly => Some(true),
            StateFrames::Visible => None,
        };
        self.output
            .system(SystemEvent::SessionStateChanged {
                state: state.to_owned(),
                sdk_host_only,
            })
            .await;
    }
}
