//! What can go wrong on a stage.

use client::ClientError;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the server cannot be run")]
    Run { source: std::io::Error },
    /// With the end of what it logged.
    #[error("the server does not serve: {reason}\n{log}")]
    NotServing { reason: String, log: String },
    #[error("the server does not end within {seconds} s")]
    NotEnding { seconds: u64 },
    #[error("{path} cannot be used", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{asked}")]
    Asked { asked: String, source: Box<ClientError> },
    #[error("{asked}: the answer has no {missing}")]
    Answer { asked: String, missing: &'static str },
    #[error("the server ended before it was killed, with {status}")]
    Ended { status: std::process::ExitStatus },
    #[error("a stream of {session} does not go on: {reason}")]
    Stream { session: String, reason: String },
    #[error("{what}: not within {seconds} s")]
    Late { what: String, seconds: u64 },
}

impl Failure {
    /// With its sources, in one line.
    pub fn in_full(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            line = format!("{line}: {error}");
            source = error.source();
        }
        line
    }

    /// The status that the server refused with: it did nothing then.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Asked { source, .. } => match &**source {
                ClientError::Refused { status, .. } => Some(*status),
                _ => None,
            },
            _ => None,
        }
    }
}
