//! `/host/v1/keys`: for the admin key alone.

use crate::api_error::ApiError;
use crate::call::Call;
use crate::rate::Class;
use crate::reply::{self, Reply};
use crate::route::{Access, Route};
use domain::KeyId;
use wire::keys::{All, Create, all_schema, created_schema, schema};

const BODY: usize = 16 << 10;

pub(super) fn routes() -> Vec<Route> {
    let routes = [
        Route::post("/host/v1/keys", |call| Box::pin(create(call)))
            .summary("Make a key, and its workspace where it is not there")
            .class(Class::Create)
            .body::<Create>(BODY)
            .answer(created_schema()),
        Route::get("/host/v1/keys", |call| Box::pin(list(call)))
            .summary("List keys, the oldest first")
            .answer(all_schema(schema())),
        Route::post("/host/v1/keys/{key_id}/revoke", |call| Box::pin(revoke(call)))
            .summary("Revoke a key, for good")
            .answer(schema()),
    ];
    routes.map(|route| route.access(Access::Admin)).into()
}

async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let create: Create = call.body()?;
    reply::ok(&call.api.resources.keys().create(create).await?)
}

async fn list(call: Call) -> Result<Reply, ApiError> {
    let data = call.api.resources.keys().list().await?;
    reply::ok(&All { data })
}

async fn revoke(call: Call) -> Result<Reply, ApiError> {
    let id: KeyId = call.id("key_id", "key")?;
    reply::ok(&call.api.resources.keys().revoke(&id).await?)
}
