//! Frames on their way to the host. A frame is handed over whole, in order, and never exceeds what an SDK takes.

use serde_json::{Value, json};
use std::cell::RefCell;
use stream_json::{Block, CommandLifecycle, Content, Extra, Frame, StreamEvent, System, SystemEvent, User};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The Python SDK refuses longer messages by default.
const MAX_FRAME: usize = 1_000_000;

/// Frames that wait for a slow host; then the loop waits too.
const QUEUE: usize = 64;

pub(crate) struct Output {
    lines: mpsc::Sender<Vec<u8>>,
    session_id: RefCell<String>,
}

/// The other end: what writes the lines.
pub(crate) struct Lines(mpsc::Receiver<Vec<u8>>);

pub(crate) fn channel(session_id: String) -> (Output, Lines) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (
        Output {
            lines: sender,
            session_id: RefCell::new(session_id),
        },
        Lines(receiver),
    )
}

impl Lines {
    /// Writes until the output is dropped or `done` is cancelled and everything handed over is written.
    pub(crate) async fn write_to(mut self, mut writer: impl AsyncWrite + Unpin, done: CancellationToken) {
        loop {
            let line = tokio::select! {
                biased;
                line = self.0.recv() => line,
                () = done.cancelled() => {
                    self.0.close();
                    self.0.recv().await
                }
            };
            let Some(line) = line else { break };
            // A host that is gone is noticed by its closed input; the turn's transcript is still kept.
            if writer.write_all(&line).await.is_err() || writer.flush().await.is_err() {
                break;
            }
        }
    }
}

impl Output {
    pub(crate) fn session_id(&self) -> String {
        self.session_id.borrow().clone()
    }

    pub(crate) async fn send(&self, frame: Frame) {
        let Ok(mut line) = frame.to_line() else { return };
        if line.len() > MAX_FRAME
            && let Frame::User(user) = frame
        {
            match Frame::User(Box::new(shortened(*user))).to_line() {
                Ok(short) => line = short,
                Err(_) => return,
            }
        }
        // The receiver is gone only when the process ends.
        let _ = self.lines.send(line).await;
    }

    pub(crate) async fn system(&self, event: SystemEvent) {
        let system = System {
            event,
            session_id: self.session_id(),
            uuid: Uuid::new_v4().to_string(),
        };
        self.send(Frame::System(Box::new(system))).await;
    }

    pub(crate) async fn status(&self, status: Option<&str>) {
        self.system(SystemEvent::Status {
            status: status.map(str::to_owned),
            permission_mode: None,
            compact_result: None,
            compact_error: None,
        })
        .await;
    }

    pub(crate) async fn user(&self, mut user: User) {
        user.session_id = self.session_id();
        user.uuid.get_or_insert_with(|| Uuid::new_v4().to_string());
        self.send(Frame::User(Box::new(user))).await;
    }

    pub(crate) async fn lifecycle(&self, command_uuid: &str, state: &str) {
        self.send(Frame::CommandLifecycle(CommandLifecycle {
            command_uuid: command_uuid.to_owned(),
            state: state.to_owned(),
            session_id: self.session_id(),
            uuid: Uuid::new_v4().to_string(),
        }))
        .await;
    }

    pub(crate) async fn stream_event(&self, event: Value, ttft_ms: Option<u64>) {
        self.send(Frame::StreamEvent(Box::new(StreamEvent {
            event,
            parent_tool_use_id: None,
            session_id: self.session_id(),
            uuid: Uuid::new_v4().to_string(),
            ttft_ms,
        })))
        .await;
    }
}

/// A user frame that fits: first the structured result goes, then the large parts of the content. The model and the
/// transcript keep the whole.
fn shortened(mut user: User) -> User {
    let note = "[left out of this frame: too large]";
    user.tool_use_result = user.tool_use_result.map(|_| json!(note));
    let size = serde_json::to_vec(&user.message).map_or(usize::MAX, |text| text.len());
    if size <= MAX_FRAME / 2 {
        return user;
    }
    let shorten = |text: &mut String| {
        let mut end = text.len().min(MAX_FRAME / 20);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(note);
    };
    match &mut user.message.content {
        Content::Text(text) => shorten(text),
        Content::Blocks(blocks) => {
            blocks.truncate(8);
            for block in blocks {
                match block {
                    Block::Text { text, .. }
                    | Block::ToolResult {
                        content: Value::String(text),
                        ..
                    } => shorten(text),
                    Block::ToolResult { content, .. } => *content = json!(note),
                    other => *other = Block::text(note),
                }
            }
        }
    }
    user.extra = Extra::new();
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_that_no_sdk_would_take_is_shortened_and_stays_readable() {
        let (output, Lines(mut lines)) = channel("s".to_owned());
        let huge = "é".repeat(900_000);
        for block in [
            Block::text(huge.clone()),
            Block::tool_result("t", json!(huge), false),
            Block::tool_result("t", json!([{"type":"image","source":{"data":huge}}]), false),
        ] {
            let mut user = User::new(Content::Blocks(vec![block]));
            user.tool_use_result = Some(json!({"stdout": huge}));
            output.user(user).await;
            let line = lines.recv().await.unwrap();
            assert!(line.len() < MAX_FRAME, "{}", line.len());
            assert!(matches!(Frame::parse(line.trim_ascii()).unwrap(), Frame::User(_)));
        }
    }
}
