//! What arrives at a collector over the network, and what does not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use domain::{EventId, SandboxId, SessionId, Usage};
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use traces::{
    About, Context, Decision, ModelCallEnd, NewRequest, NewTool, SessionTrace, Settings, ToolKind, Traces,
    TurnEnd,
};

const PATIENCE: Duration = Duration::from_mins(1);

/// Heads and bodies.
type Taken = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Answers with these statuses, one after another, and then with 200; or not at all.
struct Collector {
    url: String,
    taken: Taken,
}

impl Collector {
    async fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Taken::default();
        let to_fill = taken.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, statuses, to_fill.clone()));
            }
        });
        Self { url, taken }
    }

    fn traces(&self, variables: &[(&str, &str)]) -> Traces {
        let settings = Settings::read(|name| {
            let found = variables.iter().find(|(named, _)| *named == name);
            match found {
                Some((_, value)) => Some((*value).to_owned()),
                None if name == "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(self.url.clone()),
                None => None,
            }
        });
        Traces::start(settings.unwrap().unwrap()).unwrap()
    }

    fn taken(&self) -> Vec<(String, Vec<u8>)> {
        self.taken.lock().unwrap().clone()
    }

    /// Of the last request, in the order in which they began.
    fn spans(&self) -> Vec<Span> {
        let taken = self.taken();
        let (_, body) = taken.last().expect("nothing was exported");
        let mut request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
        let mut spans = request.resource_spans[0].scope_spans[0].spans.split_off(0);
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }
}

async fn serve(stream: TcpStream, statuses: &'static [u16], taken: Taken) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(stream.read_line(&mut head).await, Ok(1..)) {
                return;
            }
        }
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let number = {
            let mut taken = taken.lock().unwrap();
            taken.push((head, body));
            taken.len() - 1
        };
        let status = statuses.get(number).unwrap_or(&200);
        if *status == 0 {
            // It is read, and never answered.
            std::future::pending::<()>().await;
        }
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn session(traces: &Traces) -> SessionTrace {
    traces.session(|| About {
        session: SessionId::random().to_string(),
        model: "a-model".to_owned(),
        workspace: Some("default".to_owned()),
        agent: Some(("agent_1".to_owned(), 3)),
    })
}

fn turn(session: &SessionTrace, request: Option<&Context>) {
    session.begin_turn(&EventId::random(), request);
    session.end_turn(&TurnEnd {
        stop_reason: "end_turn",
        error: None,
    });
}

async fn finished(traces: &Traces) {
    let finishing = tokio::time::timeout(PATIENCE, traces.finish());
    finishing.await.expect("the end of traces is waited for");
}

fn parent(flags: &str) -> Context {
    let mut headers = HeaderMap::new();
    let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    headers.insert("traceparent", traceparent.parse().unwrap());
    Context::of_headers(&headers).unwrap()
}

