//! The command line, as clap reads it. What a value means for this machine is checked later, in [`crate::check`].

mod runtimes;
mod sessions;

pub use runtimes::{InstallArguments, PinArguments, RuntimesCommand, UpgradeArguments};
pub use sessions::{
    AttachArguments, ListArguments, LogsArguments, PlaceArguments, RemoveArguments, SendArguments,
    SessionsCommand, ShowArguments,
};

use clap::{Args, Subcommand, ValueEnum};
use configuration::{JailerStart, address};
use domain::limits::{Cpus, Size};
use domain::{Cost, KeyId, WorkspaceId};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The model that is used unless another is named.
pub const DEFAULT_MODEL: &str = "claude-sonnet-5-5";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Have an agent work on a directory, in a sandbox; then look at what it changed
    Run(Box<RunArguments>),
    /// Serve sessions over HTTP: the Managed Agents API, for the official SDKs
    Serve(ServeArguments),
    /// See what sessions do and did, talk with them, apply or remove what they left
    ///
    /// They are the sessions of the server that `HOSTLER_URL` names, or that runs on the data directory. Where none runs, the
    /// data directory itself has them: those of `hostler run`, and to look at, those of a server that is not running.
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Make, list and revoke the keys of the API
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Install, choose and remove versions of the official `claude` program, which may play the agent
    #[command(subcommand)]
    Runtimes(RuntimesCommand),
    /// Print the configuration file of a server, or say what is in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say what is enforced on this machine and what is not
    Doctor(DoctorArguments),
}

#[derive(Debug, Args)]
pub struct RunArguments {
    /// What the agent shall do; `-` reads it from standard input
    pub prompt: String,
    /// The directory to work on; it does not change before the changes are applied. Without it the agent has an empty one
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Apply the changes when the agent is done, without asking
    #[arg(long)]
    pub apply: bool,
    #[command(flatten)]
    pub allow: AllowArguments,
    /// The model
    #[arg(long, value_name = "ID", default_value = DEFAULT_MODEL)]
    pub model: String,
    /// The program that plays the agent
    #[arg(long, value_enum, default_value_t = RuntimeName::Native)]
    pub runtime: RuntimeName,
    /// Stop after this many model requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_turns: Option<u32>,
    /// Stop before the model costs more than this, by list price
    #[arg(long, value_name = "USD", value_parser = budget)]
    pub max_budget: Option<Cost>,
    /// CPUs the sandbox may use, like 2 or 0.5 [default: 1]
    #[arg(long, value_name = "N")]
    pub cpus: Option<Cpus>,
    /// Memory the sandbox may use, like 512M or 4G [default: 1G]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Disk the sandbox may use [default: 5G]
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<Size>,
    /// Let the sandbox reach a host: `api.example.com`, `*.example.com`, `host:port`. May be repeated
    #[arg(long, value_name = "HOST")]
    pub allow_host: Vec<String>,
    /// An OCI image in place of this machine's own programs (not there yet)
    #[arg(long, value_name = "REF")]
    pub image: Option<String>,
    /// Print one JSON object as the last line of standard output, in place of the answer
    #[arg(long)]
    pub json: bool,
    /// Let the simulated model play a script (docs/simulated-model.md) in place of a model
    #[arg(long, value_name = "SCRIPT")]
    pub simulate: Option<PathBuf>,
    #[command(flatten)]
    pub data: DataArgument,
}

/// What is applied besides ordinary edits.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct AllowArguments {
    /// Apply changes in Git directories too: hooks and configuration that Git runs on this machine
    #[arg(long)]
    pub apply_git: bool,
    /// Apply symlinks too that lead out of the workspace
    #[arg(long)]
    pub apply_symlinks: bool,
    /// Apply files too that become executable
    #[arg(long)]
    pub apply_executables: bool,
}

