//! Processes and their numbered output.
//!
//! Every record of a process's output has a number, from 1 and without gaps, and the last one is its exit. The guest
//! keeps a record until the host acknowledges it; a host that comes back asks for what is after the last number that
//! it stored. Input is numbered by the host, so that a repeated request is not written twice.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A process to start. The id is the host's, so that starting it again after a lost answer finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spawn {
    /// 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub id: String,
    /// Program and arguments; a program without a slash is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `/workspace` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default)]
    pub stdio: Stdio,
    #[serde(default)]
    pub framing: Framing,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdio {
    #[default]
    Pipes,
    /// A pseudo-terminal of this size; everything arrives as [`Stream::Stdout`].
    Terminal(TerminalSize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    pub rows: u16,
    pub columns: u16,
}

/// What becomes one record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Whatever a read returned.
    #[default]
    Chunks,
    /// One line without its line feed, on standard output; standard error stays in chunks.
    Lines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub id: String,
    /// Inside the sandbox.
    pub pid: u32,
    pub state: ProcessState,
    /// The number the next record will have.
    pub next_seq: u64,
    /// The number the next input must have.
    pub next_input_seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    Running,
    Exited(Exit),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// 1 to 64.
    pub signal: i32,
    /// To the whole process group.
    #[serde(default)]
    pub group: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputAck {
    pub next_input_seq: u64,
}

/// Everything up to and including this number is stored by the host and may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    pub seq: u64,
}

/// One record of a process's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRecord {
    pub seq: u64,
    #[serde(flatten)]
    pub payload: Payload,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    Output(Data),
    /// Always the last record.
    Exit(Exit),
}

/// Bytes of output: `text` where they are UTF-8, `base64` otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    pub stream: Stream,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Bytes that were cut off the end of an over-long line.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Data {
    pub fn new(stream: Stream, bytes: Vec<u8>, cut_bytes: u64) -> Self {
        use base64::Engine as _;
        match String::from_utf8(bytes) {
            Ok(text) => Self {
                stream,
                text: Some(text),
                base64: None,
                cut_bytes,
            },
            Err(error) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(error.as_bytes());
                Self {
                    stream,
                    text: None,
                    base64: Some(encoded),
                    cut_bytes,
                }
            }
        }
    }

    /// The bytes; nothing if the guest sent neither form, or base 64 that is none.
    pub fn into_bytes(self) -> Vec<u8> {
        use base64::Engine as _;
        match (self.text, self.base64) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(encoded)) => base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .unwrap_or_default(),
            (None, None) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_survive_the_trip() {
        for bytes in [b"plain".to_vec(), vec![0xff, 0xfe, 0x00], Vec::new()] {
            let record = OutputRecord {
                seq: 7,
                payload: Payload::Output(Data::new(Stream::Stdout, bytes.clone(), 0)),
            };
            let line = serde_json::to_string(&record).unwrap();
            let Payload::Output(data) = serde_json::from_str::<OutputRecord>(&line).unwrap().payload else {
                panic!("an output record stays one: {line}");
            };
            assert_eq!(data.into_bytes(), bytes);
        }
    }

    #[test]
    fn an_exit_names_code_or_signal() {
        let record = OutputRecord {
            seq: 1,
            payload: Payload::Exit(Exit::Signal(9)),
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            r#"{"seq":1,"exit":{"signal":9}}"#
        );
    }
}