#[tokio::test]
async fn a_turn_arrives_in_protobuf_as_the_tree_that_it_is() {
    let collector = Collector::start(&[]).await;
    let traces = collector.traces(&[("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k,place=a%2520b")]);
    let request = traces.request(NewRequest {
        id: "req_1",
        method: Some("POST"),
        route: "/v1/sessions",
        workspace: None,
        session: None,
        parent: Some(parent("01")),
        took: Duration::ZERO,
    });
    let session = session(&traces);
    session.begin_turn(&EventId::random(), request.context().as_ref());
    request.answered(200);
    let sandbox = session.sandbox(&SandboxId::random(), true);
    sandbox.ended_as(&Err::<(), ()>(()), "sandbox_not_started");
    let usage = Usage {
        input_tokens: 5,
        output_tokens: 7,
        cache_read_input_tokens: 100,
        ..Usage::default()
    };
    let mut call = session.model_call("a-model", true, "host", Duration::ZERO);
    call.ended(&ModelCallEnd {
        ended: "completed",
        is_completed: true,
        status: Some(200),
        model: Some("a-model-1"),
        usage: &usage,
        attempts: 1,
        first_byte: None,
    });
    let (tool, at) = (EventId::random(), SystemTime::now());
    let new = NewTool {
        name: "bash",
        kind: ToolKind::BuiltIn,
        asks: true,
        at,
    };
    session.tool_began(&tool, &new);
    session.answered(&tool, Decision::Allow, at);
    // What is open at its end is cut.
    session.end_turn(&TurnEnd {
        stop_reason: "end_turn",
        error: None,
    });
    finished(&traces).await;

    let taken = collector.taken();
    let [(head, _)] = taken.as_slice() else {
        panic!("one batch")
    };
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    for header in [
        "content-type: application/x-protobuf\r\n",
        "api-key: k\r\n",
        "place: a%20b\r\n",
    ] {
        assert!(head.contains(header), "{header} in {head}");
    }
    let spans = collector.spans();
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (request, turn) = (named("POST /v1/sessions"), named("turn"));
    let tool = named("execute_tool bash");
    assert_eq!(request.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    for (name, parent) in [
        ("turn", request),
        ("sandbox", turn),
        ("chat a-model", turn),
        ("execute_tool bash", turn),
        ("approval", tool),
    ] {
        assert_eq!(named(name).parent_span_id, parent.span_id, "{name}");
        assert_eq!(named(name).trace_id, request.trace_id, "{name}");
    }
    let failed = spans
        .iter()
        .filter(|span| span.status.as_ref().is_some_and(|status| status.code == 2));
    let failed: Vec<&str> = failed.map(|span| span.name.as_str()).collect();
    assert_eq!(failed, ["sandbox", "execute_tool bash"]);
    let tokens = turn
        .attributes
        .iter()
        .find(|pair| pair.key == "gen_ai.usage.input_tokens");
    assert!(format!("{tokens:?}").contains("IntValue(105)"), "{tokens:?}");
}

#[tokio::test]
async fn a_body_is_compressed_where_that_is_asked_for() {
    let collector = Collector::start(&[]).await;
    let traces = collector.traces(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]);
    turn(&session(&traces), None);
    finished(&traces).await;
    let (head, body) = collector.taken().remove(0);
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert_eq!(body[..2], [0x1f, 0x8b]);
}

#[tokio::test]
async fn a_collector_that_was_busy_gets_the_batch_again() {
    let collector = Collector::start(&[503, 429]).await;
    let traces = collector.traces(&[]);
    turn(&session(&traces), None);
    finished(&traces).await;
    let taken = collector.taken();
    assert_eq!(taken.len(), 3);
    assert_eq!(taken[0].1, taken[2].1);
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_nobody_up() {
    let collector = Collector::start(&[0; 1000]).await;
    let traces = collector.traces(&[("OTEL_BSP_MAX_QUEUE_SIZE", "4"), ("OTEL_BSP_SCHEDULE_DELAY", "1")]);
    let session = session(&traces);
    for _ in 0..1000 {
        turn(&session, None);
    }
    finished(&traces).await;
    // And after the end nothing happens any more.
    turn(&session, None);
    finished(&traces).await;
}

#[tokio::test]
async fn what_is_not_sampled_is_not_exported() {
    for (variables, flags) in [
        (&[("OTEL_TRACES_SAMPLER", "always_off")][..], "01"),
        (
            &[
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0"),
            ],
            "00",
        ),
        // The client does not record it.
        (&[], "00"),
    ] {
        let collector = Collector::start(&[]).await;
        let traces = collector.traces(variables);
        turn(&session(&traces), Some(&parent(flags)));
        finished(&traces).await;
        assert!(collector.taken().is_empty(), "{variables:?}");
    }
}

#[tokio::test]
async fn what_is_off_does_nothing() {
    let traces = Traces::default();
    let session = traces.session(|| panic!("nobody asks about it"));
    turn(&session, None);
    assert!(!traces.is_on() && !session.is_on());
    assert_eq!((session.context(), session.traceparent()), (None, None));
    finished(&traces).await;
}
