//! `/host/v1/workspaces`: for the admin key alone.

use crate::api_error::ApiError;
use crate::call::Call;
use crate::rate::Class;
use crate::reply::{self, Reply};
use crate::route::{Access, Route};
use wire::keys::{All, all_schema};
use wire::workspaces::{Create, schema};

const BODY: usize = 16 << 10;

pub(super) fn routes() -> Vec<Route> {
    let routes = [
        Route::post("/host/v1/workspaces", |call| Box::pin(create(call)))
            .summary("Make a workspace; one that is there stays as it is")
            .class(Class::Create)
            .body::<Create>(BODY)
            .answer(schema()),
        Route::get("/host/v1/workspaces", |call| Box::pin(list(call)))
            .summary("List workspaces, by name")
            .answer(all_schema(schema())),
    ];
    routes.map(|route| route.access(Access::Admin)).into()
}

async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let create: Create = call.body()?;
    reply::ok(&call.api.resources.keys().create_workspace(&create.id).await?)
}

async fn list(call: Call) -> Result<Reply, ApiError> {
    let data = call.api.resources.keys().workspaces().await?;
    reply::ok(&All { data })
}
