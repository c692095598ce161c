//! `hostler bench runtime`: from the spawn of a runtime until it has answered initialize, and what it weighs then.

use crate::candidate::{Candidate, row};
use crate::failure::Failure;
use crate::goal::{Figure, Goal};
use crate::memory;
use crate::options::Options;
use crate::peers;
use crate::report::{Amount, Report, Unit};
use crate::rounds::take_turns;
use crate::stack::one;
use std::future::Future;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{sleep, timeout};

const NATIVE: &str = "native runtime";
const CLAUDE: &str = "claude";
const INITIALIZED: &str = "spawn to initialize answered";
/// Starts the shell too.
const FIRST_ROUND_TRIP: &str = "first Bash round trip";
const ROUND_TRIP: &str = "next Bash round trip";
const IDLE: &str = "idle after initialize";

/// What the official SDKs call a runtime with.
const ARGUMENTS: [&str; 5] = [
    "--output-format",
    "stream-json",
    "--verbose",
    "--input-format",
    "stream-json",
];
const REQUEST: &str = concat!(
    r#"{"type":"control_request","request_id":"bench","request":{"subtype":"initialize","hooks":null}}"#,
    "\n"
);
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: u64 = 8 << 20;
const SETTLE: Duration = Duration::from_secs(1);

/// A runtime that speaks the Agent SDK's process protocol, as it is started on this machine.
#[derive(Debug, Clone)]
pub struct Program {
    name: &'static str,
    path: PathBuf,
    /// Before [`ARGUMENTS`].
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Program {
    /// Ours: the binary, and the argument that selects its role.
    pub fn native(path: PathBuf, arguments: Vec<String>) -> Self {
        Self {
            name: NATIVE,
            path,
            arguments,
            environment: isolated(),
        }
    }

    fn claude(path: PathBuf) -> Self {
        Self {
            name: CLAUDE,
            path,
            arguments: Vec::new(),
            environment: isolated(),
        }
    }

    fn candidate(&self) -> Candidate {
        let program = self.clone();
        one(self.name, INITIALIZED, move || {
            let program = program.clone();
            async move { program.initialize().await.map(|(elapsed, _)| elapsed) }
        })
    }

    /// Starts it and waits for its answer; it ends when the handle is dropped.
    async fn initialize(&self) -> Result<(Duration, Running), Failure> {
        let directory = tempfile::tempdir().map_err(|source| self.cannot_run(source))?;
        let started = Instant::now();
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .args(ARGUMENTS)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("HOME", directory.path())
            .env("CLAUDE_CONFIG_DIR", directory.path())
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| self.cannot_run(source))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(self.failed("it has no pipes"));
        };
        let mut running = Running {
            child,
            input,
            output: BufReader::new(output),
            _directory: directory,
        };
        match timeout(PATIENCE, running.ask()).await {
            Ok(Ok(true)) => Ok((started.elapsed(), running)),
            Ok(Ok(false)) => Err(self.failed("it ended without an answer to initialize")),
            Ok(Err(source)) => Err(self.cannot_run(source)),
            Err(_) => Err(Failure::Deadline {
                step: self.name.to_owned(),
                seconds: PATIENCE.as_secs(),
            }),
        }
    }

    async fn idle_bytes(&self) -> Result<Option<u64>, Failure> {
        let (_, running) = self.initialize().await?;
        sleep(SETTLE).await;
        Ok(running.child.id().and_then(memory::of_tree))
    }

    fn cannot_run(&self, source: std::io::Error) -> Failure {
        Failure::Run {
            program: self.path.display().to_string(),
            source,
        }
    }

    fn failed(&self, reason: &str) -> Failure {
        Failure::Program {
            program: self.path.display().to_string(),
            reason: reason.to_owned(),
        }
    }
}

struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _directory: tempfile::TempDir,
}

