//! `/v1/models`: what the upstream says of its models; where it says nothing, what the price table has.

use crate::api_error::ApiError;
use crate::call::Call;
use crate::reply::{self, Reply};
use crate::route::Route;
use domain::PriceTable;
use serde_json::Value;
use time::OffsetDateTime;
use wire::models::{Lifecycle, List, Model, list_schema, schema};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/models", |call| Box::pin(list(call)))
            .summary("List models")
            .query::<List>()
            .answer(list_schema()),
        Route::get("/v1/models/{model_id}", |call| Box::pin(get(call)))
            .summary("Get a model")
            .answer(schema()),
    ]
}

async fn list(mut call: Call) -> Result<Reply, ApiError> {
    let list: List = call.query()?;
    let described = describe(&call, "/v1/models").await;
    match described.filter(|answer| list_schema().check(answer).is_ok()) {
        Some(answer) => reply::ok(&answer),
        None => reply::ok(&list.cut(known())),
    }
}

async fn get(call: Call) -> Result<Reply, ApiError> {
    let id = call.parameter("model_id");
    if is_plain(id) {
        let described = describe(&call, &format!("/v1/models/{id}")).await;
        if let Some(answer) = described.filter(|answer| schema().check(answer).is_ok()) {
            return reply::ok(&answer);
        }
    }
    let found = PriceTable::built_in()
        .model(id)
        .map(|model| known_model(id, model));
    let shown: String = id.chars().take(64).collect();
    let found = found.ok_or_else(|| ApiError::no_resource("model", &shown))?;
    reply::ok(&found)
}

/// A name that could mean another path is none that a model has, and is not passed on with the real key.
fn is_plain(id: &str) -> bool {
    id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte))
}

async fn describe(call: &Call, path: &str) -> Option<Value> {
    // The query has been checked: nothing in it is unknown.
    let path = match call.head.uri.query() {
        None => path.to_owned(),
        Some(query) => format!("{path}?{query}"),
    };
    let bytes = call.api.upstream.describe(&path).await?;
    serde_json::from_slice(&bytes).ok()
}

/// By id, the last of the alphabet first.
fn known() -> Vec<Model> {
    let models = PriceTable::built_in().models.iter().rev();
    models.map(|(id, model)| known_model(id, model)).collect()
}

fn known_model(id: &str, model: &domain::Model) -> Model {
    Model {
        id: id.to_owned(),
        display_name: id.to_owned(),
        created_at: OffsetDateTime::UNIX_EPOCH,
        lifecycle: Lifecycle::Active,
        max_input_tokens: model.context_window,
        max_tokens: model.max_output_tokens,
        capabilities: None,
        line: None,
        deprecated_at: None,
        retires_at: None,
    }
}
