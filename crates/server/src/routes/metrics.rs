//! `/metrics`, for Prometheus: for the admin key, which a scraper sends as its bearer token, or for everybody where the
//! configuration says so. What it tells is of all workspaces.

use crate::api_error::ApiError;
use crate::call::Call;
use crate::reply::{self, Reply};
use crate::route::{Access, Route};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use metrics::MEDIA_TYPE;

const PATH: &str = "/metrics";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get(PATH, |call| Box::pin(tell(call)))
            .summary("What the server counts, as Prometheus reads it")
            .access(Access::Admin)
            .answer_with(MEDIA_TYPE),
    ]
}

/// For who has no key, too.
pub(crate) fn open(routes: &mut [Route]) {
    for route in routes.iter_mut().filter(|route| route.path == PATH) {
        route.access = Access::Open;
    }
}

async fn tell(call: Call) -> Result<Reply, ApiError> {
    let census = call.api.resources.store().census().await?;
    let metrics = &call.api.metrics;
    let text = metrics.text(&census.sessions, &census.sandboxes, census.spare_sandboxes);
    let text = text.map_err(|error| ApiError::internal(format!("the metrics cannot be written: {error}")))?;
    let mut reply = Response::new(reply::whole(text));
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(reply)
}
