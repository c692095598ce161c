//! The end of a turn: the conversation left valid, the result frame, the records beside the chain.

use super::perform::{INTERRUPTED, Performed};
use super::{Call, End, Turn};
use crate::model::CallError;
use crate::run::Signal;
use crate::transcript::Body;
use serde::Serialize;
use serde_json::json;
use stream_json::{ApiMessage, Assistant, Block, Extra, Frame, Role, SystemEvent, TurnResult, Usage};
use uuid::Uuid;

/// What the result frame says about an end.
struct Verdict {
    subtype: &'static str,
    terminal_reason: &'static str,
    result: Option<String>,
    errors: Vec<String>,
    api_error_status: Option<u16>,
    stop_reason: Option<String>,
    is_error: bool,
}

impl Verdict {
    fn error(subtype: &'static str, terminal_reason: &'static str, error: String) -> Self {
        Self {
            subtype,
            terminal_reason,
            result: None,
            errors: vec![error],
            api_error_status: None,
            stop_reason: None,
            is_error: true,
        }
    }

    fn api_error(terminal_reason: &'static str, text: String, status: Option<u16>) -> Self {
        Self {
            subtype: "success",
            terminal_reason,
            result: Some(text),
            errors: Vec::new(),
            api_error_status: status,
            stop_reason: Some("stop_sequence".to_owned()),
            is_error: true,
        }
    }
}

