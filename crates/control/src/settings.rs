//! How runtimes are started and how long each step may take.

use crate::Runtime;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub templates: Templates,
    pub deadlines: Deadlines,
    pub bounds: Bounds,
    pub lifetime: Lifetime,
    /// Sandboxes that wait for sessions with a runtime in them, where sessions outlive their hosts.
    pub spares: usize,
}

/// What sandboxes outlive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Nothing: a start ends what a host before it left, and a turn that is cut has ended.
    #[default]
    Host,
    /// The host: a start goes on with the sandboxes that are there and with every turn that was cut.
    Session,
}

/// How each runtime is started.
#[derive(Debug, Clone)]
pub struct Templates {
    pub native: RuntimeTemplate,
    pub claude: RuntimeTemplate,
}

impl Default for Templates {
    fn default() -> Self {
        Self {
            native: RuntimeTemplate::native(),
            claude: RuntimeTemplate::claude(),
        }
    }
}

impl Templates {
    pub(crate) fn of(&self, runtime: &Runtime) -> &RuntimeTemplate {
        match runtime {
            Runtime::Native => &self.native,
            Runtime::Claude { .. } => &self.claude,
        }
    }
}

/// The program of a runtime, before what is the session's own.
#[derive(Debug, Clone)]
pub struct RuntimeTemplate {
    pub program: String,
    /// Arguments that every start has.
    pub arguments: Vec<String>,
    /// The whole environment but for the token.
    pub environment: BTreeMap<String, String>,
    /// Gets the session's token.
    pub token_variable: String,
    /// The directory that the agent works in.
    pub directory: String,
    /// What `--settings` has besides what is the session's own.
    pub settings: Map<String, Value>,
    /// Whether calls that had not begun when a runtime was lost can be made again by the next one.
    pub makes_calls_again: bool,
}

impl RuntimeTemplate {
    /// The official command line. It neither updates itself nor talks to anybody but the model.
    pub fn claude() -> Self {
        let mut template = Self {
            program: "/.hostler/runtime/claude".to_owned(),
            makes_calls_again: false,
            ..Self::native()
        };
        // Else each page that the agent wants is first asked about at claude.ai.
        template
            .settings
            .insert("skipWebFetchPreflight".to_owned(), true.into());
        let quiet = [
            "DISABLE_AUTOUPDATER",
            "DISABLE_ERROR_REPORTING",
            "DISABLE_TELEMETRY",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        ];
        let quiet = quiet.map(|name| (name.to_owned(), "1".to_owned()));
        template.environment.extend(quiet);
        template
    }

    pub fn native() -> Self {
        let arguments = [
            "--output-format",
            "stream-json",
            "--verbose",
            "--input-format",
            "stream-json",
            "--include-partial-messages",
            "--permission-mode",
            "bypassPermissions",
            "--setting-sources=",
        ];
        let proxy = "http://127.0.0.3:3128";
        let no_proxy = "localhost,127.0.0.1,127.0.0.2,::1";
        let environment = [
            ("ANTHROPIC_BASE_URL", "http://127.0.0.2"),
            ("HTTP_PROXY", proxy),
            ("http_proxy", proxy),
            ("HTTPS_PROXY", proxy),
            ("https_proxy", proxy),
            ("NO_PROXY", no_proxy),
            ("no_proxy", no_proxy),
            ("IS_SANDBOX", "1"),
            // Custom tools have the names that the model is told of.
            ("CLAUDE_AGENT_SDK_MCP_NO_PREFIX", "1"),
            ("CLAUDE_CONFIG_DIR", "/home/agent/.claude"),
            ("HOME", "/home/agent"),
            ("USER", "agent"),
            ("LOGNAME", "agent"),
            ("SHELL", "/bin/bash"),
            (
                "PATH",
                "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
            ),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
        ];
        Self {
            program: "/.hostler/hostler-agent".to_owned(),
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            token_variable: "ANTHROPIC_API_KEY".to_owned(),
            directory: "/workspace".to_owned(),
            settings: Map::new(),
            makes_calls_again: true,
        }
    }
}

/// Every wait has one. A turn has none: the agent may work for days.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// The sandbox and everything up to the runtime's process.
    pub start: Duration,
    /// The runtime's answer to `initialize`.
    pub initialize: Duration,
    /// An interrupted turn's end, before the runtime gets signals.
    pub interrupt: Duration,
    /// From each signal to the next.
    pub signal: Duration,
    /// A guest that was lost, before the sandbox is given up.
    pub reconnect: Duration,
    /// The ledger's last call, after the runtime's last word of a turn.
    pub settle: Duration,
    /// Destroying a sandbox.
    pub destroy: Duration,
    /// A full disk, before a session that cannot store what its agent does is stopped.
    pub store: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            start: Duration::from_mins(1),
            initialize: Duration::from_mins(1),
            interrupt: Duration::from_secs(10),
            signal: Duration::from_secs(5),
            reconnect: Duration::from_secs(30),
            settle: Duration::from_secs(2),
            destroy: Duration::from_secs(30),
            store: Duration::from_mins(1),
        }
    }
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of a message, as JSON.
    pub message_bytes: usize,
    /// Messages that wait for the agent.
    pub queued_messages: usize,
    /// How often one turn may go on in another runtime, where sessions outlive theirs.
    pub restarts: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            message_bytes: 24 << 20,
            queued_messages: 100,
            restarts: 3,
        }
    }
}
