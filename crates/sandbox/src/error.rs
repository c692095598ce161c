//! Why a sandbox could not be made, reached or ended.

use domain::SandboxId;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this machine cannot hold a sandbox: {missing}")]
    Unsupported { missing: String },
    #[error("the sandbox spec is wrong: {reason}")]
    Spec { reason: String },
    #[error("building sandbox {id} failed at step {step}: {reason}")]
    Build {
        id: SandboxId,
        step: String,
        reason: String,
    },
    #[error("no sandbox {id} here")]
    NotFound { id: SandboxId },
    #[error("the sandbox backend is gone: {reason}")]
    BackendLost { reason: String },
    #[error("{operation} on sandbox {id} took longer than {seconds} s")]
    Deadline {
        id: SandboxId,
        operation: &'static str,
        seconds: u64,
    },
    #[error("{operation} on sandbox {id} failed: {reason}")]
    Operation {
        id: SandboxId,
        operation: &'static str,
        reason: String,
    },
}