impl Turn<'_> {
    /// Sends the result; whether it is an error. A process that is told to end says nothing, neither to the host nor in
    /// the transcript: nobody has interrupted the turn, and it may go on elsewhere.
    pub(crate) async fn finish(mut self, end: End) -> bool {
        if self.session.signal.get() == Some(Signal::Terminate) {
            self.report_lost_lines().await;
            self.note_totals();
            return true;
        }
        self.answer_open_calls(&end).await;
        let verdict = self.verdict(end).await;
        let is_error = verdict.is_error;
        self.report_lost_lines().await;
        self.note_totals();
        self.send_result(verdict).await;
        for uuid in &self.user_uuids {
            self.session.output.lifecycle(uuid, "completed").await;
        }
        is_error
    }

    /// Every call gets a result, whatever ended the turn.
    async fn answer_open_calls(&mut self, end: &End) {
        let text = match end {
            End::Budget { .. } => "[Not run: the budget of the session is used up]",
            _ => INTERRUPTED,
        };
        for id in self.work.conversation.open_calls() {
            let call = Call {
                id,
                name: String::new(),
                input: json!({}),
                line: self.work.transcript.leaf().unwrap_or_default().to_owned(),
                bad_input: None,
                was_cut_off: false,
            };
            self.answer(&call, Performed::error(text)).await;
        }
    }

    async fn verdict(&mut self, end: End) -> Verdict {
        match end {
            End::Completed { text, stop_reason } => Verdict {
                subtype: "success",
                terminal_reason: "completed",
                result: Some(text),
                errors: Vec::new(),
                api_error_status: None,
                stop_reason,
                is_error: false,
            },
            End::Interrupted { in_tools } => {
                let text = if in_tools {
                    INTERRUPTED
                } else {
                    "[Request interrupted by user]"
                };
                self.inject(text).await;
                let reason = if in_tools {
                    "aborted_tools"
                } else {
                    "aborted_streaming"
                };
                Verdict::error("error_during_execution", reason, text.to_owned())
            }
            End::ApiError(error) => {
                self.leave_out_what_was_refused(&error);
                let reason = if error.is_prompt_too_long() {
                    "prompt_too_long"
                } else {
                    "api_error"
                };
                let text = error.report();
                self.show_api_error(&text, result_class(&error), error.status())
                    .await;
                Verdict::api_error(reason, text, error.status())
            }
            End::OutputLimit => {
                let limit = self.session.max_output_tokens();
                let text = format!(
                    "API Error: the reply reached the {limit} output token maximum several times in a row. \
                     CLAUDE_CODE_MAX_OUTPUT_TOKENS changes it."
                );
                self.show_api_error(&text, "max_output_tokens", None).await;
                Verdict::api_error("api_error", text, None)
            }
            End::NoRoom => {
                let text =
                    "API Error: the conversation fills the context window even after it was summarised."
                        .to_owned();
                self.show_api_error(&text, "invalid_request", None).await;
                Verdict::api_error("rapid_refill_breaker", text, None)
            }
            End::MaxTurns { limit } => {
                let text = format!("Reached maximum number of turns ({limit})");
                Verdict::error("error_max_turns", "max_turns", text)
            }
            End::Budget { limit } => {
                let text = format!("Reached maximum budget (${})", limit.usd());
                Verdict::error("error_max_budget_usd", "budget_exhausted", text)
            }
            End::NoPrice { model } => {
                let text = format!("The budget cannot be kept: no price is known for the model {model}");
                Verdict::error("error_during_execution", "turn_setup_failed", text)
            }
        }
    }

    async fn show_api_error(&mut self, text: &str, class: &str, status: Option<u16>) {
        let message = ApiMessage {
            id: Uuid::new_v4().to_string(),
            kind: "message".to_owned(),
            role: Role::Assistant,
            model: "<synthetic>".to_owned(),
            content: vec![Block::text(text)],
            stop_reason: Some("stop_sequence".to_owned()),
            stop_sequence: Some(String::new()),
            usage: Usage::default(),
            extra: Extra::new(),
        };
        let uuid = self.work.transcript.append(Body::Assistant {
            message: message.clone(),
            request_id: None,
            is_api_error_message: true,
        });
        let mut extra = Extra::new();
        extra.insert("is_api_error_message".to_owned(), json!(true));
        if let Some(status) = status {
            extra.insert("api_error_status".to_owned(), json!(status));
        }
        let frame = Assistant {
            message,
            parent_tool_use_id: None,
            session_id: self.session.id(),
            uuid,
            error: Some(class.to_owned()),
            timestamp: Some(crate::clock::timestamp()),
            request_id: None,
            extra,
        };
        self.session.output.send(Frame::Assistant(Box::new(frame))).await;
    }

    /// A transcript that could not be written is said, once a turn.
    pub(crate) async fn report_lost_lines(&mut self) {
        let Some(error) = self.work.transcript.take_loss() else {
            return;
        };
        let mut body = Extra::new();
        body.insert("subtype".to_owned(), json!("session_writes_lost"));
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull => "ENOSPC",
            std::io::ErrorKind::QuotaExceeded => "EDQUOT",
            _ => "EIO",
        };
        body.insert("error_code".to_owned(), json!(code));
        body.insert("error".to_owned(), json!(error.to_string()));
        body.insert("lost".to_owned(), json!(["transcript"]));
        self.session.output.system(SystemEvent::Other(body)).await;
    }

    fn note_totals(&mut self) {
        #[derive(Serialize)]
        struct CostState<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            #[serde(rename = "sessionId")]
            session_id: String,
            #[serde(flatten)]
            account: &'a crate::account::Account,
        }
        let record = CostState {
            kind: "cost-state",
            session_id: self.session.id(),
            account: &self.work.account,
        };
        self.work.transcript.note(&record);
    }

    async fn send_result(&self, verdict: Verdict) {
        let mut extra = Extra::new();
        if let Some(origin) = &self.origin {
            extra.insert("origin".to_owned(), origin.clone());
        }
        let result = TurnResult {
            subtype: verdict.subtype.to_owned(),
            is_error: verdict.is_error,
            duration_ms: self.started.elapsed().as_millis() as u64,
            duration_api_ms: self.work.account.api_time.as_millis() as u64,
            num_turns: self.number,
            errors: verdict.result.is_none().then_some(verdict.errors),
            result: verdict.result,
            stop_reason: verdict.stop_reason,
            session_id: self.session.id(),
            total_cost_usd: self.work.account.total_cost_usd,
            usage: self.work.account.turn.clone(),
            model_usage: self.work.account.by_model.clone(),
            permission_denials: self.denials.clone(),
            terminal_reason: Some(verdict.terminal_reason.to_owned()),
            api_error_status: verdict.api_error_status,
            user_message_uuids: (!self.user_uuids.is_empty()).then(|| self.user_uuids.clone()),
            uuid: Uuid::new_v4().to_string(),
            extra,
        };
        self.session.output.send(Frame::Result(Box::new(result))).await;
    }
}

/// The class on an assistant frame; an overload is a server error there.
fn result_class(error: &CallError) -> &'static str {
    match error.class() {
        "overloaded" => "server_error",
        class => class,
    }
}
