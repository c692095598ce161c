//! Tool calls: in which order they run, what the model is told of bad ones, and what lines queue meanwhile.

use crate::host::{Place, assert_valid, of_type, result, start, tool_results};
use crate::server::{Answer, Server, block, call, calls, events, said};
use serde_json::{Value, json};

fn bash(id: &str, command: &str) -> Value {
    call(id, "Bash", json!({"command":command}))
}

fn read(id: &str, path: &str) -> Value {
    call(id, "Read", json!({"file_path":path}))
}

const FREE: &[&str] = &["--permission-mode", "bypassPermissions"];

#[tokio::test]
async fn a_call_runs_and_its_result_goes_to_the_host_and_to_the_model() {
    let (place, server) = (
        Place::new(),
        Server::start(vec![calls(&[bash("t1", "make")]), said("done")]).await,
    );
    let mut host = start(&place, &server, FREE);
    host.prompt("go").await;
    let frames = host.until_result().await;
    assert_eq!(tool_results(&frames), [("t1".into(), "Bash make".into(), false)]);
    let shown = of_type(&frames, "user").next().unwrap();
    assert_eq!(shown["tool_use_result"], json!({"stdout":"Bash make"}));
    assert_eq!(
        (
            result(&frames)["num_turns"].as_u64(),
            result(&frames)["result"].as_str()
        ),
        (Some(2), Some("done"))
    );
    let body = &server.asked()[1].body;
    assert_valid(body);
    assert_eq!(body["messages"][2]["content"][0]["content"], "Bash make");
}

#[tokio::test]
async fn safe_calls_run_together_and_the_others_alone_in_their_place() {
    let blocks = [
        read("t1", "wait:b"),
        read("t2", "b"),
        bash("t3", "c"),
        read("t4", "d"),
    ];
    let (place, server) = (
        Place::new(),
        Server::start(vec![calls(&blocks), said("done")]).await,
    );
    let mut host = start(&place, &server, FREE);
    host.prompt("go").await;
    let frames = host.until_result().await;
    // The first read ends only after the second has begun: they overlap, and answer in the order of their ends.
    let order: Vec<String> = tool_results(&frames).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(order, ["t2", "t1", "t3", "t4"]);
    assert_eq!(
        host.log.lines(),
        [
            "start wait:b",
            "start b",
            "end b",
            "end wait:b",
            "start c",
            "end c",
            "start d",
            "end d"
        ]
    );
    assert_valid(&server.asked()[1].body);
}

#[tokio::test]
async fn bad_calls_are_explained_to_the_model_and_run_nothing() {
    let blocks = [
        call("t1", "Teleport", json!({})),
        json!({"type":"tool_use","id":"t2","name":"Bash","raw":"{\"command\": \"rm"}),
        call("t3", "Bash", json!({"cmd":"ls"})),
        call("t4", "Bash", json!({"command":7})),
    ];
    let (place, server) = (
        Place::new(),
        Server::start(vec![calls(&blocks), said("sorry")]).await,
    );
    let mut host = start(&place, &server, FREE);
    host.prompt("go").await;
    let frames = host.until_result().await;
    let mut results = tool_results(&frames);
    results.sort();
    for ((id, content, is_error), expected) in results.iter().zip([
        "<tool_use_error>Error: No such tool available: Teleport</tool_use_error>",
        "<tool_use_error>InputValidationError: ",
        "The required parameter `command` is missing",
        "InputValidationError",
    ]) {
        assert!(is_error & content.contains(expected), "{id}: {content}");
    }
    assert_eq!(results.len(), 4);
    assert!(host.log.lines().is_empty());
    assert_valid(&server.asked()[1].body);
}

#[tokio::test]
async fn a_call_that_the_output_limit_cut_off_is_not_run() {
    let cut = json!({"type":"tool_use","id":"t2","name":"Bash","raw":"{\"command\": \"rm -rf /tm"});
    let reply = Answer::Events(events(&[bash("t1", "a"), cut], "max_tokens", 10));
    let (place, server) = (Place::new(), Server::start(vec![reply, said("done")]).await);
    let mut host = start(&place, &server, FREE);
    host.prompt("go").await;
    let frames = host.until_result().await;
    assert_eq!(host.log.lines(), ["start a", "end a"]);
    assert!(tool_results(&frames)[1].1.contains("output token limit"));
    assert_eq!(result(&frames)["result"], "done");
}

