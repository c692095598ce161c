//! The opening handshake of RFC 6455, as far as HTTP sees it.

use crate::api_error::ApiError;
use crate::reply::{Reply, whole};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The protocol that frames are in.
const PROTOCOL: &str = "hostler";
/// Before a key that is offered as a protocol.
const KEY: &str = "key.";
const VERSION: &str = "13";
const NONCE_BYTES: usize = 16;

pub(crate) fn required() -> ApiError {
    let message =
        "this endpoint speaks WebSocket: send `connection: upgrade` and `upgrade: websocket` over HTTP/1.1";
    ApiError::upgrade_required(message, UPGRADE, "websocket")
}

/// The key among the protocols that are offered: `hostler, key.KEY`.
pub(crate) fn key(headers: &HeaderMap) -> Option<&str> {
    words(headers, &SEC_WEBSOCKET_PROTOCOL).find_map(|protocol| protocol.strip_prefix(KEY))
}

/// The answer with which the connection becomes a `WebSocket`.
pub(super) fn accept(head: &Parts) -> Result<Reply, ApiError> {
    let headers = &head.headers;
    let asks = |name, wanted: &str| words(headers, name).any(|word| word.eq_ignore_ascii_case(wanted));
    let is_asked = asks(&CONNECTION, "upgrade") && asks(&UPGRADE, "websocket");
    if head.method != Method::GET || head.version != Version::HTTP_11 || !is_asked {
        return Err(required());
    }
    if !words(headers, &SEC_WEBSOCKET_VERSION).eq([VERSION]) {
        let message = "sec-websocket-version: must be 13";
        return Err(ApiError::upgrade_required(
            message,
            SEC_WEBSOCKET_VERSION,
            VERSION,
        ));
    }
    let nonce = headers
        .get(SEC_WEBSOCKET_KEY)
        .map_or(&b""[..], HeaderValue::as_bytes);
    if STANDARD.decode(nonce).map_or(0, |nonce| nonce.len()) != NONCE_BYTES {
        return Err(ApiError::invalid_request(
            "sec-websocket-key: must be 16 bytes in base 64",
        ));
    }
    let offers = headers.contains_key(SEC_WEBSOCKET_PROTOCOL);
    if offers && !words(headers, &SEC_WEBSOCKET_PROTOCOL).any(|protocol| protocol == PROTOCOL) {
        return Err(ApiError::invalid_request(
            "sec-websocket-protocol: must have `hostler` among what it offers, or be left out",
        ));
    }
    let accept = HeaderValue::from_str(&derive_accept_key(nonce))
        .map_err(|error| ApiError::internal(format!("an answer to a handshake: {error}")))?;
    let mut reply = Response::new(whole(""));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answered = reply.headers_mut();
    answered.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answered.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answered.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if offers {
        answered.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    Ok(reply)
}

/// What a header lists, in all its lines.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}
