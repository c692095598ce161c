//! One endpoint: what it is called by, what it takes, who may call it, and who answers.

use crate::api_error::ApiError;
use crate::call::Call;
use crate::rate::Class;
use crate::reply::Reply;
use futures_util::future::BoxFuture;
use http::Method;
use wire::Input;
use wire::schema::{Schema, object};

pub(crate) type Handler = fn(Call) -> BoxFuture<'static, Result<Reply, ApiError>>;

/// Of a body, where a route says nothing else.
pub(crate) const BODY_BYTES: usize = 32 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody is asked for a key.
    Open,
    /// A key, in its workspace.
    Workspace,
    /// The admin key.
    Admin,
}

/// A route as others see it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub method: Method,
    /// Like `/v1/agents/{agent_id}`.
    pub path: &'static str,
    pub access: Access,
    /// What it answers, where that is JSON.
    pub answer: Option<Schema>,
}

pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) access: Access,
    pub(crate) class: Class,
    pub(crate) query: Schema,
    pub(crate) body: Option<RequestBody>,
    pub(crate) answer: Answer,
    pub(crate) handler: Handler,
}

pub(crate) struct RequestBody {
    pub(crate) schema: Schema,
    pub(crate) limit: usize,
}

pub(crate) enum Answer {
    Json(Schema),
    /// Something else, by its media type.
    Other(&'static str),
    /// The connection becomes a `WebSocket`.
    Upgrade,
}

impl Route {
    pub(crate) fn get(path: &'static str, handler: Handler) -> Self {
        Self::new(Method::GET, path, handler)
    }

    pub(crate) fn post(path: &'static str, handler: Handler) -> Self {
        Self::new(Method::POST, path, handler)
    }

    pub(crate) fn delete(path: &'static str, handler: Handler) -> Self {
        Self::new(Method::DELETE, path, handler)
    }

    fn new(method: Method, path: &'static str, handler: Handler) -> Self {
        Self {
            method,
            path,
            summary: "",
            access: Access::Workspace,
            class: Class::Other,
            query: object([]),
            body: None,
            answer: Answer::Other("application/json"),
            handler,
        }
    }

    /// For people, in a few words.
    pub(crate) fn summary(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    pub(crate) fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    pub(crate) fn class(self, class: Class) -> Self {
        Self { class, ..self }
    }

    pub(crate) fn query<T: Input>(self) -> Self {
        let query = T::schema();
        Self { query, ..self }
    }

    /// A JSON body of at most so many bytes.
    pub(crate) fn body<T: Input>(self, limit: usize) -> Self {
        let schema = T::schema();
        Self {
            body: Some(RequestBody {
                schema,
                limit: limit.min(BODY_BYTES),
            }),
            ..self
        }
    }

    pub(crate) fn answer(self, schema: Schema) -> Self {
        Self {
            answer: Answer::Json(schema),
            ..self
        }
    }

    /// Something else than JSON.
    pub(crate) fn answer_with(self, media_type: &'static str) -> Self {
        Self {
            answer: Answer::Other(media_type),
            ..self
        }
    }

    /// The connection goes on as a `WebSocket`.
    pub(crate) fn upgrades(self) -> Self {
        Self {
            answer: Answer::Upgrade,
            ..self
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            method: self.method.clone(),
            path: self.path,
            access: self.access,
            answer: match &self.answer {
                Answer::Json(schema) => Some(schema.clone()),
                Answer::Other(_) | Answer::Upgrade => None,
            },
        }
    }
}