impl From<AllowArguments> for change_set::Allowed {
    fn from(arguments: AllowArguments) -> Self {
        Self {
            git: arguments.apply_git,
            symlinks: arguments.apply_symlinks,
            executables: arguments.apply_executables,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct DataArgument {
    /// Where hostler keeps its sessions; also `HOSTLER_DATA`
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RuntimeName {
    /// hostler's own
    Native,
    /// The official `claude` program; `hostler runtimes install claude` gets it
    Claude,
}

#[derive(Debug, Args)]
pub struct ServeArguments {
    /// The configuration file; also `HOSTLER_CONFIG`. `hostler config default` prints one
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on; also `HOSTLER_LISTEN`. May be repeated [default: 127.0.0.1:8700]
    #[arg(long, value_name = "ADDRESS", value_parser = listen_address)]
    pub listen: Vec<SocketAddr>,
    /// Sandboxes to keep ready [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=64))]
    pub pool: Option<u32>,
    /// Who starts the jailer [default: own]
    #[arg(long, value_enum, value_name = "WHO")]
    pub jailer: Option<JailerStart>,
    /// Let the simulated model play a script (docs/simulated-model.md) in place of a model
    #[arg(long, value_name = "SCRIPT")]
    pub simulate: Option<PathBuf>,
    /// Answer `/metrics` without a key; else it takes the admin key
    #[arg(long)]
    pub open_metrics: bool,
    /// Take the place of the server that runs on the data directory; no connection is refused meanwhile
    #[arg(long)]
    pub take_over: bool,
    #[command(flatten)]
    pub data: DataArgument,
}

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key for one workspace; it is shown this once
    Create {
        /// Made where it is not there
        #[arg(long, value_name = "WORKSPACE", default_value_t)]
        workspace: WorkspaceId,
        /// For people, to tell keys apart
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// One JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgument,
    },
    /// All keys, the oldest first
    List {
        /// One JSON object for each key
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgument,
    },
    /// End a key, for good
    Revoke {
        key: KeyId,
        #[command(flatten)]
        data: DataArgument,
    },
}

impl KeysCommand {
    pub(crate) fn data(&self) -> &DataArgument {
        match self {
            Self::Create { data, .. } | Self::List { data, .. } | Self::Revoke { data, .. } => data,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print a file with every key, commented out and explained
    Default,
    /// Say what is in force, and from where; or what is wrong
    Check {
        /// The configuration file [default: as for `serve`]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// One JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub data: DataArgument,
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let wrong = || "use an address with its port, like 127.0.0.1:8700 or [::1]:8700".to_owned();
    address(text).ok_or_else(wrong)
}

fn budget(text: &str) -> Result<Cost, String> {
    let wrong = || "use US dollars, like 0.50 or 20".to_owned();
    let usd: f64 = text.trim().trim_start_matches('$').parse().map_err(|_| wrong())?;
    if usd.is_finite() && (0.000_001..=1_000_000.0).contains(&usd) {
        Ok(Cost::from_usd(usd))
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};
    use domain::{EventId, SessionId};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn run(arguments: &[&str]) -> Result<RunArguments, clap::Error> {
        let line = ["hostler", "run"].iter().chain(arguments);
        match Line::try_parse_from(line)?.command {
            Command::Run(arguments) => Ok(*arguments),
            other => panic!("run, not {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn every_documented_flag_is_taken() {
        let arguments = run(&[
            "--workspace",
            ".",
            "--apply",
            "--apply-git",
            "--apply-symlinks",
            "--apply-executables",
            "--model",
            "claude-opus-5",
            "--runtime",
            "native",
            "--max-turns",
            "7",
            "--max-budget",
            "0.50",
            "--cpus",
            "1.5",
            "--memory",
            "512M",
            "--disk",
            "2G",
            "--allow-host",
            "a.example",
            "--allow-host",
            "*.b.example:8443",
            "--json",
            "--simulate",
            "s.json",
            "--data",
            "/d",
            "fix it",
        ])
        .unwrap();
        assert_eq!(arguments.max_budget, Some(Cost::from_usd(0.5)));
        assert_eq!(arguments.cpus, Some(Cpus { millis: 1500 }));
        assert_eq!(arguments.allow_host.len(), 2);
        assert_eq!(arguments.prompt, "fix it");
    }

    #[test]
    fn bad_values_are_refused_where_they_are_written() {
        for wrong in [
            &["x", "--cpus", "0"][..],
            &["x", "--memory", "lots"],
            &["x", "--max-turns", "0"],
            &["x", "--max-budget", "-1"],
            &["x", "--max-budget", "nan"],
            &["x", "--runtime", "python"],
            &["x", "--no-such-flag"],
            &["x", "y"],
            &[],
        ] {
            assert_eq!(run(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn a_session_is_named_by_its_whole_id() {
        let id = SessionId::random();
        for command in ["show", "send", "logs", "attach", "diff", "apply", "rm"] {
            let line = |id| {
                let text = (command == "send").then_some("hi");
                ["hostler", "sessions", command, id].into_iter().chain(text)
            };
            assert!(Line::try_parse_from(line(id.as_str())).is_ok(), "{command}");
            for wrong in ["../../etc", EventId::random().as_str()] {
                let error = Line::try_parse_from(line(wrong)).unwrap_err();
                assert!(error.to_string().contains("is not a session id"), "{error}");
            }
        }
    }

    #[test]
    fn what_is_sent_goes_together() {
        let (session, event) = (SessionId::random(), EventId::random());
        let sent = |words: &[&str]| {
            let line = ["hostler", "sessions", "send", session.as_str()];
            let words = words
                .iter()
                .map(|word| if *word == "EVENT" { event.as_str() } else { word });
            Line::try_parse_from(line.into_iter().chain(words)).map_err(|error| error.to_string())
        };
        for good in [
            &["hi"][..],
            &["-", "--no-wait", "--json"],
            &["--interrupt"],
            &["--interrupt", "do this"],
            &["--allow", "EVENT", "--allow", "EVENT"],
            &["--deny", "EVENT", "--message", "no"],
            &["--result", "EVENT", "sunny", "--failed"],
        ] {
            sent(good).unwrap();
        }
        for (wrong, reason) in [
            (&["--result", "EVENT"][..], "TEXT"),
            (&[], "TEXT"),
            (&["--allow", session.as_str()], "is not a event id"),
            (&["hi", "--message", "no"], "--deny"),
            (&["hi", "--failed"], "--result"),
        ] {
            let error = sent(wrong).unwrap_err();
            assert!(error.contains(reason), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn what_is_listed_is_told_by_words_that_are_there() {
        let parsed = |words: &[&str]| {
            let line = ["hostler", "sessions"].iter().chain(words);
            Line::try_parse_from(line).map_err(|error| error.to_string())
        };
        let id = SessionId::random();
        for (wrong, reason) in [
            (&["list", "--status", "asleep"][..], "use idle, running"),
            (&["list", "--agent", id.as_str()], "is not a agent id"),
            (&["list", "--limit", "0"], "0 is not in"),
            (&["list", "--workspace", "A B"], "is not the name of a workspace"),
            (&["logs", id.as_str(), "--types", "a b"], "use types like"),
            (
                &["logs", id.as_str(), "--since-event", id.as_str()],
                "is not a event id",
            ),
        ] {
            let error = parsed(wrong).unwrap_err();
            assert!(error.contains(reason), "{wrong:?}: {error}");
        }
        parsed(&[
            "list", "--status", "idle", "--status", "running", "--all", "--limit", "5",
        ])
        .unwrap();
        parsed(&[
            "logs",
            id.as_str(),
            "-f",
            "--types",
            "agent.message,agent.tool_use",
        ])
        .unwrap();
    }
}
