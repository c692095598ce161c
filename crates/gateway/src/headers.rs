//! Which headers pass, by name: what is not known to matter stays on its side.

use crate::Secret;
use crate::api_error::ApiError;
use http::{HeaderMap, HeaderName, HeaderValue};

const TO_UPSTREAM: [&str; 8] = [
    "accept",
    "content-type",
    "idempotency-key",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-app",
    "x-client-request-id",
];
const TO_UPSTREAM_PREFIXES: [&str; 3] = ["anthropic-", "x-claude-code-", "x-stainless-"];

const TO_CLIENT: [&str; 6] = [
    "cache-control",
    "content-type",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
];
const TO_CLIENT_PREFIXES: [&str; 1] = ["anthropic-"];
/// Names the account behind the key.
const NEVER_TO_CLIENT: [&str; 1] = ["anthropic-organization-id"];

/// What the upstream sees of a request's headers; the key is put on later.
///
/// The server's own limit is on its buffer, which may hold some more: this one is exact.
pub(crate) fn to_upstream(given: &HeaderMap, limit: usize) -> Result<HeaderMap, ApiError> {
    let size: usize = given
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if size > limit {
        return Err(ApiError::head_too_large(format!(
            "the request's headers are larger than {limit} bytes"
        )));
    }
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        if value.to_str().is_err() {
            let message = format!("the header {name} holds bytes that are not printable ASCII");
            return Err(ApiError::invalid_request(message));
        }
        if passes(name, &TO_UPSTREAM, &TO_UPSTREAM_PREFIXES) {
            headers.append(name.clone(), value.clone());
        }
    }
    // Usage is read from the passing bytes.
    headers.insert(
        http::header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    Ok(headers)
}

/// What the sandbox sees of an answer's headers.
pub(crate) fn to_client(given: &HeaderMap, secret: Option<&Secret>) -> HeaderMap {
    let holds_secret = |value: &HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes());
        secret.is_some_and(|secret| text.contains(secret.expose()))
    };
    given
        .iter()
        .filter(|(name, value)| {
            passes(name, &TO_CLIENT, &TO_CLIENT_PREFIXES)
                && !NEVER_TO_CLIENT.contains(&name.as_str())
                && !holds_secret(value)
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn passes(name: &HeaderName, names: &[&str], prefixes: &[&str]) -> bool {
    names.contains(&name.as_str()) || prefixes.iter().any(|prefix| name.as_str().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn credentials_and_hops_stay_in_the_sandbox() {
        let passed = to_upstream(
            &map(&[
                ("anthropic-version", "2023-06-01"),
                ("anthropic-beta", "a,b"),
                ("x-claude-code-session-id", "s"),
                ("authorization", "Bearer token"),
                ("x-api-key", "token"),
                ("proxy-authorization", "Basic x"),
                ("cookie", "c"),
                ("connection", "keep-alive"),
                ("transfer-encoding", "chunked"),
                ("x-forwarded-for", "10.0.0.1"),
                ("host", "127.0.0.2"),
            ]),
            1000,
        )
        .unwrap();
        let mut names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept-encoding",
                "anthropic-beta",
                "anthropic-version",
                "x-claude-code-session-id"
            ]
        );
        assert_eq!(passed["accept-encoding"], "identity");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("x-anything", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        assert!(to_upstream(&headers, 1000).is_err());
        assert_eq!(to_upstream(&headers, 5).unwrap_err().status, 431);
    }

    #[test]
    fn an_answer_s_headers_name_neither_the_account_nor_the_key() {
        let secret = Secret::new("sk-real");
        let passed = to_client(
            &map(&[
                ("request-id", "req_1"),
                ("anthropic-ratelimit-requests-remaining", "9"),
                ("anthropic-organization-id", "org"),
                ("anthropic-echo", "key was sk-real"),
                ("set-cookie", "c=1"),
                ("server", "x"),
            ]),
            Some(&secret),
        );
        assert_eq!(passed.len(), 2);
        assert!(passed.contains_key("request-id"));
    }
}
