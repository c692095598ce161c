//! Why something could not be measured.

use guest_protocol::ClientError;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the sandbox backend refused")]
    Sandbox { source: sandbox::Error },
    #[error("the guest did not do its part")]
    Guest { source: ClientError },
    #[error("{program} cannot be run")]
    Run { program: String, source: std::io::Error },
    #[error("{program} failed: {reason}")]
    Program { program: String, reason: String },
    #[error("{step}: nothing after {seconds} s")]
    Deadline { step: String, seconds: u64 },
    /// What a candidate of the binary reports of itself.
    #[error("{step}: {reason}")]
    Step { step: String, reason: String },
}

impl From<sandbox::Error> for Failure {
    fn from(source: sandbox::Error) -> Self {
        Self::Sandbox { source }
    }
}

impl From<ClientError> for Failure {
    fn from(source: ClientError) -> Self {
        Self::Guest { source }
    }
}

impl Failure {
    /// With its sources, in one line.
    pub(crate) fn in_full(&self) -> String {
        let mut line = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            line = format!("{line}: {error}");
            source = error.source();
        }
        line
    }
}
