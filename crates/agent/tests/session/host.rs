//! The host's side: starts the runtime on a thread of its own, writes lines, reads frames, each with a deadline.

use crate::server::Server;
use crate::tools::{Log, Scripted};
use agent::{Arguments, Environment, Exit, Setup, Signal};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines};
use tokio::sync::{mpsc, oneshot};

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Place {
    root: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("work")).unwrap();
        Self { root }
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root.path().join("config")
    }

    /// All transcripts, as paths.
    pub(crate) fn transcripts(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for project in std::fs::read_dir(self.config().join("projects"))
            .into_iter()
            .flatten()
        {
            for entry in std::fs::read_dir(project.unwrap().path()).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "jsonl") {
                    found.push(path);
                }
            }
        }
        found
    }

    pub(crate) fn lines_of(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

pub(crate) struct Host {
    input: Option<DuplexStream>,
    output: Lines<BufReader<DuplexStream>>,
    pub(crate) signals: mpsc::Sender<Signal>,
    exit: oneshot::Receiver<Exit>,
    pub(crate) log: Log,
}

#[derive(Default)]
pub(crate) struct Options<'a> {
    pub(crate) arguments: &'a [&'a str],
    pub(crate) environment: &'a [(&'a str, &'a str)],
    pub(crate) real_tools: bool,
}

pub(crate) fn start(place: &Place, server: &Server, arguments: &[&str]) -> Host {
    start_with(
        place,
        server,
        &Options {
            arguments,
            ..Options::default()
        },
    )
}

pub(crate) fn start_with(place: &Place, server: &Server, options: &Options<'_>) -> Host {
    let mut line = vec![
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
    ];
    if !options.arguments.contains(&"--model") {
        line.extend(["--model", "claude-haiku-4-5"]);
    }
    line.extend(options.arguments);
    let arguments = Arguments::parse(line.iter().map(OsString::from)).unwrap();
    let mut variables = vec![
        (
            "HOME".to_owned(),
            place.root.path().to_string_lossy().into_owned(),
        ),
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
        (
            "CLAUDE_CONFIG_DIR".to_owned(),
            place.config().to_string_lossy().into_owned(),
        ),
        ("ANTHROPIC_BASE_URL".to_owned(), server.url.clone()),
        ("ANTHROPIC_API_KEY".to_owned(), "key".to_owned()),
        ("IS_SANDBOX".to_owned(), "1".to_owned()),
    ];
    variables.extend(
        options
            .environment
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned())),
    );
    let mut environment = Environment::read(variables);
    environment.first_retry_delay = Duration::from_millis(5);
    let (input, agent_input) = tokio::io::duplex(1 << 16);
    let (agent_output, output) = tokio::io::duplex(1 << 16);
    let (signals, received) = mpsc::channel(4);
    let (exited, exit) = oneshot::channel();
    let log = Log::default();
    let cwd = place.work();
    let scripted = (!options.real_tools).then(|| Scripted {
        log: log.clone(),
        cwd: cwd.clone(),
    });
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let tools = scripted.map(|tools| Box::new(tools) as Box<dyn agent::Tools>);
        let setup = Setup {
            arguments,
            environment,
            cwd,
            tools,
        };
        let _ = exited.send(runtime.block_on(agent::serve(setup, agent_input, agent_output, received)));
        runtime.shutdown_background();
    });
    Host {
        input: Some(input),
        output: BufReader::new(output).lines(),
        signals,
        exit,
        log,
    }
}

impl Host {
    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_raw(&format!("{frame}\n")).await;
    }

    pub(crate) async fn send_raw(&mut self, text: &str) {
        self.input
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .await
            .unwrap();
    }

    pub(crate) async fn prompt(&mut self, text: &str) {
        self.send(json!({"type":"user","session_id":"","message":{"role":"user","content":text},"parent_tool_use_id":null}))
            .await;
    }

    pub(crate) async fn control(&mut self, id: &str, request: Value) {
        self.send(json!({"type":"control_request","request_id":id,"request":request}))
            .await;
    }

    /// The next frame; `None` at the end of the output.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(DEADLINE, self.output.next_line())
            .await
            .expect("a frame in time")
            .unwrap();
        line.map(|line| serde_json::from_str(&line).expect("frames are JSON"))
    }

    /// Frames up to and with the first that is meant.
    pub(crate) async fn until(&mut self, is_meant: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            let found = is_meant(&frame);
            frames.push(frame);
            if found {
                return frames;
            }
        }
        panic!("the output ended first: {frames:#?}")
    }

    pub(crate) async fn until_result(&mut self) -> Vec<Value> {
        self.until(|frame| frame["type"] == "result").await
    }

    /// The answer to a control request, and what came before it.
    pub(crate) async fn answer(&mut self, id: &str) -> Value {
        let frames = self
            .until(|frame| frame["type"] == "control_response" && frame["response"]["request_id"] == id)
            .await;
        frames.last().unwrap()["response"].clone()
    }

    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Closes the input and reads to the end: the frames that were left, and the exit.
    pub(crate) async fn finish(mut self) -> (Vec<Value>, Exit) {
        self.close_input();
        self.finish_without_closing().await
    }

    /// Reads to the end, which the input does not bring about.
    pub(crate) async fn finish_without_closing(mut self) -> (Vec<Value>, Exit) {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        let exit = tokio::time::timeout(DEADLINE, self.exit)
            .await
            .expect("the exit in time")
            .unwrap();
        (frames, exit)
    }
}

pub(crate) fn result(frames: &[Value]) -> &Value {
    frames
        .last()
        .filter(|frame| frame["type"] == "result")
        .expect("a result")
}

pub(crate) fn of_type<'a>(frames: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    frames.iter().filter(move |frame| frame["type"] == kind)
}

pub(crate) fn of_subtype<'a>(frames: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    of_type(frames, "system").filter(move |frame| frame["subtype"] == kind)
}

/// The tool results the host was shown: id, content, whether an error.
pub(crate) fn tool_results(frames: &[Value]) -> Vec<(String, String, bool)> {
    of_type(frames, "user")
        .filter_map(|frame| frame["message"]["content"].as_array())
        .flatten()
        .filter(|block| block["type"] == "tool_result")
        .map(|block| {
            let content = block["content"]
                .as_str()
                .map_or_else(|| block["content"].to_string(), str::to_owned);
            (
                block["tool_use_id"].as_str().unwrap().to_owned(),
                content,
                block["is_error"] == true,
            )
        })
        .collect()
}

/// Every `tool_use` of a request is answered in the message right after it, and roles alternate.
pub(crate) fn assert_valid(body: &Value) {
    let messages = body["messages"].as_array().unwrap();
    for (index, message) in messages.iter().enumerate() {
        let expected = if index % 2 == 0 { "user" } else { "assistant" };
        assert_eq!(message["role"], expected, "roles alternate: {body:#}");
        for block in message["content"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|block| block["type"] == "tool_use")
        {
            let answered = messages.get(index + 1).is_some_and(|next| {
                next["content"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|result| result["tool_use_id"] == block["id"])
            });
            assert!(answered, "{} has a result: {body:#}", block["id"]);
        }
    }
}
