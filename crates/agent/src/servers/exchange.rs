//! One message to a server and its answer, inside `mcp_message` control requests.

use crate::session::Session;
use serde_json::Value;
use stream_json::{Answer, CancelRequest, ControlRequest, Frame, Request};
use tokio::sync::oneshot;
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("the host has closed its input, so the server cannot be asked")]
    Closed,
    #[error("the host could not ask the server: {message}")]
    Host { message: String },
    #[error(transparent)]
    Response(#[from] mcp::ResponseError),
}

/// A message whose answer is waited for. Nothing runs meanwhile: an open one costs its memory.
pub(super) struct Open {
    request_id: String,
    answer: oneshot::Receiver<Answer>,
}

pub(super) async fn send(session: &Session, server: &str, message: Value) -> Result<Open, ExchangeError> {
    let request_id = Uuid::new_v4().to_string();
    let answer = session
        .questions
        .expect(&request_id)
        .ok_or(ExchangeError::Closed)?;
    session.output.send(frame(&request_id, server, message)).await;
    Ok(Open { request_id, answer })
}

/// Sends a message that has no answer; what the host makes of it is not waited for.
pub(super) async fn notify(session: &Session, server: &str, message: Value) {
    let request_id = Uuid::new_v4().to_string();
    session.output.send(frame(&request_id, server, message)).await;
}

fn frame(request_id: &str, server: &str, message: Value) -> Frame {
    Frame::ControlRequest(Box::new(ControlRequest {
        request_id: request_id.to_owned(),
        request: Request::McpMessage {
            server_name: server.to_owned(),
            message,
        },
    }))
}

impl Open {
    /// The result in the server's answer.
    pub(super) async fn result(&mut self) -> Result<Value, ExchangeError> {
        match (&mut self.answer).await {
            Ok(Answer::Success { response, .. }) => {
                let mut body = response.unwrap_or_default();
                let message = body.get_mut("mcp_response").map(Value::take).unwrap_or_default();
                Ok(mcp::response(message)?)
            }
            Ok(Answer::Error { error, .. }) => Err(ExchangeError::Host {
                message: error.chars().take(10_000).collect(),
            }),
            Err(_) => Err(ExchangeError::Closed),
        }
    }

    /// Nobody waits any more.
    pub(super) async fn withdraw(self, session: &Session) {
        session.questions.withdraw(&self.request_id);
        let request_id = self.request_id;
        session
            .output
            .send(Frame::ControlCancelRequest(CancelRequest { request_id }))
            .await;
    }
}
