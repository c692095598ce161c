//! What the gateway must know of a request's body: who shall answer it, and whether as a stream. The rest is the
//! upstream's to judge; the body passes as it came.

use crate::api_error::ApiError;
use serde::Deserialize;
use std::borrow::Cow;

const MAX_MODEL_BYTES: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) model: String,
    pub(crate) stream: bool,
}

/// A key that is given twice is an error: two readers could take one each.
#[derive(Deserialize)]
struct Fields<'body> {
    #[serde(borrow)]
    model: Cow<'body, str>,
    #[serde(default)]
    stream: Option<bool>,
}

impl RequestHead {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body)
            .map_err(|_| ApiError::invalid_request("the request's body is not UTF-8"))?;
        // A list would be read as fields by their order.
        if !text.trim_start().starts_with('{') {
            return Err(ApiError::invalid_request(
                "the request's body is not a JSON object",
            ));
        }
        let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| {
            ApiError::invalid_request(format!("the request's body cannot be read: {error}"))
        })?;
        if fields.model.is_empty() || fields.model.len() > MAX_MODEL_BYTES {
            return Err(ApiError::invalid_request(
                "model: must be a name of 1 to 256 bytes",
            ));
        }
        Ok(Self {
            model: fields.model.into_owned(),
            stream: fields.stream.unwrap_or(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_and_the_stream_are_read() {
        let head =
            RequestHead::parse(br#"{"messages":[{"model":"no"}],"stream":true,"model":"a\u0062"}"#).unwrap();
        assert_eq!(
            head,
            RequestHead {
                model: "ab".to_owned(),
                stream: true
            }
        );
        assert!(
            !RequestHead::parse(br#"{"model":"a","stream":null}"#)
                .unwrap()
                .stream
        );
    }

    #[test]
    fn bodies_that_two_readers_could_read_differently_are_refused() {
        let deep = format!(r#"{{"model":"a","x":{}}}"#, "[".repeat(100_000));
        for body in [
            "",
            "[]",
            r#"["claude-opus-5-5",true]"#,
            "{}",
            r#"{"model":""}"#,
            r#"{"model":1}"#,
            r#"{"model":"cheap","model":"dear"}"#,
            r#"{"model":"a","stream":true,"stream":false}"#,
            r#"{"model":"a"} {"model":"b"}"#,
            &deep,
        ] {
            assert!(
                RequestHead::parse(body.as_bytes()).is_err(),
                "{}",
                &body[..body.len().min(80)]
            );
        }
        assert!(RequestHead::parse(b"{\"model\":\"a\",\"x\":\"\xff\"}").is_err());
    }
}
