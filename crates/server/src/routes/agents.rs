//! `/v1/agents`.

use crate::api_error::ApiError;
use crate::call::Call;
use crate::rate::Class;
use crate::reply::{self, Reply};
use crate::route::Route;
use domain::AgentId;
use wire::agents::{Create, Get, List, ListVersions, MAX_LIMIT, Update, schema};
use wire::page::page_of;

/// The longest system prompt, many tools, and room for how JSON writes them.
const BODY: usize = 4 << 20;

pub(super) fn routes() -> Vec<Route> {
    let page = || page_of(schema(), MAX_LIMIT);
    vec![
        Route::post("/v1/agents", |call| Box::pin(create(call)))
            .summary("Create an agent")
            .class(Class::Create)
            .body::<Create>(BODY)
            .answer(schema()),
        Route::get("/v1/agents", |call| Box::pin(list(call)))
            .summary("List agents, the newest first")
            .query::<List>()
            .answer(page()),
        Route::get("/v1/agents/{agent_id}", |call| Box::pin(get(call)))
            .summary("Get an agent, in its present version or an earlier one")
            .query::<Get>()
            .answer(schema()),
        Route::post("/v1/agents/{agent_id}", |call| Box::pin(update(call)))
            .summary("Update an agent; makes a new version")
            .body::<Update>(BODY)
            .answer(schema()),
        Route::post("/v1/agents/{agent_id}/archive", |call| Box::pin(archive(call)))
            .summary("Archive an agent, for good")
            .answer(schema()),
        Route::get("/v1/agents/{agent_id}/versions", |call| Box::pin(versions(call)))
            .summary("List the versions of an agent, the newest first")
            .query::<ListVersions>()
            .answer(page()),
    ]
}

fn id(call: &Call) -> Result<AgentId, ApiError> {
    call.id("agent_id", "agent")
}

async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let create: Create = call.body()?;
    let agents = call.api.resources.agents();
    reply::ok(&agents.create(call.workspace()?, create).await?)
}

async fn list(mut call: Call) -> Result<Reply, ApiError> {
    let list: List = call.query()?;
    let agents = call.api.resources.agents();
    reply::ok(&agents.list(call.workspace()?, list).await?)
}

async fn get(mut call: Call) -> Result<Reply, ApiError> {
    let get: Get = call.query()?;
    let agents = call.api.resources.agents();
    reply::ok(&agents.get(call.workspace()?, &id(&call)?, get.version).await?)
}

async fn update(mut call: Call) -> Result<Reply, ApiError> {
    let update: Update = call.body()?;
    let agents = call.api.resources.agents();
    reply::ok(&agents.update(call.workspace()?, &id(&call)?, update).await?)
}

async fn archive(call: Call) -> Result<Reply, ApiError> {
    let agents = call.api.resources.agents();
    reply::ok(&agents.archive(call.workspace()?, &id(&call)?).await?)
}

async fn versions(mut call: Call) -> Result<Reply, ApiError> {
    let list: ListVersions = call.query()?;
    let agents = call.api.resources.agents();
    reply::ok(&agents.versions(call.workspace()?, &id(&call)?, list).await?)
}
