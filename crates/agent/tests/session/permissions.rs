//! Permission questions: asked on the control channel, answered by the host, never forgotten.

use crate::host::{
    Host, Options, Place, assert_valid, of_subtype, of_type, result, start, start_with, tool_results,
};
use crate::server::{Server, call, calls, said};
use serde_json::{Value, json};

const ASKING: &[&str] = &["--permission-prompt-tool", "stdio"];

async fn start_asking(commands: &[&str]) -> (Place, Server, Host) {
    let blocks: Vec<Value> = commands
        .iter()
        .enumerate()
        .map(|(index, command)| call(&format!("t{index}"), "Bash", json!({"command":command})))
        .collect();
    let (place, server) = (
        Place::new(),
        Server::start(vec![calls(&blocks), said("done")]).await,
    );
    let mut host = start(&place, &server, ASKING);
    host.prompt("go").await;
    (place, server, host)
}

async fn asked(host: &mut Host) -> Value {
    host.until(|frame| frame["type"] == "control_request")
        .await
        .pop()
        .unwrap()
}

async fn answer(host: &mut Host, question: &Value, response: Value) {
    let body = json!({"subtype":"success","request_id":question["request_id"],"response":response});
    host.send(json!({"type":"control_response","response":body}))
        .await;
}

#[tokio::test]
async fn the_host_is_asked_and_may_change_the_input() {
    let (_place, _server, mut host) = start_asking(&["make"]).await;
    let question = asked(&mut host).await;
    let request = &question["request"];
    assert_eq!(
        (request["subtype"].as_str(), request["tool_name"].as_str()),
        (Some("can_use_tool"), Some("Bash"))
    );
    assert_eq!(
        (
            request["tool_use_id"].as_str(),
            request["input"]["command"].as_str()
        ),
        (Some("t0"), Some("make"))
    );
    assert_eq!(
        request["permission_suggestions"][0]["rules"][0]["ruleContent"],
        "make"
    );
    answer(
        &mut host,
        &question,
        json!({"behavior":"allow","updatedInput":{"command":"make -n"}}),
    )
    .await;
    let frames = host.until_result().await;
    assert_eq!(
        tool_results(&frames),
        [("t0".into(), "Bash make -n".into(), false)]
    );
    assert_eq!(result(&frames)["permission_denials"], json!([]));
}

#[tokio::test]
async fn a_no_is_told_to_the_model_in_the_host_s_words_and_counted() {
    let (_place, _server, mut host) = start_asking(&["make"]).await;
    let question = asked(&mut host).await;
    answer(
        &mut host,
        &question,
        json!({"behavior":"deny","message":"not today"}),
    )
    .await;
    let frames = host.until_result().await;
    assert_eq!(tool_results(&frames), [("t0".into(), "not today".into(), true)]);
    let denial = json!({"tool_name":"Bash","tool_use_id":"t0","tool_input":{"command":"make"}});
    assert_eq!(result(&frames)["permission_denials"], json!([denial]));
    assert_eq!(result(&frames)["result"], "done");
}

#[tokio::test]
async fn a_no_with_interrupt_stops_the_turn() {
    let (_place, server, mut host) = start_asking(&["make", "make more"]).await;
    let question = asked(&mut host).await;
    answer(
        &mut host,
        &question,
        json!({"behavior":"deny","message":"stop it","interrupt":true}),
    )
    .await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["terminal_reason"], "aborted_tools");
    assert_eq!(tool_results(&frames).len(), 2);
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn always_allow_is_kept_for_the_session() {
    let (_place, _server, mut host) = start_asking(&["make a", "make b"]).await;
    let question = asked(&mut host).await;
    let rule = json!({"type":"addRules","rules":[{"toolName":"Bash","ruleContent":"make *"}],"behavior":"allow","destination":"session"});
    answer(
        &mut host,
        &question,
        json!({"behavior":"allow","updatedInput":{"command":"make a"},"updatedPermissions":[rule]}),
    )
    .await;
    let frames = host.until_result().await;
    let second = of_type(&frames, "control_request").next().unwrap();
    assert_eq!(second["request"]["tool_use_id"], "t1");
    let withdrawn = of_type(&frames, "control_cancel_request").next().unwrap();
    assert_eq!(
        withdrawn["request_id"], second["request_id"],
        "what the rule decides is not asked any more"
    );
    assert_eq!(
        tool_results(&frames),
        [
            ("t0".into(), "Bash make a".into(), false),
            ("t1".into(), "Bash make b".into(), false)
        ]
    );
    let states: Vec<&Value> = of_subtype(&frames, "session_state_changed").collect();
    assert!(states.is_empty(), "the host did not ask for states");
}

