//! Who may call, and with what: decided before anything is read that could cost, and before anything is sent.

use crate::api_error::ApiError;
use crate::session::Session;
use domain::PriceTable;
use http::HeaderMap;

/// The sandbox's token, where the official clients put a key.
pub(crate) fn authenticate(session: &Session, headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = text("x-api-key");
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if [key, bearer]
        .into_iter()
        .flatten()
        .any(|given| session.token.matches(given))
    {
        return Ok(());
    }
    Err(ApiError::authentication(
        "this is not the session's token: use the ANTHROPIC_API_KEY that the sandbox was started with",
    ))
}

pub(crate) fn admit(
    session: &Session,
    prices: &PriceTable,
    allowed_models: Option<&[String]>,
    model: &str,
) -> Result<(), ApiError> {
    if let Some(allowed) = allowed_models
        && !allowed.iter().any(|name| name == model)
    {
        let message = format!(
            "the model {model} is not allowed here; these are: {}",
            allowed.join(", ")
        );
        return Err(ApiError::not_found(message));
    }
    let Some(budget) = session.budget() else {
        return Ok(());
    };
    if prices.model(model).is_none() {
        return Err(ApiError::invalid_request(format!(
            "the model {model} has no known price, so the session's budget of {budget} cannot be kept: use a model \
             with a list price, or run without a budget"
        )));
    }
    let spent = session.spent().cost;
    if spent >= budget {
        return Err(ApiError::billing(format!(
            "the session has spent {spent} of its budget of {budget}: raise the budget to go on"
        )));
    }
    Ok(())
}
