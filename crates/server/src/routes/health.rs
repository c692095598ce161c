//! Whether the server is there (`/healthz`) and takes work (`/readyz`), and what it can be asked (`/openapi.json`).

use crate::api_error::ApiError;
use crate::call::Call;
use crate::openapi;
use crate::reply::{self, Reply};
use crate::route::{Access, Route};
use futures_util::future::ready;
use serde_json::json;
use wire::schema::{any, constant, object};

pub(super) fn routes() -> Vec<Route> {
    let status = || object([constant("status", "ok")]);
    vec![
        Route::get("/healthz", |_| Box::pin(ready(health())))
            .summary("Whether the server is there")
            .access(Access::Open)
            .answer(status()),
        Route::get("/readyz", |call| Box::pin(readiness(call)))
            .summary("Whether the server takes work")
            .access(Access::Open)
            .answer(status()),
        Route::get("/openapi.json", |_| Box::pin(ready(document())))
            .summary("This document")
            .access(Access::Open)
            .answer(any()),
    ]
}

fn health() -> Result<Reply, ApiError> {
    reply::ok(&json!({"status": "ok"}))
}

async fn readiness(call: Call) -> Result<Reply, ApiError> {
    if call.ending.is_closed() {
        return Err(ApiError::not_ready("the server is ending"));
    }
    call.api.resources.store().ping().await?;
    if let Some(sessions) = &call.api.sessions
        && !sessions.has_backend().await
    {
        return Err(ApiError::not_ready(
            "the jailer is not there: no sandbox can be made or ended",
        ));
    }
    reply::ok(&json!({"status": "ok"}))
}

fn document() -> Result<Reply, ApiError> {
    reply::ok(&*openapi::DOCUMENT)
}
