//! What a collector did not take of a request that it answered well (`partial_success` of OTLP). Pure.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use serde_json::Value;

/// Of the collector's reason that is shown.
const SHOWN: usize = 200;

/// How many spans were rejected, and why. A body that is none says nothing.
pub(crate) fn rejected(headers: &HeaderMap, body: &[u8]) -> Option<(u64, String)> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let (spans, said) = match kind {
        Some(kind) if kind.starts_with("application/json") => of_json(body)?,
        _ => of_protobuf(body)?,
    };
    let spans = u64::try_from(spans).ok().filter(|spans| *spans > 0)?;
    let said: String = said.chars().take(SHOWN).collect();
    Some((spans, format!("it rejects them: {said:?}")))
}

fn of_protobuf(body: &[u8]) -> Option<(i64, String)> {
    let partial = ExportTraceServiceResponse::decode(body).ok()?.partial_success?;
    Some((partial.rejected_spans, partial.error_message))
}

/// A number of 64 bits is a string there, which not every collector knows.
fn of_json(body: &[u8]) -> Option<(i64, String)> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let partial = &answer["partialSuccess"];
    let spans = &partial["rejectedSpans"];
    let spans = spans.as_i64().or_else(|| spans.as_str()?.parse().ok())?;
    let said = partial["errorMessage"].as_str().unwrap_or_default();
    Some((spans, said.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    fn of(kind: &'static str, body: &[u8]) -> Option<(u64, String)> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
        rejected(&headers, body)
    }

    fn protobuf(rejected_spans: i64) -> Vec<u8> {
        let error_message = "too old".to_owned();
        let partial = ExportTracePartialSuccess {
            rejected_spans,
            error_message,
        };
        let answer = ExportTraceServiceResponse {
            partial_success: Some(partial),
        };
        answer.encode_to_vec()
    }

    #[test]
    fn what_is_rejected_is_read_in_both_encodings() {
        let expected = Some((3, "it rejects them: \"too old\"".to_owned()));
        assert_eq!(of("application/x-protobuf", &protobuf(3)), expected);
        for spans in ["3", "\"3\""] {
            let json =
                format!(r#"{{"partialSuccess":{{"rejectedSpans":{spans},"errorMessage":"too old"}}}}"#);
            assert_eq!(of("application/json; charset=utf-8", json.as_bytes()), expected);
        }
    }

    #[test]
    fn an_answer_that_rejects_nothing_says_nothing() {
        for (kind, body) in [
            ("application/x-protobuf", protobuf(0)),
            ("application/x-protobuf", protobuf(-1)),
            ("application/x-protobuf", Vec::new()),
            ("application/json", b"{}".to_vec()),
            (
                "application/json",
                br#"{"partialSuccess":{"errorMessage":"slow down"}}"#.to_vec(),
            ),
            ("text/html", b"<html>".to_vec()),
        ] {
            assert_eq!(of(kind, &body), None, "{kind}: {body:?}");
        }
    }
}