#[tokio::test]
async fn all_questions_of_a_reply_are_open_at_once_and_calls_run_in_their_order() {
    let (_place, server, mut host) = start_asking(&["make a", "make b", "make c"]).await;
    let mut questions = Vec::new();
    for _ in 0..3 {
        questions.push(asked(&mut host).await);
    }
    let ids: Vec<&str> = questions
        .iter()
        .map(|question| question["request"]["tool_use_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["t0", "t1", "t2"], "asked in the order of the calls");
    answer(&mut host, &questions[2], json!({"behavior":"allow"})).await;
    answer(
        &mut host,
        &questions[1],
        json!({"behavior":"deny","message":"not b"}),
    )
    .await;
    let denied = host.until(|frame| frame["type"] == "user").await;
    assert_eq!(tool_results(&denied), [("t1".into(), "not b".into(), true)]);
    assert!(
        host.log.lines().is_empty(),
        "the third waits for the first, which has no answer"
    );
    answer(&mut host, &questions[0], json!({"behavior":"allow"})).await;
    host.until_result().await;
    assert_eq!(
        host.log.lines(),
        ["start make a", "end make a", "start make c", "end make c"]
    );
    let body = &server.asked()[1].body;
    assert_valid(body);
    let order: Vec<&Value> = body["messages"][2]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["tool_use_id"])
        .collect();
    assert_eq!(order, ["t0", "t1", "t2"], "results are in the order of the calls");
}

#[tokio::test]
async fn rules_that_ask_win_over_a_mode_that_allows_everything() {
    let inputs = [
        ("Bash", json!({"command":"echo hi"})),
        ("Read", json!({"file_path":"a"})),
        ("Write", json!({"file_path":"a","content":"x"})),
        ("Edit", json!({"file_path":"a","old_string":"x","new_string":"y"})),
        ("Glob", json!({"pattern":"*"})),
        ("Grep", json!({"pattern":"x"})),
        ("WebFetch", json!({"url":"http://127.0.0.1:1/","prompt":"p"})),
        ("WebSearch", json!({"query":"rust"})),
        ("mcp__my_calc__add", json!({})),
    ];
    let all: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
    let by_server: Vec<&str> = all[..8].iter().copied().chain(["mcp__my_calc"]).collect();
    for rules in [all, by_server] {
        let settings = json!({"permissions":{"ask":rules,"allow":rules}}).to_string();
        let config = json!({"mcpServers":{"my calc":{"type":"sdk"}}}).to_string();
        let blocks: Vec<Value> = inputs
            .iter()
            .map(|(name, input)| call(&format!("t-{name}"), name, input.clone()))
            .collect();
        let (place, server) = (
            Place::new(),
            Server::start(vec![calls(&blocks), said("done")]).await,
        );
        let mut host = start_with(
            &place,
            &server,
            &Options {
                arguments: &[
                    "--permission-prompt-tool",
                    "stdio",
                    "--permission-mode",
                    "bypassPermissions",
                    "--settings",
                    &settings,
                    "--mcp-config",
                    &config,
                ],
                environment: &[],
                real_tools: true,
            },
        );
        host.prompt("go").await;
        for result in [json!({}), json!({}), json!({"tools":[{"name":"add"}]})] {
            let question = asked(&mut host).await;
            let message = &question["request"]["message"];
            let response = json!({"jsonrpc":"2.0","id":message["id"],"result":result});
            answer(&mut host, &question, json!({"mcp_response":response})).await;
        }
        for (name, _) in &inputs {
            let question = asked(&mut host).await;
            let request = &question["request"];
            assert_eq!(
                (request["subtype"].as_str(), request["tool_name"].as_str()),
                (Some("can_use_tool"), Some(*name))
            );
            assert_eq!(request["decision_reason_type"], "rule", "{name}");
            answer(&mut host, &question, json!({"behavior":"deny","message":"no"})).await;
        }
        let frames = host.until_result().await;
        assert_eq!(
            result(&frames)["permission_denials"].as_array().unwrap().len(),
            inputs.len()
        );
        assert!(!place.work().join("a").exists());
    }
}

#[tokio::test]
async fn a_new_mode_decides_what_is_still_open() {
    let (_place, _server, mut host) = start_asking(&["make a", "make b"]).await;
    asked(&mut host).await;
    let second = asked(&mut host).await;
    host.control("m", json!({"subtype":"set_permission_mode","mode":"dontAsk"}))
        .await;
    answer(&mut host, &second, json!({"behavior":"allow"})).await;
    let frames = host.until_result().await;
    assert_eq!(of_type(&frames, "control_cancel_request").count(), 2);
    assert!(
        tool_results(&frames)
            .iter()
            .all(|(_, text, is_error)| *is_error && text.contains("don't-ask mode"))
    );
    assert!(host.log.lines().is_empty());
}

#[tokio::test]
async fn what_was_allowed_is_judged_again_after_the_directory_has_changed() {
    let place = Place::new();
    std::fs::create_dir(place.work().join("secrets")).unwrap();
    std::fs::write(place.work().join("secrets/key"), "hidden").unwrap();
    std::fs::write(place.work().join("key"), "open").unwrap();
    let blocks = [
        call("t0", "Bash", json!({"command":"cd secrets"})),
        call("t1", "Read", json!({"file_path":"key"})),
    ];
    let server = Server::start(vec![calls(&blocks), said("done")]).await;
    let mut host = start_with(
        &place,
        &server,
        &Options {
            arguments: &["--allowedTools", "Bash", "--disallowedTools", "Read(secrets/**)"],
            environment: &[],
            real_tools: true,
        },
    );
    host.prompt("go").await;
    let frames = host.until_result().await;
    let results = tool_results(&frames);
    assert!(
        results[1].2 && results[1].1.contains("denied by the rule"),
        "{results:?}"
    );
}

#[tokio::test]
async fn answers_that_are_errors_or_nonsense_mean_no() {
    for response in [json!({"behavior":"perhaps"}), json!("yes"), json!(null)] {
        let (_place, _server, mut host) = start_asking(&["make"]).await;
        let question = asked(&mut host).await;
        answer(&mut host, &question, response).await;
        let frames = host.until_result().await;
        assert!(tool_results(&frames)[0].2);
        assert!(host.log.lines().is_empty());
    }
    let (_place, _server, mut host) = start_asking(&["make"]).await;
    let question = asked(&mut host).await;
    let body = json!({"subtype":"error","request_id":question["request_id"],"error":"callback failed"});
    host.send(json!({"type":"control_response","response":body}))
        .await;
    let frames = host.until_result().await;
    assert_eq!(tool_results(&frames)[0].1, "callback failed");
}

#[tokio::test]
async fn a_host_that_goes_away_has_not_said_yes() {
    let (_place, _server, mut host) = start_asking(&["make"]).await;
    asked(&mut host).await;
    let log = host.log.clone();
    let (frames, exit) = host.finish().await;
    assert!(tool_results(&frames)[0].2 && log.lines().is_empty());
    assert_eq!(exit.code, 0);
}

#[tokio::test]
async fn with_nobody_to_ask_the_call_is_denied_and_said() {
    let blocks = [
        call("t0", "Bash", json!({"command":"make"})),
        call("t1", "Bash", json!({"command":"echo hi"})),
    ];
    let (place, server) = (
        Place::new(),
        Server::start(vec![calls(&blocks), said("done")]).await,
    );
    let mut host = start(&place, &server, &[]);
    host.prompt("go").await;
    let frames = host.until_result().await;
    let denied: Vec<&Value> = of_subtype(&frames, "permission_denied").collect();
    assert_eq!((denied.len(), denied[0]["tool_use_id"].as_str()), (1, Some("t0")));
    assert_eq!(host.log.lines(), ["start echo hi", "end echo hi"]);
}
