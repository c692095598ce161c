//! Scripted runtimes: what the process protocol looks like from the other end.

use crate::guest::Output;
use guest_protocol::{Exit, Spawn, Stream};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, mpsc};

/// Plays a process from its start.
pub type Script = Arc<
    dyn Fn(Spawn, mpsc::UnboundedReceiver<Line>, Output) -> Pin<Box<dyn Future<Output = ()> + Send>>
        + Send
        + Sync,
>;

/// What a runtime gets.
#[derive(Debug)]
pub enum Line {
    Json(Value),
    Signal(i32),
}

/// The scripted agent: a message's text is its plan, words that are played one after another, like
/// `say:hello tool:ls wait exit:3`. The gate lets a test hold it where it wants it.
#[derive(Clone, Default)]
pub struct Gate {
    /// Passed by `wait`.
    pub open: Arc<Notify>,
    /// Told when a runtime has come to a `wait`.
    pub reached: Arc<Notify>,
    pub lines_in: Arc<std::sync::Mutex<Vec<Value>>>,
    /// Calls that were allowed, each time that they ran.
    pub ran: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Gate {
    pub fn script(&self) -> Script {
        let gate = self.clone();
        Arc::new(move |spawn, lines, output| Box::pin(play(gate.clone(), spawn, lines, output)))
    }

    /// The texts of the messages that runtimes got.
    pub fn messages(&self) -> Vec<String> {
        let lines = self.lines_in.lock().unwrap();
        lines
            .iter()
            .filter(|line| line["type"] == "user")
            .map(text_of)
            .collect()
    }
}

fn text_of(line: &Value) -> String {
    let blocks = line["message"]["content"].as_array().unwrap();
    let texts = blocks.iter().filter_map(|block| block["text"].as_str());
    texts
        .filter(|text| !text.starts_with("<system-reminder>"))
        .collect()
}

fn next_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("toolu_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

struct Agent {
    output: Output,
    gate: Gate,
}

async fn play(gate: Gate, spawn: Spawn, mut lines: mpsc::UnboundedReceiver<Line>, output: Output) {
    let agent = Agent { output, gate };
    let again = spawn
        .argv
        .iter()
        .position(|argument| argument == "--run-tool-uses");
    let mut again = again.map(|at| {
        spawn.argv[at + 1]
            .split(',')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    // A line that comes twice is acted on once.
    let mut seen = std::collections::BTreeSet::new();
    while let Some(line) = lines.recv().await {
        match line {
            Line::Json(line) => {
                agent.gate.lines_in.lock().unwrap().push(line.clone());
                if line["uuid"]
                    .as_str()
                    .is_some_and(|uuid| !seen.insert(uuid.to_owned()))
                {
                    continue;
                }
                match line["type"].as_str().unwrap() {
                    "control_request" => {
                        agent.success(&line, &json!({}));
                        if let Some(calls) = again.take()
                            && agent.approve(&calls, &mut lines).await.is_continue()
                        {
                            agent.say("resumed");
                            let _ = agent.ends(&json!({}));
                        }
                    }
                    "user" if agent.turn(&text_of(&line), &mut lines).await.is_break() => return,
                    _ => {}
                }
            }
            Line::Signal(signal) => return agent.output.exit(Exit::Signal(signal)),
        }
    }
}

impl Agent {
    fn frame(&self, frame: &Value) {
        self.output.line(frame.to_string());
    }

    fn success(&self, request: &Value, response: &Value) {
        let id = &request["request_id"];
        self.frame(&json!({"type":"control_response",
            "response":{"subtype":"success","request_id":id,"response":response}}));
    }

    async fn turn(&self, plan: &str, lines: &mut mpsc::UnboundedReceiver<Line>) -> std::ops::ControlFlow<()> {
        self.frame(&json!({"type":"system","subtype":"init","session_id":"s","uuid":"u","model":"m"}));
        for word in plan.split_whitespace() {
            let (verb, rest) = word.split_once(':').unwrap_or((word, ""));
            match verb {
                "say" => self.say(rest),
                "tool" => self.tool(rest, true),
                "start" => self.tool(rest, false),
                "lines" => (0..rest.parse().unwrap()).for_each(|number: u64| self.say(&number.to_string())),
                "raw" => self.output.line(rest),
                "stderr" => self.output.data(Stream::Stderr, rest.as_bytes().to_vec(), 0),
                "long" => self
                    .output
                    .data(Stream::Stdout, b"{\"type\":".to_vec(), 5_000_000),
                "exit" => {
                    self.output.exit(Exit::Code(rest.parse().unwrap()));
                    return std::ops::ControlFlow::Break(());
                }
                "killed" => {
                    self.output.exit(Exit::Signal(9));
                    return std::ops::ControlFlow::Break(());
                }
                "ask" => self.ask(rest, lines).await,
                "approve" | "custom" => {
                    let calls: Vec<String> = rest.split(',').map(|_| next_id()).collect();
                    for (id, input) in calls.iter().zip(rest.split(',')) {
                        let name = if verb == "approve" { "Bash" } else { "weather" };
                        let input = json!({"command": input});
                        self.assistant(&json!({"type":"tool_use","id":id,"name":name,"input":input}));
                    }
                    let answered = if verb == "approve" {
                        self.approve(&calls, lines).await
                    } else {
                        self.custom(&calls, lines).await
                    };
                    if answered.is_break() {
                        return std::ops::ControlFlow::Continue(());
                    }
                }
                "wait" => {
                    self.gate.reached.notify_one();
                    self.gate.open.notified().await;
                }
                "hang" => return self.hang(lines, false).await,
                "deaf" => return self.hang(lines, true).await,
                "max_turns" => return self.fails("error_max_turns", "Reached maximum number of turns (2)"),
                "budget" => return self.fails("error_max_budget_usd", "Reached maximum budget ($1)"),
                "refuse" => return self.ends(&json!({"stop_reason":"refusal"})),
                "overloaded" => return self.overloaded(),
                "requesting" => self.frame(&json!({"type":"system","subtype":"status","status":"requesting",
                    "session_id":"s","uuid":"u"})),
                "retry" => self.retry(),
                "cut" => self.cut(rest),
                "compact" => self.frame(
                    &json!({"type":"system","subtype":"compact_boundary","session_id":"s",
                    "uuid":"u","compact_metadata":{"trigger":"auto","pre_tokens":9}}),
                ),
                other => panic!("the plan has no word {other}"),
            }
        }
        self.ends(&json!({}))
    }

    /// A model call that says something, with its stream.
    fn say(&self, text: &str) {
        let event = |event: Value| {
            self.frame(&json!({"type":"stream_event","event":event,"uuid":"u","session_id":"s"}));
        };
        event(json!({"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}));
        event(json!({"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}));
        let middle = text.len() / 2;
        for part in [&text[..middle], &text[middle..]] {
            event(json!({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":part}}));
        }
        self.assistant(&json!({"type":"text","text":text}));
        event(json!({"type":"content_block_stop","index":0}));
        event(json!({"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}));
        event(json!({"type":"message_stop"}));
    }

    fn tool(&self, command: &str, ends: bool) {
        let id = next_id();
        self.assistant(&json!({"type":"tool_use","id":id,"name":"Bash","input":{"command":command}}));
        if ends {
            self.result(&id, &format!("did {command}"));
        }
    }

    fn result(&self, id: &str, text: &str) {
        self.frame(
            &json!({"type":"user","parent_tool_use_id":null,"session_id":"s","message":{"role":"user",
            "content":[{"type":"tool_result","tool_use_id":id,"content":text}]}}),
        );
    }

    /// Asks about all calls at once, and runs each as it is answered. An interrupt ends the turn.
    async fn approve(
        &self,
        calls: &[String],
        lines: &mut mpsc::UnboundedReceiver<Line>,
    ) -> std::ops::ControlFlow<()> {
        for id in calls {
            self.frame(
                &json!({"type":"control_request","request_id":format!("ask-{id}"),"request":{
                "subtype":"can_use_tool","tool_name":"Bash","input":{"command":id},"tool_use_id":id}}),
            );
        }
        let mut open: Vec<&String> = calls.iter().collect();
        while !open.is_empty() {
            let Some(Line::Json(line)) = lines.recv().await else {
                return std::ops::ControlFlow::Break(());
            };
            self.gate.lines_in.lock().unwrap().push(line.clone());
            if line["request"]["subtype"] == "interrupt" {
                self.success(&line, &json!({}));
                for id in &open {
                    self.result(id, "interrupted");
                }
                let _ = self.fails("error_during_execution", "interrupted");
                return std::ops::ControlFlow::Break(());
            }
            let answered = line["response"]["request_id"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            open.retain(|id| {
                let is_this = answered == format!("ask-{id}");
                if is_this {
                    let answer = &line["response"]["response"];
                    let allowed = answer["behavior"] == "allow";
                    let text = if allowed {
                        "ran"
                    } else {
                        answer["message"].as_str().unwrap()
                    };
                    self.gate
                        .ran
                        .lock()
                        .unwrap()
                        .extend(allowed.then(|| (*id).clone()));
                    self.result(id, text);
                }
                !is_this
            });
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Calls the client's tool, one call after another, and says what the last one gave.
    async fn custom(
        &self,
        calls: &[String],
        lines: &mut mpsc::UnboundedReceiver<Line>,
    ) -> std::ops::ControlFlow<()> {
        let mut said = String::new();
        for id in calls {
            self.frame(
                &json!({"type":"control_request","request_id":format!("call-{id}"),"request":{
                "subtype":"mcp_message","server_name":"custom","message":{"jsonrpc":"2.0","id":1,
                "method":"tools/call","params":{"name":"weather","arguments":{},
                "_meta":{"claudecode/toolUseId":id}}}}}),
            );
            loop {
                let Some(Line::Json(line)) = lines.recv().await else {
                    return std::ops::ControlFlow::Break(());
                };
                self.gate.lines_in.lock().unwrap().push(line.clone());
                if line["response"]["request_id"] == format!("call-{id}") {
                    let result = &line["response"]["response"]["mcp_response"]["result"];
                    let last = result["content"].as_array().unwrap().last().unwrap();
                    last["text"].as_str().unwrap().clone_into(&mut said);
                    self.result(id, &said);
                    break;
                }
            }
        }
        self.say(&said);
        std::ops::ControlFlow::Continue(())
    }

    fn assistant(&self, block: &Value) {
        self.frame(
            &json!({"type":"assistant","parent_tool_use_id":null,"session_id":"s","uuid":"u","message":{
            "id":"msg_1","type":"message","role":"assistant","model":"m","content":[block]}}),
        );
    }

    async fn ask(&self, tool: &str, lines: &mut mpsc::UnboundedReceiver<Line>) {
        self.frame(
            &json!({"type":"control_request","request_id":"ask-1","request":{"subtype":"can_use_tool",
            "tool_name":tool,"input":{"x":1},"tool_use_id":"toolu_ask"}}),
        );
        while let Some(Line::Json(line)) = lines.recv().await {
            if line["type"] == "control_response" {
                return self.say(line["response"]["response"]["behavior"].as_str().unwrap());
            }
        }
    }

    /// Works until it is interrupted; one that is deaf only hears signals.
    async fn hang(&self, lines: &mut mpsc::UnboundedReceiver<Line>, deaf: bool) -> std::ops::ControlFlow<()> {
        self.gate.reached.notify_one();
        loop {
            let line = lines.recv().await;
            if let Some(Line::Json(line)) = &line {
                self.gate.lines_in.lock().unwrap().push(line.clone());
            }
            match line {
                Some(Line::Json(line)) if line["request"]["subtype"] == "interrupt" && !deaf => {
                    self.success(&line, &json!({"still_queued":[]}));
                    return self.fails("error_during_execution", "interrupted");
                }
                // SIGTERM alone does not impress it.
                Some(Line::Json(_) | Line::Signal(15)) => {}
                Some(Line::Signal(signal)) => {
                    self.output.exit(Exit::Signal(signal));
                    return std::ops::ControlFlow::Break(());
                }
                None => return std::ops::ControlFlow::Break(()),
            }
        }
    }

    fn ends(&self, more: &Value) -> std::ops::ControlFlow<()> {
        let mut result = json!({"type":"result","subtype":"success","is_error":false,"duration_ms":1,
            "duration_api_ms":1,"num_turns":1,"result":"done","session_id":"s","uuid":"u"});
        for (key, value) in more.as_object().unwrap() {
            result[key] = value.clone();
        }
        self.frame(&result);
        std::ops::ControlFlow::Continue(())
    }

    fn fails(&self, subtype: &str, error: &str) -> std::ops::ControlFlow<()> {
        self.ends(&json!({"subtype":subtype,"is_error":true,"errors":[error],"result":null}))
    }

    /// A reply that breaks off after its calls, and is asked for again.
    fn cut(&self, command: &str) {
        self.frame(
            &json!({"type":"stream_event","uuid":"u","session_id":"s","event":{"type":"message_start",
            "message":{"usage":{"input_tokens":10}}}}),
        );
        self.tool(command, false);
        let id = next_id();
        self.assistant(&json!({"type":"tool_use","id":id,"name":"weather","input":{}}));
        self.retry();
    }

    fn retry(&self) {
        self.frame(
            &json!({"type":"system","subtype":"api_retry","session_id":"s","uuid":"u","attempt":1,
            "max_retries":10,"retry_delay_ms":5,"error_status":null,"error":"server_error"}),
        );
    }

    fn overloaded(&self) -> std::ops::ControlFlow<()> {
        self.frame(
            &json!({"type":"system","subtype":"api_retry","session_id":"s","uuid":"u","attempt":1,
            "max_retries":10,"retry_delay_ms":5,"error_status":529,"error":"overloaded"}),
        );
        self.frame(&json!({"type":"assistant","parent_tool_use_id":null,"session_id":"s","uuid":"u","error":"server_error",
            "message":{"id":"m","type":"message","role":"assistant","model":"<synthetic>",
            "content":[{"type":"text","text":"API Error: 529 Overloaded"}]}}));
        let text = "API Error: 529 Overloaded";
        self.ends(
            &json!({"is_error":true,"result":text,"api_error_status":529,"terminal_reason":"api_error"}),
        )
    }
}
