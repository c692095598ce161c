//! The whole product, attacked through its agent: `hostler run` with a model that has the agent run one command and
//! repeats what came of it.

use serde_json::{Value, json};
use simulated_model::{Options, Script, Server};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::Command;

/// Longer than any session here takes.
const DEADLINE: Duration = Duration::from_mins(2);
/// What the host holds and no agent may.
pub const KEY: &str = "sk-ant-the-key-of-the-host-5c1d";

/// A data directory and a workspace for any number of runs.
pub struct Product {
    pub data: TempDir,
    pub workspace: TempDir,
}

/// What became of one `hostler run`.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    /// The object that `--json` prints.
    pub object: Value,
    #[expect(dead_code, reason = "shown where a test fails")]
    pub errors: String,
}

impl Ran {
    /// What the agent's command printed, as the model was told.
    pub fn said(&self) -> &str {
        self.object["result"].as_str().unwrap_or_default()
    }
}

impl Product {
    pub fn new() -> Self {
        Self {
            data: tempfile::tempdir().unwrap(),
            workspace: tempfile::tempdir().unwrap(),
        }
    }

    /// The agent runs a shell command, and says what it printed.
    pub async fn sh(&self, command: &str, flags: &[&str]) -> Ran {
        self.sh_through(&[], command, flags).await
    }

    pub async fn python(&self, program: &str, flags: &[&str]) -> Ran {
        self.sh(&python(program), flags).await
    }

    /// `through` is put before the program, as `unshare -m` would be.
    pub async fn sh_through(&self, through: &[&str], command: &str, flags: &[&str]) -> Ran {
        let script = self.data.path().join("script.json");
        std::fs::write(&script, says(command).to_string()).unwrap();
        let mut words = vec!["--simulate", script.to_str().unwrap()];
        words.extend(flags);
        ran(self.command(through, &words)).await
    }

    /// The same in mounts of its own, which a shell command changes first; as root.
    pub async fn sh_in_mounts(&self, change: &str, command: &str, flags: &[&str]) -> Ran {
        let script = format!("{change} && exec \"$0\" \"$@\"");
        let words = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            &script,
        ];
        self.sh_through(&words, command, flags).await
    }

    /// The same with a model server that asks for [`KEY`], at `url`.
    pub async fn against(&self, url: &str, flags: &[&str]) -> Ran {
        let mut command = self.command(&[], flags);
        command
            .env("ANTHROPIC_API_KEY", KEY)
            .env("ANTHROPIC_BASE_URL", url);
        ran(command).await
    }

    pub fn command(&self, through: &[&str], flags: &[&str]) -> Command {
        let mut words = through.to_vec();
        words.extend([env!("CARGO_BIN_EXE_hostler"), "run", "--json", "--workspace"]);
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(self.workspace.path())
            .args(flags)
            .arg("Do it.");
        self.surroundings(&mut command);
        command
    }

    /// Another command of hostler on the same data, to its end.
    pub async fn hostler(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hostler"));
        command.args(words);
        self.surroundings(&mut command);
        let output = tokio::time::timeout(DEADLINE, command.output())
            .await
            .unwrap()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    fn surroundings(&self, command: &mut Command) {
        command.env("HOSTLER_DATA", self.data.path().join("data"));
        command
            .env_remove("ANTHROPIC_API_KEY")
            .env_remove("ANTHROPIC_BASE_URL")
            .env_remove("HOSTLER_URL");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
    }

    /// The name that this product's sandboxes, cgroups and ranges go by.
    pub fn path(&self) -> &Path {
        self.data.path()
    }
}

pub async fn ran(mut command: Command) -> Ran {
    let output = tokio::time::timeout(DEADLINE, command.output())
        .await
        .expect("the run takes too long")
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let object = text
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Ran {
        code: output.status.code(),
        object,
        errors,
    }
}

/// A script in which the agent runs one command and says what it printed.
pub fn says(command: &str) -> Value {
    json!({"name": "attack", "turns": [
        {"reply": [{"tool_use": {"name": "Bash", "input": {"command": command}}}]},
        {"reply": [{"text": "{{last_tool_result}}"}]},
    ]})
}

pub fn python(program: &str) -> String {
    format!("/usr/bin/python3 - <<'END-OF-PROGRAM'\n{program}\nEND-OF-PROGRAM")
}

/// A model that takes no other key than [`KEY`].
pub async fn model(script: &Value) -> Server {
    let script = Script::parse(&script.to_string()).unwrap();
    let options = Options {
        api_key: Some(KEY.to_owned()),
        ..Options::default()
    };
    Server::bind("127.0.0.1:0", script, options).await.unwrap()
}

/// A shell command that does not end, and is known by its mark.
pub fn endless(mark: &str) -> String {
    format!("sh -c 'sleep 600; :' {mark}")
}

/// How many processes of [`endless`] with this mark there are.
pub fn at_work(mark: &str) -> usize {
    running(&format!("sleep 600; :\0{mark}\0"))
}

/// Processes of the machine that have a word in their arguments.
pub fn running(word: &str) -> usize {
    let arguments =
        |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .map(arguments)
        .filter(|bytes| String::from_utf8_lossy(bytes).contains(word))
        .count()
}
