//! One request, as a handler sees it: it has been routed, its caller is known, its body has been read.

use crate::Api;
use crate::api_error::ApiError;
use crate::authentication::Identity;
use crate::body::Reader;
use crate::ending::Ending;
use crate::rate::Meter;
use crate::router::Parameters;
use domain::WorkspaceId;
use futures_util::future::BoxFuture;
use hosted::Hosted;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::str::FromStr;
use std::sync::Arc;
use wire::Input;
use wire::schema::Schema;

pub(crate) struct Call {
    pub(crate) api: Api,
    /// Nothing on routes that are open.
    pub(crate) identity: Option<Identity>,
    pub(crate) parameters: Parameters,
    pub(crate) query: Value,
    /// Method, URL, headers, and what a connection can become.
    pub(crate) head: Parts,
    /// `null` on routes that take none.
    pub(crate) body: Value,
    pub(crate) meter: Arc<Meter>,
    /// What has read the body.
    pub(crate) reader: Reader,
    pub(crate) ending: Ending,
}

impl Call {
    pub(crate) fn workspace(&self) -> Result<&WorkspaceId, ApiError> {
        let identity = self.identity.as_ref();
        identity
            .map(|identity| &identity.workspace)
            .ok_or_else(|| ApiError::authentication("a key is needed"))
    }

    /// Until the key that the request came with opens nothing any more.
    pub(crate) fn shut_out(&self) -> BoxFuture<'static, ()> {
        let keys = self.api.resources.keys().clone();
        match self.identity.clone() {
            Some(identity) => Box::pin(async move { keys.shut_out(&identity.caller).await }),
            None => Box::pin(std::future::pending()),
        }
    }

    /// Sessions, where they are served.
    pub(crate) fn sessions(&self) -> Result<&Hosted, ApiError> {
        let sessions = self.api.sessions.as_ref();
        sessions.ok_or_else(|| ApiError::unavailable("this server has no sessions"))
    }

    /// The id in the path. What is no id is the id of nothing.
    pub(crate) fn id<T: FromStr>(&self, name: &str, kind: &str) -> Result<T, ApiError> {
        let text = self.parameter(name);
        text.parse().map_err(|_| {
            let shown: String = text.chars().take(64).collect();
            ApiError::no_resource(kind, &shown)
        })
    }

    pub(crate) fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(named, _)| *named == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn query<T: Input>(&mut self) -> Result<T, ApiError> {
        Ok(T::read(self.query.take())?)
    }

    pub(crate) fn body<T: Input>(&mut self) -> Result<T, ApiError> {
        Ok(T::read(self.body.take())?)
    }
}

/// The query of a URL, as the JSON that it stands for.
pub(crate) fn read_query(query: &str, schema: &Schema) -> Result<Value, ApiError> {
    let mut parameters = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters.push((decode(name)?, decode(value)?));
    }
    let value = schema.read_query(&parameters)?;
    schema.check(&value)?;
    Ok(value)
}

fn decode(text: &str) -> Result<String, ApiError> {
    let spaces = text.replace('+', " ");
    let decoded = percent_decode_str(&spaces).decode_utf8();
    match decoded {
        Ok(decoded) if !decoded.contains('\0') => Ok(decoded.into_owned()),
        Ok(_) => Err(ApiError::invalid_request("the URL's query holds a NUL character")),
        Err(_) => Err(ApiError::invalid_request("the URL's query is not UTF-8")),
    }
}
