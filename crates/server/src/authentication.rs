//! Who makes a request, and in which workspace.

use crate::api_error::ApiError;
use crate::route::Access;
use crate::websocket::handshake;
use domain::WorkspaceId;
use hosted::{Caller, Keys};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const WORKSPACE: HeaderName = HeaderName::from_static("anthropic-workspace-id");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) caller: Caller,
    pub(crate) workspace: WorkspaceId,
}

pub(crate) async fn identify(keys: &Keys, headers: &HeaderMap, access: Access) -> Result<Identity, ApiError> {
    let secret = secret(headers)?;
    let Some(caller) = keys.authenticate(secret).await else {
        return Err(ApiError::authentication(
            "this key opens nothing here: it is wrong, or was revoked",
        ));
    };
    check_version(headers)?;
    if access == Access::Admin && caller != Caller::Admin {
        return Err(ApiError::permission("this endpoint takes the admin key only"));
    }
    let workspace = workspace(keys, headers, &caller)?;
    Ok(Identity { caller, workspace })
}

/// `Authorization` decides where it is there: what it says is not corrected by another header. Browsers can set neither
/// it nor `x-api-key` when they open a `WebSocket`; a protocol that they offer there can carry the key.
fn secret(headers: &HeaderMap) -> Result<&str, ApiError> {
    let text = |name| {
        let value: Option<&HeaderValue> = headers.get(name);
        value.map(|value| value.to_str().unwrap_or_default())
    };
    let secret = match text(AUTHORIZATION) {
        None => text(API_KEY).or_else(|| handshake::key(headers)),
        Some(authorization) => authorization
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| secret.trim()),
    };
    secret.filter(|secret| !secret.is_empty()).ok_or_else(|| {
        ApiError::authentication("a key is needed: send `Authorization: Bearer KEY` or `x-api-key: KEY`")
    })
}

/// Any date: the API is the same for all.
fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(version) = headers.get(VERSION) else {
        return Ok(());
    };
    let is_date = |bytes: &[u8]| {
        bytes.len() == 10
            && bytes.iter().enumerate().all(|(index, byte)| match index {
                4 | 7 => *byte == b'-',
                _ => byte.is_ascii_digit(),
            })
    };
    if is_date(version.as_bytes()) {
        return Ok(());
    }
    Err(ApiError::invalid_request(
        "anthropic-version: must be a date, like 2026-10-21",
    ))
}

fn workspace(keys: &Keys, headers: &HeaderMap, caller: &Caller) -> Result<WorkspaceId, ApiError> {
    let named = match headers.get(WORKSPACE) {
        None => None,
        Some(value) => {
            let name: Result<WorkspaceId, String> = value
                .to_str()
                .map_err(|error| error.to_string())
                .and_then(|name| {
                    name.parse()
                        .map_err(|error: domain::WorkspaceError| error.to_string())
                });
            let name =
                name.map_err(|error| ApiError::invalid_request(format!("anthropic-workspace-id: {error}")))?;
            Some(name)
        }
    };
    match (caller, named) {
        (Caller::Admin, None) => Ok(WorkspaceId::default()),
        (Caller::Admin, Some(named)) if keys.has_workspace(&named) => Ok(named),
        (Caller::Admin, Some(named)) => Err(ApiError::not_found(format!(
            "there is no workspace {named}: make it with POST /host/v1/workspaces"
        ))),
        (Caller::Key { workspace, .. }, None) => Ok(workspace.clone()),
        (Caller::Key { workspace, .. }, Some(named)) if named == *workspace => Ok(named),
        (Caller::Key { workspace, .. }, Some(_)) => Err(ApiError::permission(format!(
            "this key is for the workspace {workspace}: leave anthropic-workspace-id out"
        ))),
    }
}
