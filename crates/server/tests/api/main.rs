//! The API in one process: every answer of every test is held against what the `OpenAPI` document says of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod agents;
mod bad_input;
mod clients;
mod connections;
mod environments;
mod errors;
mod keys;
mod metrics;
mod models;
mod no_sandbox;
mod openapi;
mod running;
mod sessions;
mod streams;
mod websocket;
mod workspaces;

use bytes::Bytes;
use control::{Control, Parts, Settings};
use domain::WorkspaceId;
use hosted::{AdminKey, Hosted, Resources};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use no_sandbox::{NoNetwork, NoSandbox};
use serde_json::Value;
use server::{Api, Config, Endpoint, NoUpstream, Rates, Server, Upstream};
use std::sync::Arc;
use store::{Instance, Store};
use tempfile::TempDir;

const ADMIN: &str = "hk_the-admin-key-of-these-tests";

/// Nobody waits in a test.
const ENDLESS: Rates = Rates {
    create: 1_000_000,
    environments: 1_000_000,
    other: 1_000_000,
};

struct Fixture {
    server: Server,
    resources: Resources,
    endpoints: Vec<Endpoint>,
    _directory: TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

impl Answer {
    fn error(&self) -> (u16, &str) {
        let kind = self.json["error"]["type"].as_str().unwrap_or_default();
        (self.status.as_u16(), kind)
    }

    fn message(&self) -> &str {
        self.json["error"]["message"].as_str().unwrap_or_default()
    }

    fn code(&self) -> &str {
        self.json["error"]["details"]["error_code"]
            .as_str()
            .unwrap_or_default()
    }

    /// The resource, of an answer that must have been good.
    fn resource(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.json);
        self.json
    }
}

/// With sessions, of which none can run.
async fn api(directory: &TempDir, upstream: Arc<dyn Upstream>) -> Api {
    api_on(NoSandbox::Refused, directory, upstream).await
}

async fn api_on(backend: NoSandbox, directory: &TempDir, upstream: Arc<dyn Upstream>) -> Api {
    let resources = resources(directory).await;
    let metrics = ::metrics::Metrics::default();
    let control = Control::start(Parts {
        store: resources.store().clone(),
        backend: Arc::new(backend),
        network: Arc::new(NoNetwork),
        settings: Settings::default(),
        meter: metrics.sessions.clone(),
        traces: traces::Traces::default(),
    });
    Api {
        sessions: Some(Hosted::new(control.await.unwrap(), resources.clone())),
        resources,
        upstream,
        metrics,
        traces: traces::Traces::default(),
    }
}

async fn resources(directory: &TempDir) -> Resources {
    let instance = Instance::open(&directory.path().join("data")).unwrap();
    let (admin, _) = AdminKey::find(directory.path(), Some(ADMIN)).unwrap();
    let store = Store::open(instance).await.unwrap();
    Resources::open(store, admin).await.unwrap()
}

impl Fixture {
    async fn new() -> Self {
        Self::with(Config {
            rates: ENDLESS,
            ..Config::default()
        })
        .await
    }

    async fn with(config: Config) -> Self {
        Self::with_upstream(config, Arc::new(NoUpstream)).await
    }

    async fn with_upstream(config: Config, upstream: Arc<dyn Upstream>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let api = api(&directory, upstream).await;
        let resources = api.resources.clone();
        let server = config.build(api);
        Self {
            endpoints: server.endpoints(),
            server,
            resources,
            _directory: directory,
        }
    }

    /// A new key of a workspace.
    async fn key(&self, workspace: &str) -> String {
        let workspace: WorkspaceId = workspace.parse().unwrap();
        let create = wire::keys::Create {
            name: None,
            workspace_id: Some(workspace),
        };
        self.resources.keys().create(create).await.unwrap().secret
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let endpoint = self.endpoint(request.method(), request.uri().path());
        let schema = endpoint.and_then(|endpoint| endpoint.answer.clone());
        let (parts, body) = self.server.answer(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let json: Value = serde_json::from_slice(&bytes).unwrap();
        let id = parts.headers["request-id"].to_str().unwrap();
        assert!(id.starts_with("req_") && id.len() == 28, "{id}");
        if parts.status.is_success() {
            schema
                .unwrap()
                .check(&json)
                .unwrap_or_else(|invalid| panic!("{invalid}: {json}"));
        } else {
            assert_eq!(json["type"], "error", "{json}");
            assert_eq!(json["request_id"], id);
            assert!(!json["error"]["message"].as_str().unwrap().is_empty());
        }
        Answer {
            status: parts.status,
            headers: parts.headers,
            json,
        }
    }

    fn endpoint(&self, method: &Method, path: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| {
            let (pattern, path) = (endpoint.path.split('/'), path.split('/'));
            let same = |(expected, given): (&str, &str)| expected.starts_with('{') || expected == given;
            endpoint.method == *method
                && pattern.clone().count() == path.clone().count()
                && pattern.zip(path).all(same)
        })
    }

    async fn call(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {key}"));
        self.send(request.body(Full::new(bytes)).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(ADMIN, Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(ADMIN, Method::POST, path, Some(body)).await
    }

    /// A list to its end, page by page; the ids.
    async fn all(&self, path: &str, limit: usize) -> Vec<String> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let first = format!("{path}{separator}limit={limit}");
        let mut ids = Vec::new();
        let mut next = Some(first.clone());
        while let Some(path) = next {
            let page = self.get(&path).await.resource();
            let data = page["data"].as_array().unwrap();
            assert!(data.len() <= limit);
            ids.extend(data.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            next = page["next_page"]
                .as_str()
                .map(|cursor| format!("{first}&page={cursor}"));
        }
        ids
    }
}
