//! The API's one error shape. Messages say what to do; what happened inside stays in the log.

use crate::reply::{Reply, whole};
use crate::request_id::RequestId;
use control::{AccessError, CreateError, Refused, SendError};
use hosted::{HostedError, ResourceError};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};
use wire::{ErrorBody, ErrorType, Invalid};

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const OVERLOADED: u16 = 529;
const ENDING: &str = "the server is ending: try again";
const INSIDE: &str = "the server could not do this; its log has the reason under this request's id";

/// One pointer: most results are good.
#[derive(Debug, Clone)]
pub(crate) struct ApiError(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    kind: ErrorType,
    message: String,
    /// A word for programs.
    code: Option<String>,
    /// The field that is wrong.
    field: Option<String>,
    header: Option<(HeaderName, HeaderValue)>,
    /// For the log alone.
    cause: Option<String>,
}

impl ApiError {
    fn new(status: StatusCode, kind: ErrorType, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            kind,
            message: message.into(),
            code: None,
            field: None,
            header: None,
            cause: None,
        }))
    }

    fn with_code(mut self, code: impl Into<String>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorType::InvalidRequestError, message)
    }

    pub(crate) fn body_timeout(message: impl Into<String>) -> Self {
        Self::invalid_request(message).with_code("request_body_timeout")
    }

    pub(crate) fn unsupported_encoding() -> Self {
        let message = "the body must not be compressed: leave content-encoding out";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorType::InvalidRequestError,
            message,
        )
    }

    /// The request is good for a `WebSocket` alone.
    pub(crate) fn upgrade_required(
        message: impl Into<String>,
        name: HeaderName,
        wanted: &'static str,
    ) -> Self {
        Self::new(
            StatusCode::UPGRADE_REQUIRED,
            ErrorType::InvalidRequestError,
            message,
        )
        .with_header(name, HeaderValue::from_static(wanted))
    }

    pub(crate) fn authentication(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorType::AuthenticationError, message)
    }

    pub(crate) fn permission(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorType::PermissionError, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorType::NotFoundError, message)
    }

    pub(crate) fn no_resource(kind: &str, id: &str) -> Self {
        Self::not_found(format!("there is no {kind} {id}")).with_code(format!("{kind}_not_found"))
    }

    pub(crate) fn method(message: impl Into<String>, allowed: &str) -> Self {
        let error = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorType::InvalidRequestError,
            message,
        );
        match HeaderValue::from_str(allowed) {
            Ok(allowed) => error.with_header(ALLOW, allowed),
            Err(_) => error,
        }
    }

    /// A conflict stays one however often the request is repeated.
    pub(crate) fn conflict(message: impl Into<String>, code: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, ErrorType::InvalidRequestError, message)
            .with_code(code)
            .with_header(SHOULD_RETRY, HeaderValue::from_static("false"))
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorType::RequestTooLarge,
            format!("the body is larger than {limit} bytes"),
        )
    }

    pub(crate) fn head_too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ErrorType::RequestTooLarge,
            format!("the path and the headers together are larger than {limit} bytes"),
        )
    }

    pub(crate) fn rate_limit(message: impl Into<String>, seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorType::RateLimitError, message)
            .with_header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// What happened goes to the log; the client learns where to look.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorType::ApiError, INSIDE);
        error.0.cause = Some(cause.into());
        error
    }

    /// It may be different in a moment. The API has a status of its own for that.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(OVERLOADED).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self::new(status, ErrorType::OverloadedError, message)
            .with_header(RETRY_AFTER, HeaderValue::from(1_u64))
    }

    /// As whoever balances load over servers expects it.
    pub(crate) fn not_ready(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorType::ApiError, message)
    }

    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn body(&self, id: &RequestId) -> ErrorBody {
        let parts = &*self.0;
        let mut body = ErrorBody::new(parts.kind.clone(), parts.message.clone());
        let named = [("error_code", &parts.code), ("field", &parts.field)];
        let details: Map<String, Value> = named
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value.clone()?))))
            .collect();
        body.error.details = (!details.is_empty()).then_some(Value::Object(details));
        body.request_id = Some(id.to_string());
        body
    }

    pub(crate) fn into_reply(self, id: &RequestId) -> Reply {
        let body = self.body(id);
        let parts = *self.0;
        let mut reply = Response::new(whole(serde_json::to_vec(&body).unwrap_or_default()));
        *reply.status_mut() = parts.status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(parts.header.map(|(name, value)| (Some(name), value)));
        reply
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        let mut error = Self::invalid_request(invalid.to_string());
        error.0.code = invalid.code.map(str::to_owned);
        error.0.field = (!invalid.path.is_empty()).then_some(invalid.path);
        error
    }
}

