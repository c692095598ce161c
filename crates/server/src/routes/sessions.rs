//! `/v1/sessions`.

use crate::api_error::ApiError;
use crate::call::Call;
use crate::rate::Class;
use crate::reply::{self, Reply};
use crate::route::{BODY_BYTES, Route};
use domain::SessionId;
use wire::page::two_way_page_of;
use wire::sessions::{Create, List, MAX_LIMIT, Update, deleted_schema, schema};

/// Tools, as for an agent.
const UPDATE_BODY: usize = 4 << 20;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::post("/v1/sessions", |call| Box::pin(create(call)))
            .summary("Create a session")
            .class(Class::Create)
            .body::<Create>(BODY_BYTES)
            .answer(schema()),
        Route::get("/v1/sessions", |call| Box::pin(list(call)))
            .summary("List sessions, the newest first")
            .query::<List>()
            .answer(two_way_page_of(schema(), MAX_LIMIT)),
        Route::get("/v1/sessions/{session_id}", |call| Box::pin(get(call)))
            .summary("Get a session")
            .answer(schema()),
        Route::post("/v1/sessions/{session_id}", |call| Box::pin(update(call)))
            .summary("Update a session")
            .body::<Update>(UPDATE_BODY)
            .answer(schema()),
        Route::delete("/v1/sessions/{session_id}", |call| Box::pin(delete(call)))
            .summary("Delete a session that is not running, with its events and its files")
            .answer(deleted_schema()),
        Route::post("/v1/sessions/{session_id}/archive", |call| {
            Box::pin(archive(call))
        })
        .summary("Archive a session that is not running, for good")
        .answer(schema()),
    ]
}

pub(super) fn id(call: &Call) -> Result<SessionId, ApiError> {
    call.id("session_id", "session")
}

async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let create: Create = call.body()?;
    reply::ok(&call.sessions()?.create(call.workspace()?, create).await?)
}

async fn list(mut call: Call) -> Result<Reply, ApiError> {
    let list: List = call.query()?;
    reply::ok(&call.sessions()?.list(call.workspace()?, list).await?)
}

async fn get(call: Call) -> Result<Reply, ApiError> {
    reply::ok(&call.sessions()?.get(call.workspace()?, &id(&call)?).await?)
}

async fn update(mut call: Call) -> Result<Reply, ApiError> {
    let update: Update = call.body()?;
    let id = id(&call)?;
    let updated = call.sessions()?.update(call.workspace()?, &id, update);
    reply::ok(&updated.await?)
}

async fn delete(call: Call) -> Result<Reply, ApiError> {
    reply::ok(&call.sessions()?.delete(call.workspace()?, &id(&call)?).await?)
}

async fn archive(call: Call) -> Result<Reply, ApiError> {
    reply::ok(&call.sessions()?.archive(call.workspace()?, &id(&call)?).await?)
}
