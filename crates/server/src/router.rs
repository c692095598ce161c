//! Which route a request is for.

use crate::api_error::ApiError;
use crate::route::Route;
use http::Method;
use metrics::{HttpMeter, RouteMeter};
use percent_encoding::percent_decode_str;

/// The segments of a path that stood for names.
pub(crate) type Parameters = Vec<(&'static str, String)>;

pub(crate) struct Router {
    routes: Vec<Routed>,
    /// For requests of no route.
    unmatched: RouteMeter,
}

struct Routed {
    route: Route,
    meter: RouteMeter,
}

/// What a request is for.
pub(crate) struct Found<'a> {
    pub(crate) route: &'a Route,
    pub(crate) meter: &'a RouteMeter,
    pub(crate) parameters: Parameters,
}

impl Router {
    pub(crate) fn new(routes: Vec<Route>, meter: &HttpMeter) -> Self {
        let counted = |route: Route| Routed {
            meter: meter.route(method_name(&route.method), route.path),
            route,
        };
        Self {
            routes: routes.into_iter().map(counted).collect(),
            unmatched: meter.route("any", "none"),
        }
    }

    pub(crate) fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(|routed| &routed.route)
    }

    pub(crate) fn unmatched(&self) -> &RouteMeter {
        &self.unmatched
    }

    /// `HEAD` is answered as `GET`; the body of the answer is left out on the connection.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<Found<'_>, ApiError> {
        let wanted = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let mut allowed: Vec<&str> = Vec::new();
        for Routed { route, meter } in &self.routes {
            let Some(parameters) = parameters(route.path, path) else {
                continue;
            };
            if route.method == *wanted {
                return Ok(Found {
                    route,
                    meter,
                    parameters,
                });
            }
            allowed.push(route.method.as_str());
        }
        let shown: String = path.chars().take(200).collect();
        if allowed.is_empty() {
            return Err(ApiError::not_found(format!(
                "there is no {shown} here; GET /openapi.json says what there is"
            )));
        }
        let allowed = allowed.join(", ");
        Err(ApiError::method(
            format!("{shown} takes {allowed}, and not {method}"),
            &allowed,
        ))
    }
}

/// Routes have no method that a client made up.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "any",
    }
}

/// What a path has in place of a pattern's names; nothing where it does not match.
fn parameters(pattern: &'static str, path: &str) -> Option<Parameters> {
    let mut parameters = Vec::new();
    let mut given = path.split('/');
    for expected in pattern.split('/') {
        let segment = given.next()?;
        match expected.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            None if segment == expected => {}
            None => return None,
            Some(name) => {
                let decoded = percent_decode_str(segment).decode_utf8().ok()?;
                if decoded.is_empty() {
                    return None;
                }
                parameters.push((name, decoded.into_owned()));
            }
        }
    }
    given.next().is_none().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_by_whole_segments() {
        let pattern = "/v1/agents/{agent_id}/versions";
        let found = parameters(pattern, "/v1/agents/a%2Fb/versions");
        assert_eq!(found, Some(vec![("agent_id", "a/b".to_owned())]));
        for path in [
            "/v1/agents//versions",
            "/v1/agents/x/versions/",
            "/v1/agents/x/version",
            "/v1/agents/x",
            "/v1/agents/%ff/versions",
            "v1/agents/x/versions",
            "*",
            "",
        ] {
            assert_eq!(parameters(pattern, path), None, "{path}");
        }
    }
}