impl From<ResourceError> for ApiError {
    fn from(error: ResourceError) -> Self {
        let message = error.to_string();
        match error {
            ResourceError::NotFound { kind, .. } => {
                Self::not_found(message).with_code(format!("{kind}_not_found"))
            }
            ResourceError::Archived { kind, .. } => {
                Self::invalid_request(message).with_code(format!("{kind}_archived"))
            }
            ResourceError::VersionConflict { .. } => Self::conflict(message, "version_conflict"),
            ResourceError::InUse { kind, .. } => Self::conflict(message, format!("{kind}_in_use")),
            ResourceError::Invalid(invalid) => invalid.into(),
            ResourceError::Store(error) => error.into(),
        }
    }
}

impl From<HostedError> for ApiError {
    fn from(error: HostedError) -> Self {
        match error {
            HostedError::Resource(error) => error.into(),
            HostedError::Create(CreateError::Store(error)) => error.into(),
            HostedError::Create(CreateError::ShuttingDown) => Self::unavailable(ENDING),
            HostedError::Create(error) => Self::invalid_request(error.to_string()),
            HostedError::Send(error) => error.into(),
            HostedError::Access(error) => error.into(),
            HostedError::Refused(refused) => refused.into(),
        }
    }
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        let message = error.to_string();
        match error {
            SendError::Empty | SendError::Block { .. } | SendError::Answer(_) => {
                Self::invalid_request(message)
            }
            SendError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorType::RequestTooLarge, message)
            }
            SendError::QueueFull { .. } => Self::rate_limit(message, 1),
            SendError::Terminated { .. } => Self::conflict(message, "session_terminated"),
            SendError::Refused(refused) => refused.into(),
            SendError::Access(error) => error.into(),
        }
    }
}

impl From<AccessError> for ApiError {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::NoSession { session } => Self::no_resource("session", session.as_str()),
            AccessError::Store(error) => error.into(),
            AccessError::Refused(refused) => refused.into(),
            AccessError::ShuttingDown => Self::unavailable(ENDING),
            error @ (AccessError::OwnerGone { .. } | AccessError::Cleanup { .. }) => {
                Self::internal(with_causes(&error))
            }
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        let code = refused.code.unwrap_or("conflict");
        if refused.conflict {
            return Self::conflict(refused.message, code);
        }
        let error = Self::invalid_request(refused.message);
        match refused.code {
            Some(code) => error.with_code(code),
            None => error,
        }
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::DiskFull => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorType::ApiError,
                error.to_string(),
            ),
            store::Error::Closed => Self::unavailable(ENDING),
            other => Self::internal(with_causes(&other)),
        }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn shown(error: impl Into<ApiError>) -> (u16, http::HeaderMap, Value) {
        let reply = error.into().into_reply(&RequestId::random());
        let (parts, body) = reply.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (
            parts.status.as_u16(),
            parts.headers,
            serde_json::from_slice(&bytes).unwrap(),
        )
    }

    #[tokio::test]
    async fn errors_of_resources_have_the_status_and_code_that_clients_know() {
        let id = || "env_x".to_owned();
        let kind = "environment";
        let table = [
            (
                ResourceError::NotFound { kind, id: id() },
                404,
                "environment_not_found",
            ),
            (
                ResourceError::Archived { kind, id: id() },
                400,
                "environment_archived",
            ),
            (
                ResourceError::VersionConflict {
                    kind,
                    id: id(),
                    present: 3,
                },
                409,
                "version_conflict",
            ),
            (
                ResourceError::InUse {
                    kind,
                    id: id(),
                    sessions: 2,
                },
                409,
                "environment_in_use",
            ),
            (
                Invalid::new("metadata", "x").with_code("invalid_metadata").into(),
                400,
                "invalid_metadata",
            ),
        ];
        for (error, status, code) in table {
            let (found, headers, body) = shown(error).await;
            assert_eq!(
                (found, &body["error"]["details"]["error_code"]),
                (status, &code.into())
            );
            assert_eq!(headers.contains_key("x-should-retry"), status == 409);
            assert_eq!(body["type"], "error");
        }
    }

    #[tokio::test]
    async fn what_happened_inside_is_not_told() {
        let error = store::Error::Corrupt {
            what: "agent agent_x".to_owned(),
            reason: "secret".to_owned(),
        };
        let (status, _, body) = shown(error).await;
        assert_eq!(status, 500);
        assert_eq!(body["error"]["type"], "api_error");
        assert!(!body.to_string().contains("secret"), "{body}");
        let (status, headers, body) = shown(store::Error::Closed).await;
        assert_eq!((status, headers.contains_key("retry-after")), (529, true));
        assert_eq!(body["error"]["type"], "overloaded_error");
    }
}
