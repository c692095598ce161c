//! Which route a request is for.

use crate::api_error::ApiError;
use crate::route::Route;
use http::Method;
use percent_encoding::percent_decode_str;

/// The segments of a path that stood for names.
pub(crate) type Parameters = Vec<(&'static str, String)>;

pub(crate) struct Router {
    routes: Vec<Route>,
}

impl Router {
    pub(crate) fn new(routes: Vec<Route>) -> Self {
        Self { routes }
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// `HEAD` is answered as `GET`; the body of the answer is left out on the connection.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<(&Route, Parameters), ApiError> {
        let wanted = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let mut allowed: Vec<&str> = Vec::new();
        for route in &self.routes {
            let Some(parameters) = parameters(route.path, path) else {
                continue;
            };
            if route.method == *wanted {
                return Ok((route, parameters));
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
