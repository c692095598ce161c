//! `/openapi.json`, `/healthz` and `/readyz`.

use crate::{ADMIN, Fixture};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use std::collections::BTreeSet;

#[tokio::test]
async fn the_document_has_every_endpoint_and_every_schema_that_it_refers_to() {
    let fixture = Fixture::new().await;
    let document = fixture.get("/openapi.json").await.resource();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for endpoint in &fixture.endpoints {
        let method = endpoint.method.as_str().to_lowercase();
        let operation = &document["paths"][endpoint.path][&method];
        assert!(
            !operation["summary"].as_str().unwrap().is_empty(),
            "{method} {}",
            endpoint.path
        );
        assert!(ids.insert(operation["operationId"].as_str().unwrap()));
    }
    let mut referred = Vec::new();
    references(&document, &mut referred);
    assert!(referred.contains(&"Agent".to_owned()));
    for name in referred {
        assert!(document["components"]["schemas"][&name].is_object(), "{name}");
    }
    let create = &document["components"]["schemas"]["AgentCreate"];
    assert_eq!(create["properties"]["name"]["maxLength"], 256);
    assert_eq!(create["additionalProperties"], false);
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.push(reference.trim_start_matches("#/components/schemas/").to_owned());
            }
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn health_is_open_and_readiness_ends_with_the_store() {
    let fixture = Fixture::new().await;
    let open = |path: &'static str| {
        let request = Request::builder()
            .uri(path)
            .body(Full::new(Bytes::new()))
            .unwrap();
        fixture.send(request)
    };
    assert_eq!(open("/healthz").await.status, 200);
    assert_eq!(open("/readyz").await.status, 200);
    fixture.resources.store().close().await;
    assert_eq!(open("/readyz").await.status.as_u16() / 100, 5);
    let answer = fixture.call(ADMIN, http::Method::GET, "/v1/agents", None).await;
    assert_eq!(answer.status.as_u16() / 100, 5);
}
