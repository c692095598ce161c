//! MCP servers inside the host: greeted before the first turn, called over the control channel, never trusted.

use crate::host::{
    Host, Options, Place, assert_valid, of_subtype, of_type, result, start, start_with, tool_results,
};
use crate::server::{Server, call, calls, said};
use serde_json::{Value, json};

const CALC: &str = r#"{"mcpServers":{"calc":{"type":"sdk","name":"calc"}}}"#;

fn is_message(frame: &Value) -> bool {
    frame["request"]["subtype"] == "mcp_message"
}

fn message(frame: &Value) -> &Value {
    &frame["request"]["message"]
}

/// The next message to a server.
async fn asked(host: &mut Host) -> Value {
    host.until(is_message).await.pop().unwrap()
}

async fn respond(host: &mut Host, question: &Value, response: Value) {
    let body = json!({"subtype":"success","request_id":question["request_id"],"response":response});
    host.send(json!({"type":"control_response","response":body}))
        .await;
}

async fn give(host: &mut Host, question: &Value, result: Value) {
    let answer = json!({"jsonrpc":"2.0","id":message(question)["id"],"result":result});
    respond(host, question, json!({"mcp_response":answer})).await;
}

/// Plays the server in a greeting that goes well.
async fn greet(host: &mut Host, tools: Value) {
    let hello = asked(host).await;
    assert_eq!(message(&hello)["method"], "initialize");
    assert_eq!(message(&hello)["params"]["protocolVersion"], "2025-11-25");
    give(host, &hello, json!({"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"Calculator","version":"1.2"}})).await;
    let ready = asked(host).await;
    assert_eq!(message(&ready)["method"], "notifications/initialized");
    respond(
        host,
        &ready,
        json!({"mcp_response":{"jsonrpc":"2.0","result":{}}}),
    )
    .await;
    let list = asked(host).await;
    assert_eq!(message(&list)["method"], "tools/list");
    give(host, &list, json!({"tools":tools})).await;
}

fn adds() -> Value {
    json!([{"name":"add.two","description":"Adds.","inputSchema":{"type":"object","properties":{"a":{"type":"number"}}},
        "annotations":{"readOnlyHint":true}}])
}

/// A session with the server `calc` whose model makes these calls.
async fn start_calling(blocks: &[Value], arguments: &[&str]) -> (Place, Server, Host) {
    let place = Place::new();
    let server = Server::start(vec![calls(blocks), said("done")]).await;
    let mut host = start(&place, &server, &[&["--mcp-config", CALC], arguments].concat());
    host.control("init", json!({"subtype":"initialize"})).await;
    host.answer("init").await;
    greet(&mut host, adds()).await;
    host.prompt("go").await;
    (place, server, host)
}

const FREE: &[&str] = &["--permission-mode", "bypassPermissions"];

fn add(id: &str) -> Value {
    call(id, "mcp__calc__add_two", json!({"a":1}))
}

#[tokio::test]
async fn a_server_s_tools_are_offered_and_called_under_the_model_s_tool_use() {
    let (_place, server, mut host) = start_calling(&[add("t1")], FREE).await;
    let mut before = host.until(is_message).await;
    let question = before.pop().unwrap();
    let init = of_subtype(&before, "init").next().unwrap();
    assert_eq!(
        init["mcp_servers"],
        json!([{"name":"calc","status":"connected","source":"sdk"}])
    );
    assert!(
        init["tools"]
            .as_array()
            .unwrap()
            .contains(&json!("mcp__calc__add_two"))
    );
    let shown = of_type(&before, "assistant").next().unwrap();
    assert_eq!(shown["tool_use_meta"][0]["tool_name"], "add.two");
    let params = &message(&question)["params"];
    assert_eq!(
        (&params["name"], &params["arguments"]),
        (&json!("add.two"), &json!({"a":1}))
    );
    assert_eq!(params["_meta"]["claudecode/toolUseId"], "t1");
    assert_eq!(params["_meta"]["progressToken"], message(&question)["id"]);
    assert_eq!(question["request"]["server_name"], "calc");
    let content = json!([{"type":"text","text":"3"},{"type":"image","mimeType":"image/png","data":"aGk="}]);
    give(&mut host, &question, json!({"content":content})).await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "done");
    let shown = of_type(&frames, "user").next().unwrap();
    assert_eq!(
        shown["tool_use_result"], content,
        "hosts see the server's own words"
    );
    let asked = server.asked();
    let offered = asked[0].body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["name"] == "mcp__calc__add_two")
        .unwrap();
    assert_eq!(
        (&offered["description"], &offered["input_schema"]["type"]),
        (&json!("Adds."), &json!("object"))
    );
    assert_valid(&asked[1].body);
    let told = &asked[1].body["messages"][2]["content"][0]["content"];
    assert_eq!(
        (&told[0]["text"], &told[1]["source"]["media_type"]),
        (&json!("3"), &json!("image/png"))
    );
    host.control("s", json!({"subtype":"mcp_status"})).await;
    let status = host.answer("s").await["response"]["mcpServers"][0].clone();
    assert_eq!(
        status,
        json!({"name":"calc","status":"connected","transport":"sdk","scope":"dynamic","source":"sdk",
            "serverInfo":{"name":"Calculator","version":"1.2"},
            "tools":[{"name":"add.two","description":"Adds.","annotations":{"readOnly":true}}]})
    );
}

#[tokio::test]
async fn servers_of_the_initialize_request_are_greeted_after_its_answer_and_before_the_prompt_that_came_with_it()
 {
    let place = Place::new();
    let server = Server::start(vec![said("hello")]).await;
    let mut host = start(&place, &server, &["--mcp-config", CALC]);
    // A host of the other SDK names a server both ways and does not wait with its first prompt.
    host.control(
        "init",
        json!({"subtype":"initialize","sdkMcpServers":["calc"],"mcpServers":{"calc":{"type":"sdk"}}}),
    )
    .await;
    host.prompt("hi").await;
    let first = host.next().await.unwrap();
    assert_eq!(first["response"]["request_id"], "init");
    greet(&mut host, adds()).await;
    let frames = host.until_result().await;
    let init = of_subtype(&frames, "init").next().unwrap();
    assert_eq!(init["mcp_servers"].as_array().unwrap().len(), 1);
    host.prompt("again").await;
    let frames = host.until_result().await;
    assert!(!frames.iter().any(is_message), "a server is greeted once");
}

#[tokio::test]
async fn pages_are_followed_and_what_cannot_be_offered_is_said() {
    let place = Place::new();
    let server = Server::start(vec![said("hello")]).await;
    let mut host = start(&place, &server, &["--mcp-config", CALC]);
    host.prompt("hi").await;
    let hello = asked(&mut host).await;
    give(&mut host, &hello, json!({})).await;
    asked(&mut host).await;
    let list = asked(&mut host).await;
    give(
        &mut host,
        &list,
        json!({"tools":[{"name":"one"}],"nextCursor":"more"}),
    )
    .await;
    let list = asked(&mut host).await;
    assert_eq!(message(&list)["params"]["cursor"], "more");
    let hostile =
        json!([{"name":"two"},{"name":"one"},{"name":"bad","inputSchema":{"anyOf":[]}},{"name":"\u{0}"},7]);
    give(&mut host, &list, json!({"tools":hostile})).await;
    let frames = host.until_result().await;
    let init = of_subtype(&frames, "init").next().unwrap();
    let own: Vec<&str> = init["tools"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|tool| tool.as_str()?.strip_prefix("mcp__calc__"))
        .collect();
    assert_eq!(own, ["one", "two", "_"]);
    host.control("s", json!({"subtype":"mcp_status"})).await;
    let status = host.answer("s").await["response"]["mcpServers"][0].clone();
    assert_eq!(status["status"], "connected");
    assert!(
        status["error"].as_str().unwrap().starts_with("3 of its tools"),
        "{status}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_be_greeted_is_said_to_have_failed_and_the_session_goes_on() {
    let nonsense = json!({"mcp_response":{"jsonrpc":"2.0","id":0,"result":"yes"}});
    let refusal =
        json!({"mcp_response":{"jsonrpc":"2.0","id":0,"error":{"code":-32000,"message":"not ready"}}});
    for (response, reason) in [
        (Some(nonsense), "not a JSON-RPC response"),
        (Some(json!(null)), "not a JSON-RPC response"),
        (Some(refusal), "MCP error -32000: not ready"),
        (None, "did not answer within 0.1 s"),
    ] {
        let place = Place::new();
        let server = Server::start(vec![said("hello")]).await;
        let options = Options {
            arguments: &["--mcp-config", CALC],
            environment: &[("MCP_TIMEOUT", "100")],
            real_tools: false,
        };
        let mut host = start_with(&place, &server, &options);
        host.prompt("hi").await;
        let hello = asked(&mut host).await;
        let is_late = response.is_none();
        if let Some(response) = response {
            respond(&mut host, &hello, response).await;
        }
        let frames = host.until_result().await;
        assert_eq!(result(&frames)["result"], "hello");
        let init = of_subtype(&frames, "init").next().unwrap();
        assert_eq!(init["mcp_servers"][0]["status"], "failed", "{reason}");
        let withdrawn = of_type(&frames, "control_cancel_request").next();
        assert_eq!(
            withdrawn.map(|frame| &frame["request_id"]),
            is_late.then_some(&hello["request_id"])
        );
        host.control("s", json!({"subtype":"mcp_status"})).await;
        let status = host.answer("s").await["response"]["mcpServers"][0].clone();
        assert!(status["error"].as_str().unwrap().contains(reason), "{status}");
    }
}

#[tokio::test]
async fn a_session_that_ends_does_not_wait_for_a_greeting() {
    let place = Place::new();
    let server = Server::start(vec![]).await;
    let options = Options {
        arguments: &["--mcp-config", CALC],
        environment: &[("MCP_TIMEOUT", "1000")],
        real_tools: false,
    };
    let mut host = start_with(&place, &server, &options);
    host.control("init", json!({"subtype":"initialize"})).await;
    asked(&mut host).await;
    host.control("end", json!({"subtype":"end_session"})).await;
    let (frames, exit) = host.finish_without_closing().await;
    assert_eq!(exit.code, 0);
    // A greeting that was waited for to its end would be withdrawn.
    assert_eq!(of_type(&frames, "control_cancel_request").count(), 0);
    // A host that goes away while it is asked for is not waited for either.
    let mut host = start(&place, &server, &["--mcp-config", CALC]);
    host.control("init", json!({"subtype":"initialize"})).await;
    asked(&mut host).await;
    assert_eq!(host.finish().await.1.code, 0);
}

#[tokio::test]
async fn an_interrupt_during_the_greeting_leaves_it_as_it_is() {
    let place = Place::new();
    let server = Server::start(vec![said("hello")]).await;
    let mut host = start(&place, &server, &["--mcp-config", CALC]);
    host.control("init", json!({"subtype":"initialize"})).await;
    host.answer("init").await;
    host.control("stop", json!({"subtype":"interrupt"})).await;
    greet(&mut host, adds()).await;
    host.prompt("hi").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "hello");
    let init = of_subtype(&frames, "init").next().unwrap();
    assert_eq!(init["mcp_servers"][0]["status"], "connected");
}

#[tokio::test]
async fn what_a_server_says_of_a_failed_call_reaches_the_model() {
    let blocks: Vec<Value> = (0..5).map(|number| add(&format!("t{number}"))).collect();
    let (_place, _server, mut host) = start_calling(&blocks, FREE).await;
    let mut questions = Vec::new();
    for _ in 0..5 {
        questions.push(asked(&mut host).await);
    }
    give(
        &mut host,
        &questions[0],
        json!({"isError":true,"content":[{"type":"text","text":"too big"}]}),
    )
    .await;
    respond(
        &mut host,
        &questions[1],
        json!({"mcp_response":{"error":{"code":-32602,"message":"bad a"}}}),
    )
    .await;
    respond(&mut host, &questions[2], json!({"something":"else"})).await;
    let body =
        json!({"subtype":"error","request_id":questions[3]["request_id"],"error":"Server 'calc' not found"});
    host.send(json!({"type":"control_response","response":body}))
        .await;
    give(&mut host, &questions[4], json!({"content":[]})).await;
    let frames = host.until_result().await;
    let results = tool_results(&frames);
    assert_eq!(results.len(), 5);
    for ((id, text, is_error), (expected, fails)) in results.iter().zip([
        ("too big", true),
        ("MCP error -32602: bad a", true),
        ("not a JSON-RPC response", true),
        ("Server 'calc' not found", true),
        ("no output", false),
    ]) {
        assert!(
            text.contains(expected) && *is_error == fails,
            "{id}: {text} {is_error}"
        );
    }
}

#[tokio::test]
async fn questions_and_calls_of_servers_are_open_together_while_others_wait_their_turn() {
    let blocks = [
        call("t0", "Bash", json!({"command":"make a"})),
        add("t1"),
        call("t2", "Bash", json!({"command":"make b"})),
        add("t3"),
    ];
    let (_place, server, mut host) = start_calling(&blocks, &["--permission-prompt-tool", "stdio"]).await;
    let mut questions = Vec::new();
    for _ in 0..4 {
        let frames = host.until(|frame| frame["type"] == "control_request").await;
        questions.push(frames.last().unwrap().clone());
    }
    assert!(
        questions
            .iter()
            .all(|question| question["request"]["subtype"] == "can_use_tool")
    );
    assert_eq!(
        questions[1]["request"]["mcp_server"],
        json!({"name":"calc","source":"sdk"})
    );
    let suggested = &questions[1]["request"]["permission_suggestions"][0]["rules"];
    assert_eq!(suggested, &json!([{"toolName":"mcp__calc__add_two"}]));
    for question in [&questions[3], &questions[1]] {
        respond(&mut host, question, json!({"behavior":"allow"})).await;
    }
    // Both are open, though the first call of the reply has no permission yet.
    let third = asked(&mut host).await;
    let first = asked(&mut host).await;
    assert_eq!(message(&third)["params"]["_meta"]["claudecode/toolUseId"], "t3");
    respond(&mut host, &questions[0], json!({"behavior":"allow"})).await;
    respond(&mut host, &questions[2], json!({"behavior":"allow"})).await;
    // An open call holds nothing up.
    host.log.wait_for("end make b").await;
    for question in [&first, &third] {
        give(
            &mut host,
            question,
            json!({"content":[{"type":"text","text":"3"}]}),
        )
        .await;
    }
    host.until_result().await;
    assert_eq!(
        host.log.lines(),
        ["start make a", "end make a", "start make b", "end make b"]
    );
    let body = &server.asked()[1].body;
    let order: Vec<&Value> = body["messages"][2]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["tool_use_id"])
        .collect();
    assert_eq!(order, ["t0", "t1", "t2", "t3"]);
}

