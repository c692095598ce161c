//! `/v1/environments`.

use crate::api_error::ApiError;
use crate::call::Call;
use crate::rate::Class;
use crate::reply::{self, Reply};
use crate::route::Route;
use domain::EnvironmentId;
use wire::environments::{Create, List, MAX_LIMIT, Update, deleted_schema, schema};
use wire::page::page_of;

/// A thousand hosts, and all the variables that there may be.
const BODY: usize = 16 << 20;

pub(super) fn routes() -> Vec<Route> {
    let routes = [
        Route::post("/v1/environments", |call| Box::pin(create(call)))
            .summary("Create an environment")
            .body::<Create>(BODY)
            .answer(schema()),
        Route::get("/v1/environments", |call| Box::pin(list(call)))
            .summary("List environments, the newest first")
            .query::<List>()
            .answer(page_of(schema(), MAX_LIMIT)),
        Route::get("/v1/environments/{environment_id}", |call| Box::pin(get(call)))
            .summary("Get an environment")
            .answer(schema()),
        Route::post("/v1/environments/{environment_id}", |call| Box::pin(update(call)))
            .summary("Update an environment")
            .body::<Update>(BODY)
            .answer(schema()),
        Route::delete("/v1/environments/{environment_id}", |call| Box::pin(delete(call)))
            .summary("Delete an environment that no session uses")
            .answer(deleted_schema()),
        Route::post("/v1/environments/{environment_id}/archive", |call| {
            Box::pin(archive(call))
        })
        .summary("Archive an environment, for good")
        .answer(schema()),
    ];
    routes.map(|route| route.class(Class::Environments)).into()
}

fn id(call: &Call) -> Result<EnvironmentId, ApiError> {
    call.id("environment_id", "environment")
}

async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let create: Create = call.body()?;
    let environments = call.api.resources.environments();
    reply::ok(&environments.create(call.workspace()?, create).await?)
}

async fn list(mut call: Call) -> Result<Reply, ApiError> {
    let list: List = call.query()?;
    let environments = call.api.resources.environments();
    reply::ok(&environments.list(call.workspace()?, list).await?)
}

async fn get(call: Call) -> Result<Reply, ApiError> {
    let environments = call.api.resources.environments();
    reply::ok(&environments.get(call.workspace()?, &id(&call)?).await?)
}

async fn update(mut call: Call) -> Result<Reply, ApiError> {
    let update: Update = call.body()?;
    let environments = call.api.resources.environments();
    reply::ok(
        &environments
            .update(call.workspace()?, &id(&call)?, update)
            .await?,
    )
}

async fn delete(call: Call) -> Result<Reply, ApiError> {
    let environments = call.api.resources.environments();
    reply::ok(&environments.delete(call.workspace()?, &id(&call)?).await?)
}

async fn archive(call: Call) -> Result<Reply, ApiError> {
    let environments = call.api.resources.environments();
    reply::ok(&environments.archive(call.workspace()?, &id(&call)?).await?)
}