#[tokio::test]
async fn text_that_the_output_limit_cut_off_is_continued_a_few_times() {
    let cut = || Answer::Events(events(&[block("and so")], "max_tokens", 10));
    let (place, server) = (
        Place::new(),
        Server::start(vec![cut(), said("on"), cut(), cut(), cut(), cut()]).await,
    );
    let mut host = start(&place, &server, &[]);
    host.prompt("go").await;
    assert_eq!(result(&host.until_result().await)["result"], "on");
    assert_valid(&server.asked()[1].body);
    host.prompt("go").await;
    let frames = host.until_result().await;
    let result = result(&frames);
    assert!(
        result["is_error"] == true
            && result["result"]
                .as_str()
                .unwrap()
                .contains("output token maximum")
    );
    assert_eq!(host.finish().await.1.code, 1);
}

#[tokio::test]
async fn turns_and_money_have_limits() {
    let answers = || {
        vec![
            calls(&[bash("t1", "a")]),
            calls(&[bash("t2", "b")]),
            calls(&[bash("t3", "c")]),
        ]
    };
    let (place, server) = (Place::new(), Server::start(answers()).await);
    let mut host = start(&place, &server, &[FREE, &["--max-turns", "2"]].concat());
    host.prompt("go").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["subtype"], "error_max_turns");
    assert_eq!(
        result(&frames)["errors"],
        json!(["Reached maximum number of turns (2)"])
    );
    assert_eq!(result(&frames)["num_turns"], 3);
    assert_eq!(server.asked().len(), 2);
    assert_eq!(host.finish().await.1.code, 1);

    let server = Server::start(answers()).await;
    let mut host = start(&place, &server, &[FREE, &["--max-budget-usd", "0.0002"]].concat());
    host.prompt("go").await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["subtype"], "error_max_budget_usd");
    assert_eq!(
        result(&frames)["errors"],
        json!(["Reached maximum budget ($0.0002)"])
    );
    assert_eq!(
        host.log.lines(),
        ["start a", "end a"],
        "what the budget does not cover is not run"
    );
    assert_eq!(tool_results(&frames)[1].0, "t2");
    host.prompt("go on").await;
    assert_eq!(
        result(&host.until_result().await)["subtype"],
        "error_max_budget_usd"
    );
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_budget_is_not_guessed_for_a_model_without_a_price() {
    let (place, server) = (Place::new(), Server::start(vec![said("hello")]).await);
    let mut host = start(
        &place,
        &server,
        &["--model", "mystery-1", "--max-budget-usd", "1"],
    );
    host.prompt("go").await;
    let frames = host.until_result().await;
    assert!(
        result(&frames)["errors"][0]
            .as_str()
            .unwrap()
            .contains("mystery-1")
    );
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn lines_that_come_during_a_turn_join_it_at_the_next_request() {
    let answers = vec![calls(&[bash("t1", "wait:go")]), said("done")];
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start(
        &place,
        &server,
        &[FREE, &["--permission-prompt-tool", "stdio"]].concat(),
    );
    let line =
        |uuid: &str, text: &str| json!({"type":"user","uuid":uuid,"message":{"role":"user","content":text}});
    host.send(line("u1", "first")).await;
    host.until(|frame| frame["message"]["content"][0]["type"] == "tool_use")
        .await;
    host.send(line("u2", "second")).await;
    host.until(|frame| frame["state"] == "queued" && frame["command_uuid"] == "u2")
        .await;
    // Lets the tool end.
    host.log.note("start go");
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["user_message_uuids"], json!(["u1", "u2"]));
    let body = &server.asked()[1].body;
    assert_valid(body);
    let last = body["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (
            last["content"][0]["type"].as_str(),
            last["content"][1]["text"].as_str()
        ),
        (Some("tool_result"), Some("second"))
    );
}

#[tokio::test]
async fn a_result_too_large_for_a_frame_still_reaches_the_model_whole() {
    let answers = vec![calls(&[bash("t1", "huge:1500000")]), said("done")];
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start(&place, &server, FREE);
    host.prompt("go").await;
    let frames = host.until_result().await;
    assert!(frames.iter().all(|frame| frame.to_string().len() < 1 << 20));
    let content = &server.asked()[1].body["messages"][2]["content"][0]["content"];
    assert_eq!(content.as_str().unwrap().len(), 1_500_000);
}

#[tokio::test]
async fn only_the_named_tools_are_listed_and_denied_ones_are_not() {
    let (place, server) = (Place::new(), Server::start(vec![said("a")]).await);
    let mut host = start(
        &place,
        &server,
        &["--tools", "Bash,Read,Task", "--disallowedTools", "Read"],
    );
    host.prompt("go").await;
    let frames = host.until_result().await;
    assert_eq!(frames[0]["tools"], json!(["Bash"]));
    assert_eq!(server.asked()[0].body["tools"].as_array().unwrap().len(), 1);
    let server = Server::start(vec![said("a")]).await;
    let mut host = start(&place, &server, &["--tools", ""]);
    host.prompt("go").await;
    host.until_result().await;
    assert!(server.asked()[0].body.get("tools").is_none());
}
