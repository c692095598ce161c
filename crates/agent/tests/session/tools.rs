//! Tools whose behaviour a test controls: `Bash` runs alone, `Read` beside others, `Write` edits.

use agent_tools::{Concurrency, Definition, Kind, Outcome};
use serde_json::{Value, json};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What was called, in order: `start X` and `end X`.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until a call has got as far as `line`: its frame is shown before the reply has ended.
    pub(crate) async fn wait_for(&self, line: &str) {
        let wait = async {
            while !self.lines().iter().any(|found| found == line) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .expect("the call in time");
    }

    pub(crate) fn note(&self, line: &str) {
        self.add(line.to_owned());
    }

    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

pub(crate) struct Scripted {
    pub(crate) log: Log,
    pub(crate) cwd: PathBuf,
}

fn definition(name: &'static str, key: &str, concurrency: Concurrency, kind: Kind) -> Definition {
    Definition {
        name,
        description: format!("{name}, scripted"),
        input_schema: json!({"type":"object","additionalProperties":false,"required":[key],
            "properties":{key:{"type":"string"},"description":{"type":"string"}}}),
        concurrency,
        kind,
    }
}

impl agent::Tools for Scripted {
    fn definitions(&self) -> Vec<Definition> {
        vec![
            definition("Bash", "command", Concurrency::Exclusive, Kind::Execute),
            definition("Read", "file_path", Concurrency::Safe, Kind::Read),
            definition("Write", "file_path", Concurrency::Exclusive, Kind::Edit),
        ]
    }

    /// `hang` waits for its cancellation, `stubborn` for ever, `wait:a` until `start a` has been seen; `fail` fails.
    fn call<'a>(
        &'a self,
        name: &'a str,
        input: Value,
        cancel: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Outcome> + 'a>> {
        Box::pin(async move {
            let argument = input["command"]
                .as_str()
                .or(input["file_path"].as_str())
                .unwrap_or_default()
                .to_owned();
            self.log.add(format!("start {argument}"));
            let mut is_error = false;
            match argument.split_once(':') {
                None if argument == "hang" => {
                    cancel.cancelled().await;
                    is_error = true;
                }
                None if argument == "stubborn" => std::future::pending().await,
                None if argument == "fail" => is_error = true,
                Some(("wait", other)) => {
                    let line = format!("start {other}");
                    while !self.log.lines().contains(&line) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                Some(("huge", size)) => {
                    let text = "x".repeat(size.parse().unwrap());
                    return Outcome {
                        content: vec![json!({"type":"text","text":text})],
                        is_error,
                        result: json!({"stdout":text}),
                    };
                }
                _ => {}
            }
            self.log.add(format!("end {argument}"));
            let text = format!("{name} {argument}");
            Outcome {
                content: vec![json!({"type":"text","text":text})],
                is_error,
                result: json!({"stdout":text}),
            }
        })
    }

    fn current_directory(&self) -> PathBuf {
        self.cwd.clone()
    }

    fn note_files_read(&self, _: Vec<PathBuf>) {}

    fn shutdown<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(std::future::ready(()))
    }
}
