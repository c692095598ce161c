//! A session put together from arguments and environment: new, resumed, or forked. Nothing is sent to the host yet.

use crate::account::Account;
use crate::arguments::{Arguments, Resume, ToolSet};
use crate::conversation::{Conversation, interrupted_result};
use crate::environment::Environment;
use crate::model::{BadHeader, Client, Thinking, ToolDefinition};
use crate::output::{self, Lines};
use crate::prompt;
use crate::reopen::{self, ReopenError};
use crate::servers::{DeclareError, Servers};
use crate::session::{Live, Options, PROTOCOL_VERSION, Runner, Session, Tool};
use crate::settings::{self, Settings, SettingsError};
use crate::tools::Tools;
use crate::transcript::{self, Body, Loaded, ResumeError, Stamp, Transcript, project_directory};
use crate::turn::{Call, Work};
use crate::web;
use agent_tools::Toolbox;
use permissions::Mode;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use stream_json::{Block, Content, Role, User, UserMessage};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("Error: --session-id with --continue or --resume also needs --fork-session.")]
    IdNeedsFork,
    #[error("Error: Session ID {id} is already in use.")]
    IdInUse { id: String },
    #[error(
        "--dangerously-skip-permissions cannot be used with root/sudo privileges for security reasons; set IS_SANDBOX=1 in a sandbox"
    )]
    BypassAsRoot,
    #[error("Error: the directory {path} given with --add-dir does not exist")]
    NoDirectory { path: PathBuf },
    #[error(transparent)]
    Resume(#[from] ResumeError),
    #[error(transparent)]
    Reopen(#[from] ReopenError),
    #[error("Error: {0}")]
    Declare(#[from] DeclareError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("Error: {0}")]
    Header(#[from] BadHeader),
}

impl StartError {
    /// Whether the host gets a result frame too.
    pub(crate) fn has_result(&self) -> bool {
        matches!(self, Self::Resume(_) | Self::Reopen(_))
    }
}

pub(crate) struct Started {
    pub(crate) session: Session,
    pub(crate) work: Work,
    pub(crate) lines: Lines,
    /// The calls that the first turn, which has no prompt, begins with.
    pub(crate) reopened: Option<Vec<Call>>,
}

/// What a session goes on from.
struct Origin {
    id: String,
    conversation: Conversation,
    account: Account,
    transcript: Transcript,
    reopened: Option<Vec<Call>>,
}

/// What a session is made from.
pub struct Setup {
    pub arguments: Arguments,
    pub environment: Environment,
    pub cwd: PathBuf,
    /// `None` takes the toolbox of the product.
    pub tools: Option<Box<dyn Tools>>,
}

pub(crate) fn start(setup: Setup) -> Result<Started, StartError> {
    let Setup {
        arguments,
        environment,
        cwd,
        tools,
    } = setup;
    let arguments = &arguments;
    let settings = settings::read(arguments, &environment, &cwd)?;
    let permissions = settings::permissions(arguments, &settings, &cwd);
    check(arguments, &environment, permissions.mode, &cwd)?;
    let project = project_directory(
        &environment.config_directory,
        environment.project_directory_name.as_deref(),
        &cwd,
    );
    let origin = origin(arguments, &environment, &cwd, &project)?;
    let tools = tools.unwrap_or_else(|| {
        Box::new(toolbox(arguments, &environment, &cwd, &project, &origin.id)) as Box<dyn Tools>
    });
    tools.note_files_read(files_read(&origin.conversation));
    let model = model(arguments, &environment, &settings);
    let (output, lines) = output::channel(origin.id.clone());
    let live = Live {
        default_model: model.clone(),
        model,
        thinking: thinking(arguments, &environment),
        system: prompt::build(arguments, &environment, &cwd),
        permissions,
    };
    let may_bypass = arguments.allows_bypass || live.permissions.mode == Mode::BypassPermissions;
    let servers = Servers::default();
    servers.declare(&arguments.mcp_servers)?;
    let session = Session {
        servers,
        fetcher: std::cell::OnceCell::new(),
        base_tools: base_tools(&arguments.tools, tools.as_ref()),
        client: Client::new(&environment, &arguments.betas)?,
        options: options(arguments, may_bypass),
        live: RefCell::new(live),
        permission_changes: tokio::sync::watch::Sender::default(),
        questions: crate::questions::Questions::default(),
        asked: Cell::new(0),
        is_initialized: Cell::new(false),
        inbox: RefCell::default(),
        seen: RefCell::default(),
        interrupt: RefCell::default(),
        leaving: CancellationToken::new(),
        is_running: Cell::new(false),
        signal: Cell::new(None),
        context_tokens: Cell::new(origin.conversation.estimated_tokens()),
        cwd,
        environment,
        tools,
        output,
    };
    if let Some(prompt) = &arguments.prompt {
        session
            .inbox
            .borrow_mut()
            .push_back(User::new(Content::Text(prompt.clone())));
    }
    let work = Work {
        conversation: origin.conversation,
        transcript: origin.transcript,
        account: origin.account,
    };
    Ok(Started {
        session,
        work,
        lines,
        reopened: origin.reopened,
    })
}

fn check(arguments: &Arguments, environment: &Environment, mode: Mode, cwd: &Path) -> Result<(), StartError> {
    let is_root = rustix::process::geteuid().is_root();
    if mode == Mode::BypassPermissions && is_root && !environment.is_sandbox {
        return Err(StartError::BypassAsRoot);
    }
    match arguments
        .additional_directories
        .iter()
        .find(|path| !cwd.join(path).is_dir())
    {
        Some(path) => Err(StartError::NoDirectory { path: path.clone() }),
        None => Ok(()),
    }
}

fn model(arguments: &Arguments, environment: &Environment, settings: &[Settings]) -> String {
    let named = arguments
        .model
        .clone()
        .or_else(|| environment.model.clone())
        .or_else(|| settings.iter().rev().find_map(|settings| settings.model.clone()))
        .unwrap_or_else(|| "default".to_owned());
    environment.resolve_model(&named)
}

fn options(arguments: &Arguments, may_bypass: bool) -> Options {
    Options {
        max_turns: arguments.max_turns,
        max_budget: arguments.max_budget,
        task_budget: arguments.task_budget,
        asks_host: arguments.asks_host,
        may_bypass,
        partial_messages: arguments.partial_messages,
        replays_user_messages: arguments.replays_user_messages,
        effort: arguments.effort.clone(),
    }
}

fn thinking(arguments: &Arguments, environment: &Environment) -> Thinking {
    if arguments.thinking_disabled {
        return Thinking::Disabled;
    }
    match arguments.max_thinking_tokens.or(environment.max_thinking_tokens) {
        Some(0) => Thinking::Disabled,
        Some(tokens) => Thinking::Budget(tokens),
        None if arguments.thinking_adaptive => Thinking::Adaptive,
        None => Thinking::Unset,
    }
}

fn toolbox(
    arguments: &Arguments,
    environment: &Environment,
    cwd: &Path,
    project: &Path,
    id: &str,
) -> Toolbox {
    Toolbox::new(agent_tools::Settings {
        cwd: cwd.to_owned(),
        additional_directories: arguments.additional_directories.clone(),
        tool_results_dir: project.join(id).join("tool-results"),
        shell_environment: environment
            .of_commands()
            .into_iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        bash_default_timeout: environment.bash_default_timeout,
        bash_max_timeout: environment.bash_max_timeout,
        bash_max_output: environment.bash_max_output,
    })
}

fn base_tools(set: &ToolSet, tools: &dyn Tools) -> Vec<Rc<Tool>> {
    let mut tools: Vec<Tool> = tools
        .definitions()
        .into_iter()
        .map(|definition| Tool {
            runner: Runner::Toolbox,
            kind: definition.kind,
            concurrency: definition.concurrency,
            definition: ToolDefinition {
                name: definition.name.to_owned(),
                description: definition.description,
                input_schema: definition.input_schema,
            },
        })
        .chain(web::tools())
        .collect();
    if let ToolSet::Named(names) = set {
        // Names of tools that only the official command line has are left out, as they are of every model call.
        tools.retain(|tool| names.contains(&tool.definition.name));
    }
    tools.into_iter().map(Rc::new).collect()
}

fn origin(
    arguments: &Arguments,
    environment: &Environment,
    cwd: &Path,
    project: &Path,
) -> Result<Origin, StartError> {
    let path_of = |id: &str| project.join(format!("{id}.jsonl"));
    let stamp = |id: &str| Stamp {
        session_id: id.to_owned(),
        cwd: cwd.to_string_lossy().into_owned(),
        git_branch: prompt::git_branch(cwd).unwrap_or_default(),
        entrypoint: environment.entrypoint.clone(),
        version: PROTOCOL_VERSION.to_owned(),
    };
    let kept = |id: &str| (!arguments.skips_transcript).then(|| path_of(id));
    let name = match &arguments.resume {
        Resume::New => {
            let id = arguments
                .session_id
                .clone()
                .unwrap_or_else(|| Uuid::new_v4().to_string());
            if arguments.session_id.is_some() && path_of(&id).exists() {
                return Err(StartError::IdInUse { id });
            }
            let transcript = Transcript::new(kept(&id), stamp(&id), None);
            return Ok(Origin {
                id,
                conversation: Conversation::default(),
                account: Account::default(),
                transcript,
                reopened: None,
            });
        }
        Resume::Newest => None,
        Resume::Named(name) => Some(name.as_str()),
    };
    if arguments.session_id.is_some() && !arguments.forks {
        return Err(StartError::IdNeedsFork);
    }
    let source = transcript::find(project, name)?;
    let loaded = load(&source, arguments)?;
    let id = match (arguments.forks, &loaded.session_id) {
        (false, Some(id)) => id.clone(),
        _ => arguments
            .session_id
            .clone()
            .unwrap_or_else(|| Uuid::new_v4().to_string()),
    };
    let goes_on_in_place = same_file(&source, &path_of(&id));
    if !goes_on_in_place && arguments.forks && path_of(&id).exists() {
        return Err(StartError::IdInUse { id });
    }
    let leaf = if goes_on_in_place { loaded.leaf() } else { None };
    let mut transcript = Transcript::new(kept(&id), stamp(&id), leaf);
    let mut conversation = loaded.conversation();
    let reopened = match &arguments.run_tool_uses {
        Some(ids) => Some(reopen::calls(&loaded, &conversation, ids)?),
        None => None,
    };
    if !goes_on_in_place {
        copy(&loaded, &mut transcript);
    }
    close_open_calls(
        &mut conversation,
        &mut transcript,
        reopened.as_deref().unwrap_or_default(),
    );
    Ok(Origin {
        id,
        conversation,
        account: loaded.account,
        transcript,
        reopened,
    })
}

fn load(source: &Path, arguments: &Arguments) -> Result<Loaded, ResumeError> {
    let mut loaded = transcript::load(source)?;
    if let Some(uuid) = &arguments.resume_at {
        loaded.cut(uuid, true)?;
    }
    if let Some(uuid) = &arguments.drop_turn {
        loaded.cut(uuid, false)?;
    }
    Ok(loaded)
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn copy(loaded: &Loaded, transcript: &mut Transcript) {
    for entry in &loaded.chain {
        if !matches!(entry.body, Body::Attachment {}) {
            transcript.append_as(entry.uuid.clone(), entry.body.clone());
        }
    }
}

/// A kill may have left calls without a result: the model is told that they were interrupted, but for those that are
/// run again.
fn close_open_calls(conversation: &mut Conversation, transcript: &mut Transcript, reopened: &[Call]) {
    let mut open = conversation.open_calls();
    open.retain(|id| reopened.iter().all(|call| call.id != *id));
    for id in open {
        let block = interrupted_result(&id);
        transcript.append(Body::User {
            message: UserMessage {
                role: Role::User,
                content: Content::Blocks(vec![block.clone()]),
            },
            tool_use_result: None,
            source: None,
            is_meta: false,
            is_compact_summary: false,
        });
        conversation.push(Role::User, [block]);
    }
}

fn files_read(conversation: &Conversation) -> Vec<PathBuf> {
    conversation
        .messages()
        .iter()
        .flat_map(|message| &message.content)
        .filter_map(|block| match block {
            Block::ToolUse { name, input, .. } if matches!(name.as_str(), "Read" | "Write" | "Edit") => {
                input.get("file_path").and_then(Value::as_str).map(PathBuf::from)
            }
            _ => None,
        })
        .collect()
}
