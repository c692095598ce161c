//! The one error shape of the guest API.

use serde::{Deserialize, Serialize};

/// What went wrong, by the HTTP status it is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// 400
    InvalidRequest,
    /// 403: the agent's own rights do not allow it.
    Denied,
    /// 404
    NotFound,
    /// 409: the id is taken by something else, or an input number was skipped.
    Conflict,
    /// 413
    TooLarge,
    /// 507: the sandbox's disk is full.
    NoSpace,
    /// 500
    Internal,
}

impl ErrorKind {
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::NoSpace => 507,
            Self::Internal => 500,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    pub kind: ErrorKind,
    pub message: String,
}