impl Running {
    /// Whether it answered before its output ended.
    async fn ask(&mut self) -> std::io::Result<bool> {
        self.input.write_all(REQUEST.as_bytes()).await?;
        let mut lines = (&mut self.output).take(MAX_ANSWER_BYTES).lines();
        while let Some(line) = lines.next_line().await? {
            if answers(&line) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// `bash_round_trips` runs a session in which the model asks for `true` twice, and returns the times from the end of the
/// model's answer to the arrival of the next request, which holds the result.
pub async fn runtime<W, F>(native: Program, mut bash_round_trips: W, options: &Options) -> Report
where
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<[Duration; 2], Failure>> + Send + 'static,
{
    let mut report = options.report("runtime");
    let mut programs = vec![native];
    match peers::find(CLAUDE) {
        Some(path) => programs.push(Program::claude(path)),
        None => report.not_measured(CLAUDE, "not installed"),
    }
    let mut candidates: Vec<Candidate> = programs.iter().map(Program::candidate).collect();
    candidates.push(Candidate::new(
        NATIVE,
        &[FIRST_ROUND_TRIP, ROUND_TRIP],
        move || {
            let work = bash_round_trips();
            async move { work.await.map(Vec::from) }
        },
    ));
    report.add(take_turns(&mut candidates, options.plan()).await);
    for program in programs {
        let name = row(program.name, IDLE);
        match program.idle_bytes().await {
            Ok(Some(value)) => report.add_amounts(vec![Amount {
                name,
                value,
                unit: Unit::Bytes,
            }]),
            Ok(None) => report.not_measured(name, "the kernel does not show it to this user"),
            Err(failure) => report.not_measured(name, failure.in_full()),
        }
    }
    let at_most = |measure, millis| Goal::AtMost {
        row: row(NATIVE, measure),
        figure: Figure::P50,
        limit: Duration::from_millis(millis),
    };
    report.judge(&[
        at_most(INITIALIZED, 10),
        at_most(ROUND_TRIP, 4),
        Goal::Below {
            row: row(NATIVE, INITIALIZED),
            other: row(CLAUDE, INITIALIZED),
        },
    ])
}

/// An environment in which nothing is reached and nothing of the user is seen.
fn isolated() -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    [
        ("PATH", path.as_str()),
        ("ANTHROPIC_API_KEY", "none"),
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:9"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn answers(line: &str) -> bool {
    let Ok(frame) = serde_json::from_str::<serde_json::Value>(line) else {
        return false;
    };
    let response = &frame["response"];
    frame["type"] == "control_response"
        && response["request_id"] == "bench"
        && response["subtype"] == "success"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::native("/bin/sh".into(), vec!["-c".to_owned(), script.to_owned()])
    }

    const ANSWER: &str =
        r#"{"type":"control_response","response":{"subtype":"success","request_id":"bench"}}"#;

    #[tokio::test]
    async fn a_runtime_is_timed_until_it_answers_initialize() {
        let script =
            format!("read -r request; echo '{{\"type\":\"system\"}}'; echo '{ANSWER}'; exec sleep 60");
        let (elapsed, running) = shell(&script).initialize().await.unwrap();
        assert!(elapsed > Duration::ZERO && elapsed < PATIENCE);
        assert!(memory::of_tree(running.child.id().unwrap()).unwrap() > 0);
    }

    #[tokio::test]
    async fn a_runtime_that_ends_or_is_not_there_is_a_failure() {
        let ended = shell("exit 0").initialize().await.err().unwrap();
        assert!(
            matches!(ended, Failure::Program { .. } | Failure::Run { .. }),
            "{ended:?}"
        );
        let absent = Program::native("/no/such/runtime".into(), Vec::new())
            .initialize()
            .await
            .err()
            .unwrap();
        assert!(matches!(absent, Failure::Run { .. }), "{absent:?}");
    }

    #[test]
    fn only_the_answer_to_our_request_counts() {
        assert!(answers(ANSWER));
        for line in [
            &ANSWER.replace("bench", "other"),
            &ANSWER.replace("success", "error"),
            "{}",
            "not json",
        ] {
            assert!(!answers(line), "{line}");
        }
    }
}