#[tokio::test]
async fn an_interrupt_tells_host_and_server_that_nobody_waits() {
    let (_place, server, mut host) = start_calling(&[add("t1")], FREE).await;
    let question = asked(&mut host).await;
    host.control("stop", json!({"subtype":"interrupt"})).await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["terminal_reason"], "aborted_tools");
    let withdrawn = of_type(&frames, "control_cancel_request").next().unwrap();
    assert_eq!(withdrawn["request_id"], question["request_id"]);
    let told = frames.iter().find(|frame| is_message(frame)).unwrap();
    assert_eq!(message(told)["method"], "notifications/cancelled");
    assert_eq!(message(told)["params"]["requestId"], message(&question)["id"]);
    assert!(tool_results(&frames)[0].2);
    // The answer that comes after all changes nothing.
    give(
        &mut host,
        &question,
        json!({"content":[{"type":"text","text":"late"}]}),
    )
    .await;
    host.prompt("go on").await;
    host.until_result().await;
    let body = &server.asked()[1].body;
    assert_valid(body);
    assert!(!body.to_string().contains("late"));
}

#[tokio::test]
async fn a_host_that_goes_away_leaves_an_error_and_no_open_call() {
    let (_place, server, mut host) = start_calling(&[add("t1")], FREE).await;
    asked(&mut host).await;
    let (frames, exit) = host.finish().await;
    let results = tool_results(&frames);
    assert!(
        results[0].2 && results[0].1.contains("closed its input"),
        "{results:?}"
    );
    assert_eq!(exit.code, 0);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn rules_for_a_server_take_its_tools_away_or_allow_them() {
    for (arguments, is_listed) in [
        (&["--disallowedTools", "mcp__calc"][..], false),
        (&["--disallowedTools", "mcp__calc__*"], false),
        (&["--disallowedTools", "mcp__calc__add_two"], false),
        (&["--disallowedTools", "mcp__other"], true),
        (&["--tools", ""], true),
        (&["--tools", "Read"], true),
    ] {
        let place = Place::new();
        let server = Server::start(vec![said("hello")]).await;
        let mut host = start(&place, &server, &[&["--mcp-config", CALC], arguments].concat());
        host.prompt("hi").await;
        greet(&mut host, adds()).await;
        host.until_result().await;
        let body = server.asked()[0].body.clone();
        assert_eq!(
            body.to_string().contains("mcp__calc__add_two"),
            is_listed,
            "{arguments:?}"
        );
    }
    for rule in ["mcp__calc", "mcp__calc__*", "mcp__calc__add_two"] {
        let (_place, _server, mut host) = start_calling(
            &[add("t1")],
            &["--permission-prompt-tool", "stdio", "--allowedTools", rule],
        )
        .await;
        let frames = host.until(|frame| frame["type"] == "control_request").await;
        let question = frames.last().unwrap();
        assert!(is_message(question), "{rule} asks nobody: {question}");
        give(&mut host, question, json!({})).await;
        host.until_result().await;
    }
}
