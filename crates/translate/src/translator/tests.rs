//! Frames in, events out: tables.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::too_many_lines)]

use super::*;
use serde_json::{Value, json};

fn frame(mut json: Value) -> Frame {
    for key in ["uuid", "session_id"] {
        json[key] = key.into();
    }
    Frame::parse(json.to_string().as_bytes()).unwrap()
}

fn event_frame(event: Value) -> Value {
    json!({"type":"stream_event","event":event,"parent_tool_use_id":null})
}

fn start() -> Value {
    event_frame(
        json!({"type":"message_start","message":{"usage":{"input_tokens":3,"cache_read_input_tokens":2}}}),
    )
}

fn block_start(kind: &str) -> Value {
    event_frame(json!({"type":"content_block_start","index":0,"content_block":{"type":kind}}))
}

fn delta(text: &str) -> Value {
    event_frame(json!({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":text}}))
}

fn assistant(block: Value) -> Value {
    json!({"type":"assistant","parent_tool_use_id":null,"message":{"role":"assistant","model":"m","content":[block]}})
}

fn text(text: &str) -> Value {
    assistant(json!({"type":"text","text":text}))
}

fn tool_use(id: &str) -> Value {
    assistant(json!({"type":"tool_use","id":id,"name":"Read","input":{"file_path":"/a"}}))
}

fn tool_result(id: &str, content: Value) -> Value {
    json!({"type":"user","message":{"role":"user","content":[
        {"type":"tool_result","tool_use_id":id,"content":content,"is_error":true}]}})
}

fn api_retry() -> Value {
    json!({"type":"system","subtype":"api_retry","attempt":1,"max_retries":9,"retry_delay_ms":1,"error_status":null,
        "error":"server_error"})
}

/// Short forms of what the frames mean, one after another.
fn meanings(frames: impl IntoIterator<Item = Value>) -> Vec<Meaning> {
    let mut translator = Translator::default();
    frames
        .into_iter()
        .flat_map(|json| translator.translate(frame(json)).unwrap())
        .collect()
}

fn kinds(meanings: &[Meaning]) -> Vec<String> {
    let kind = |meaning: &Meaning| match meaning {
        Meaning::Event(_, body) => body.kind().to_owned(),
        Meaning::Preview(Preview::EventStart { event }) => format!("start {}", event.kind),
        Meaning::Preview(Preview::EventDelta { .. }) => "delta".to_owned(),
        Meaning::Resolved(_) => "resolved".to_owned(),
        Meaning::Withdraws(_) => "withdraws".to_owned(),
        Meaning::Asks(_) => "asks".to_owned(),
        Meaning::Answers(_) => "answers".to_owned(),
        Meaning::Ended(_) => "ended".to_owned(),
    };
    let told = meanings
        .iter()
        .filter(|meaning| !matches!(meaning, Meaning::Resolved(_)));
    told.map(kind).collect()
}

fn ids(meanings: &[Meaning], kind: &str) -> Vec<EventId> {
    let id = |meaning: &Meaning| match meaning {
        Meaning::Event(id, body) if body.kind() == kind => Some(id.clone()),
        Meaning::Preview(Preview::EventStart { event }) if kind == "start" => Some(event.id.clone()),
        _ => None,
    };
    meanings.iter().filter_map(id).collect()
}

#[test]
fn each_frame_becomes_the_events_of_the_api() {
    let system = |subtype: &str, more: Value| {
        let mut json = json!({"type":"system","subtype":subtype});
        json.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json
    };
    let table: Vec<(&str, Vec<Value>, Vec<&str>)> = vec![
        ("init", vec![system("init", json!({}))], vec![]),
        ("text", vec![text("hi")], vec!["agent.message"]),
        ("empty text", vec![text("")], vec![]),
        (
            "thinking",
            vec![assistant(
                json!({"type":"thinking","thinking":"t","signature":"s"}),
            )],
            vec!["agent.thinking"],
        ),
        (
            "redacted",
            vec![assistant(json!({"type":"redacted_thinking","data":"x"}))],
            vec!["agent.thinking"],
        ),
        (
            "unknown block",
            vec![assistant(json!({"type":"hologram"}))],
            vec![],
        ),
        ("tool", vec![tool_use("t1")], vec!["agent.tool_use"]),
        (
            "the same call twice",
            vec![tool_use("t1"), tool_use("t1")],
            vec!["agent.tool_use"],
        ),
        (
            "call and result",
            vec![tool_use("t1"), tool_result("t1", json!("x"))],
            vec!["agent.tool_use", "agent.tool_result"],
        ),
        ("result without call", vec![tool_result("t9", json!("x"))], vec![]),
        (
            "second result",
            vec![
                tool_use("t1"),
                tool_result("t1", json!("x")),
                tool_result("t1", json!("y")),
            ],
            vec!["agent.tool_use", "agent.tool_result"],
        ),
        (
            "user text",
            vec![json!({"type":"user","message":{"role":"user","content":"[Request interrupted by user]"}})],
            vec![],
        ),
        (
            "compaction",
            vec![system(
                "compact_boundary",
                json!({"compact_metadata":{"trigger":"auto","pre_tokens":1}}),
            )],
            vec!["agent.thread_context_compacted"],
        ),
        (
            "retry",
            vec![
                start(),
                api_retry(),
                api_retry(),
                system("status", json!({"status":"requesting"})),
            ],
            vec![
                "span.model_request_start",
                "span.model_request_end",
                "session.error",
                "session.status_rescheduled",
                "session.error",
                "session.status_running",
                "span.model_request_start",
            ],
        ),
        (
            "retry of what a tool asks",
            vec![api_retry()],
            vec!["session.error"],
        ),
        (
            "retry of a summary",
            vec![
                system("status", json!({"status":"compacting"})),
                api_retry(),
                system("status", json!({"status":null,"compact_result":"success"})),
            ],
            vec![
                "session.error",
                "session.status_rescheduled",
                "session.status_running",
            ],
        ),
        (
            "a request that is refused",
            vec![
                system("status", json!({"status":"requesting"})),
                json!({"type":"result","subtype":"success","is_error":true}),
            ],
            vec!["span.model_request_start", "span.model_request_end", "ended"],
        ),
        (
            "a request that is answered",
            vec![
                system("status", json!({"status":"requesting"})),
                start(),
                block_start("text"),
                text("hi"),
                event_frame(json!({"type":"message_stop"})),
            ],
            vec![
                "span.model_request_start",
                "start agent.message",
                "agent.message",
                "span.model_request_end",
            ],
        ),
        (
            "a turn that ends while it waits",
            vec![
                start(),
                api_retry(),
                json!({"type":"result","subtype":"success","is_error":true}),
                start(),
            ],
            vec![
                "span.model_request_start",
                "span.model_request_end",
                "session.error",
                "session.status_rescheduled",
                "ended",
                "span.model_request_start",
            ],
        ),
        (
            "calls of a reply that broke off are not made",
            vec![
                start(),
                tool_use("t1"),
                tool_use("t2"),
                system(
                    "api_retry",
                    json!({"attempt":1,"max_retries":9,"retry_delay_ms":1,
            "error_status":null,"error":"x"}),
                ),
                tool_result("t1", json!("x")),
            ],
            vec![
                "span.model_request_start",
                "agent.tool_use",
                "agent.tool_use",
                "agent.tool_result",
                "agent.tool_result",
                "span.model_request_end",
                "session.error",
                "session.status_rescheduled",
            ],
        ),
        (
            "nor are those of one that is given up, and a call before it is interrupted",
            vec![
                start(),
                tool_use("t1"),
                event_frame(json!({"type":"message_stop"})),
                start(),
                tool_use("t2"),
                json!({"type":"result","subtype":"success","is_error":true}),
            ],
            vec![
                "span.model_request_start",
                "agent.tool_use",
                "span.model_request_end",
                "span.model_request_start",
                "agent.tool_use",
                "agent.tool_result",
                "span.model_request_end",
                "agent.tool_result",
                "ended",
            ],
        ),
        (
            "a stream that starts again",
            vec![start(), start()],
            vec![
                "span.model_request_start",
                "span.model_request_end",
                "span.model_request_start",
            ],
        ),
        (
            "end without start",
            vec![event_frame(json!({"type":"message_stop"}))],
            vec![],
        ),
        (
            "whole stream",
            vec![
                start(),
                block_start("text"),
                delta("h"),
                delta("i"),
                text("hi"),
                event_frame(json!({"type":"content_block_stop"})),
                event_frame(json!({"type":"message_stop"})),
            ],
            vec![
                "span.model_request_start",
                "start agent.message",
                "delta",
                "delta",
                "agent.message",
                "span.model_request_end",
            ],
        ),
        (
            "thinking stream",
            vec![start(), block_start("thinking"), delta("h")],
            vec!["span.model_request_start", "start agent.thinking"],
        ),
        ("tool stream", vec![block_start("tool_use"), delta("h")], vec![]),
        (
            "empty delta",
            vec![block_start("text"), delta("")],
            vec!["start agent.message"],
        ),
        (
            "odd stream events",
            vec![
                event_frame(json!(7)),
                event_frame(json!({"type":5})),
                event_frame(json!({"type":"content_block_start"})),
                event_frame(json!({"type":"content_block_delta","delta":null})),
            ],
            vec![],
        ),
        (
            "unknown frames",
            vec![json!({"type":"a_later_type","x":1}), json!({"type":"keep_alive"})],
            vec![],
        ),
        (
            "asks",
            vec![json!({"type":"control_request","request_id":"r","request":{"subtype":"x"}})],
            vec!["asks"],
        ),
        (
            "answers",
            vec![json!({"type":"control_response","response":{"subtype":"success","request_id":"r"}})],
            vec!["answers"],
        ),
        (
            "withdraws",
            vec![json!({"type":"control_cancel_request","request_id":"r"})],
            vec!["withdraws"],
        ),
        (
            "result closes the request",
            vec![
                start(),
                json!({"type":"result","subtype":"success","is_error":false}),
            ],
            vec!["span.model_request_start", "span.model_request_end", "ended"],
        ),
    ];
    for (name, frames, expected) in table {
        assert_eq!(kinds(&meanings(frames)), expected, "{name}");
    }
}

#[test]
fn a_subagent_s_calls_are_told_and_its_words_are_not() {
    let mut of_subagent = [text("hi"), tool_use("t1"), start()];
    for frame in &mut of_subagent {
        frame["parent_tool_use_id"] = "toolu_parent".into();
    }
    assert_eq!(kinds(&meanings(of_subagent)), ["agent.tool_use"]);
}

#[test]
fn a_message_has_the_id_that_its_previews_announced_only_if_they_are_its_beginning() {
    let same = meanings([block_start("text"), delta("he"), text("hello")]);
    assert_eq!(ids(&same, "start"), ids(&same, "agent.message"));
    let other = meanings([block_start("text"), delta("she"), text("hello")]);
    assert_ne!(ids(&other, "start"), ids(&other, "agent.message"));
    let thought = meanings([block_start("thinking"), text("hello")]);
    assert_ne!(ids(&thought, "start"), ids(&thought, "agent.message"));
    let twice = meanings([block_start("text"), delta("a"), text("a"), text("a")]);
    assert_eq!(ids(&twice, "agent.message").len(), 2);
    assert_ne!(ids(&twice, "agent.message")[0], ids(&twice, "agent.message")[1]);
}

#[test]
fn a_request_s_end_has_the_last_counts_of_its_stream() {
    let end = event_frame(json!({"type":"message_delta","usage":{"output_tokens":9,"input_tokens":null}}));
    let told = meanings([start(), end, event_frame(json!({"type":"message_stop"}))]);
    let Meaning::Event(
        _,
        Body::SpanModelRequestEnd {
            model_request_start_id,
            is_error,
            model_usage,
        },
    ) = &told[1]
    else {
        panic!("{told:?}")
    };
    assert_eq!(
        (model_request_start_id, is_error),
        (&ids(&told, "span.model_request_start")[0], &None)
    );
    assert_eq!(
        (
            model_usage.input_tokens,
            model_usage.output_tokens,
            model_usage.cache_read_input_tokens
        ),
        (3, 9, 2)
    );
}

#[test]
fn tool_names_are_the_api_s_and_inputs_are_objects() {
    for (name, wire) in [
        ("Bash", "bash"),
        ("WebFetch", "web_fetch"),
        ("mcp__x__Read", "mcp__x__Read"),
        ("Agent", "Agent"),
    ] {
        let told = meanings([assistant(
            json!({"type":"tool_use","id":"t","name":name,"input":[1]}),
        )]);
        let Meaning::Event(_, Body::AgentToolUse { name, input, .. }) = &told[0] else {
            panic!("{told:?}")
        };
        assert_eq!((name.as_str(), &input["malformed_input"]), (wire, &json!([1])));
        assert_eq!(
            runtime_tool_name(wire),
            if wire == "bash" {
                "Bash"
            } else {
                runtime_tool_name(wire)
            }
        );
    }
}

#[test]
fn results_keep_what_they_hold() {
    for (content, blocks) in [
        (Value::Null, None),
        (json!("x"), Some(json!([{"type":"text","text":"x"}]))),
        (
            json!([{"type":"text","text":"x"},{"type":"later","y":1}]),
            Some(json!([{"type":"text","text":"x"},{"type":"later","y":1}])),
        ),
        (
            json!([{"type":"image"}]),
            Some(json!([{"type":"text","text":"{\"type\":\"image\"}"}])),
        ),
        (json!(7), Some(json!([{"type":"text","text":"7"}]))),
    ] {
        let told = meanings([tool_use("t"), tool_result("t", content.clone())]);
        let Meaning::Event(
            _,
            Body::AgentToolResult {
                content: found,
                is_error,
                tool_use_id,
            },
        ) = &told[2]
        else {
            panic!("{told:?}")
        };
        assert_eq!(
            found.as_ref().map(|found| serde_json::to_value(found).unwrap()),
            blocks,
            "{content}"
        );
        assert_eq!(
            (is_error, tool_use_id),
            (&Some(true), &ids(&told, "agent.tool_use")[0])
        );
    }
}

#[test]
fn calls_of_a_reply_that_was_cut_off_are_not_made() {
    let mut translator = asking();
    let mut told = |json| translator.translate(frame(json)).unwrap();
    // A call of the reply before it goes on, whatever becomes of this reply.
    told(call("before", "Read"));
    told(start());
    let (read, custom) = (told(call("a", "Read")), told(call("b", "weather")));
    let retry = told(api_retry());
    assert_eq!(
        kinds(&retry),
        [
            "agent.tool_result",
            "span.model_request_end",
            "session.error",
            "session.status_rescheduled"
        ]
    );
    let resolved = retry.iter().filter_map(|meaning| match meaning {
        Meaning::Resolved(id) => Some(id.clone()),
        _ => None,
    });
    let calls = [
        ids(&read, "agent.tool_use"),
        ids(&custom, "agent.custom_tool_use"),
    ];
    assert_eq!(resolved.collect::<Vec<_>>(), calls.concat());
    // The reply that comes instead may have the same ids.
    told(start());
    assert_eq!(kinds(&told(call("a", "Read"))), ["agent.tool_use"]);
    told(event_frame(json!({"type":"message_stop"})));
    assert_eq!(translator.open_calls().unwrap().len(), 2);
}

#[test]
fn calls_of_frames_that_another_one_supersedes_are_not_made() {
    let mut translator = Translator::default();
    let named = |uuid: &str, mut json: Value| {
        json["uuid"] = uuid.into();
        json["session_id"] = "s".into();
        json
    };
    let mut told = |json: Value| {
        let frame = Frame::parse(json.to_string().as_bytes()).unwrap();
        kinds(&translator.translate(frame).unwrap())
    };
    told(named("f1", tool_use("a")));
    told(named("f2", tool_use("b")));
    let mut again = named("f3", text("again"));
    again["supersedes"] = json!(["f2", 7]);
    assert_eq!(told(again), ["agent.tool_result", "agent.message"]);
    assert_eq!(translator.open_calls().unwrap().len(), 1);
}

#[test]
fn no_call_outlives_its_turn() {
    let told = meanings([
        tool_use("a"),
        json!({"type":"result","subtype":"success","is_error":false}),
    ]);
    assert_eq!(kinds(&told), ["agent.tool_use", "agent.tool_result", "ended"]);
}

#[test]
fn a_cut_ends_what_is_open_and_only_once() {
    let mut translator = Translator::default();
    for json in [
        start(),
        tool_use("a"),
        tool_use("b"),
        tool_result("a", json!("x")),
    ] {
        translator.translate(frame(json)).unwrap();
    }
    assert_eq!(
        kinds(&translator.cut(&[])),
        ["span.model_request_end", "agent.tool_result"]
    );
    assert!(translator.cut(&[]).is_empty());
}

fn asking() -> Translator {
    let toolset = json!({
        "built_in": {"bash": "always_ask", "read": "always_allow"},
        "custom": [{"name": "weather", "description": "", "input_schema": {}}],
    });
    let toolset: Toolset = serde_json::from_value(toolset).unwrap();
    Translator::new(Some(Arc::new(toolset)), State::default())
}

fn call(id: &str, name: &str) -> Value {
    assistant(json!({"type":"tool_use","id":id,"name":name,"input":{}}))
}

#[test]
fn each_call_is_told_with_its_policy() {
    let mut translator = asking();
    let mut told = |id: &str, name: &str| {
        let meanings = translator.translate(frame(call(id, name))).unwrap();
        let [Meaning::Event(_, body)] = &meanings[..] else {
            panic!("{meanings:?}")
        };
        let json = serde_json::to_value(body).unwrap();
        let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        let evaluation = json["evaluation"]["type"].as_str().unwrap_or_default();
        format!(
            "{} {} {} {evaluation}",
            field("type"),
            field("name"),
            field("evaluated_permission")
        )
    };
    assert_eq!(told("a", "Bash"), "agent.tool_use bash ask always_ask");
    assert_eq!(told("b", "Read"), "agent.tool_use read allow always_allow");
    assert_eq!(told("c", "Write"), "agent.tool_use write deny ");
    assert_eq!(told("d", "weather"), "agent.custom_tool_use weather  ");
    assert_eq!(
        told("e", "mcp__custom__weather"),
        "agent.custom_tool_use weather  "
    );
}

#[test]
fn the_result_of_a_custom_call_is_the_clients_and_ends_the_call() {
    let mut translator = asking();
    translator.translate(frame(call("a", "weather"))).unwrap();
    let event = translator.event_of("a").unwrap().clone();
    assert_eq!(translator.open_calls(), Some(vec![&event]));
    let meanings = translator
        .translate(frame(tool_result("a", json!("sunny"))))
        .unwrap();
    assert!(matches!(&meanings[..], [Meaning::Resolved(id)] if *id == event));
    assert_eq!(translator.open_calls(), Some(Vec::new()));
}

#[test]
fn calls_that_can_still_be_made_outlive_a_cut_and_the_translator() {
    let mut translator = asking();
    for json in [
        start(),
        call("a", "Bash"),
        call("b", "Read"),
        call("c", "weather"),
    ] {
        translator.translate(frame(json)).unwrap();
    }
    assert_eq!(translator.open_calls(), None, "the model still speaks");
    let kept = ["a", "c"].map(|id| translator.event_of(id).unwrap().clone());
    assert_eq!(
        kinds(&translator.cut(&kept)),
        ["span.model_request_end", "agent.tool_result"]
    );
    let text = serde_json::to_string(translator.state()).unwrap();
    let state: State = serde_json::from_str(&text).unwrap();
    assert_eq!(
        state
            .runtime_ids(&kept)
            .into_values()
            .collect::<std::collections::BTreeSet<_>>(),
        ["a".to_owned(), "c".to_owned()].into()
    );
    // Another runtime tells the same calls again, and they are the same calls.
    let mut next = Translator::new(None, state);
    assert!(next.translate(frame(call("a", "Bash"))).unwrap().is_empty());
}

#[test]
fn endless_open_calls_are_nonsense() {
    let mut translator = Translator::default();
    let outcome =
        (0..=MAX_OPEN_TOOLS).map(|number| translator.translate(frame(tool_use(&number.to_string()))));
    let errors: Vec<Nonsense> = outcome.filter_map(Result::err).collect();
    assert_eq!(errors, [Nonsense::TooManyTools]);
}

#[test]
fn an_api_error_is_kept_for_the_end_of_the_turn_and_is_no_message() {
    let mut translator = Translator::default();
    let mut json = text("API Error: 529");
    json["error"] = "overloaded".into();
    assert!(translator.translate(frame(json)).unwrap().is_empty());
    let error = ApiError {
        class: "overloaded".into(),
        text: "API Error: 529".into(),
    };
    assert_eq!(translator.take_api_error(), Some(error));
    assert_eq!(translator.take_api_error(), None);
}

#[test]
fn calls_that_nobody_makes_any_more_are_ended_as_not_made() {
    let mut translator = Translator::default();
    let told = translator.translate(frame(tool_use("t1"))).unwrap();
    let mut state = translator.state.clone();
    let ended = state.give_up();
    assert_eq!(kinds(&ended), ["agent.tool_result"]);
    let called = ids(&told, "agent.tool_use");
    assert!(matches!(&ended[0], Meaning::Resolved(id) if *id == called[0]));
    assert!(state.give_up().is_empty());
}
