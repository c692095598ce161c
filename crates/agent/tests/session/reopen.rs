//! Sessions that go on without a prompt: calls that were left open are run again, or told to have been interrupted.

use crate::host::{Host, Place, assert_valid, of_subtype, result, start, tool_results};
use crate::server::{Server, call, calls, said};
use serde_json::{Value, json};

const ID: &str = "55555555-5555-4555-8555-555555555555";

/// A transcript in which the model has made three calls, one block a line, of which the first has its result.
fn left_open() -> (Place, String) {
    let place = Place::new();
    let line = |kind: &str, uuid: &str, parent: Value, message: Value| {
        json!({"type":kind,"uuid":uuid,"parentUuid":parent,"sessionId":ID,"timestamp":"t","isSidechain":false,"cwd":"/","message":message})
            .to_string()
    };
    let said = |block: Value| json!({"id":"m1","role":"assistant","model":"x","content":[block]});
    let bash = |id: &str, command: &str| said(call(id, "Bash", json!({"command":command})));
    let lines = [
        line("user", "u1", Value::Null, json!({"role":"user","content":"go"})),
        line(
            "assistant",
            "a0",
            json!("u1"),
            said(json!({"type":"text","text":"I will."})),
        ),
        line("assistant", "a1", json!("a0"), bash("t1", "one")),
        line("assistant", "a2", json!("a1"), bash("t2", "two")),
        line("assistant", "a3", json!("a2"), bash("t3", "three")),
        line(
            "user",
            "r1",
            json!("a1"),
            json!({"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"did one"}]}),
        ),
        line(
            "user",
            "r1b",
            json!("a3"),
            json!({"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"did one"}]}),
        ),
    ];
    let path = place.work().join("left.jsonl");
    // The official command line hangs a result on its own call, ours on the last line: both shapes are read.
    std::fs::write(&path, lines[..6].join("\n") + "\n").unwrap();
    std::fs::write(place.work().join("chained.jsonl"), {
        let mut chained = lines[..5].to_vec();
        chained.push(lines[6].clone());
        chained.join("\n") + "\n"
    })
    .unwrap();
    (place, path.to_string_lossy().into_owned())
}

async fn initialized(host: &mut Host) {
    host.control("init", json!({"subtype":"initialize"})).await;
    assert_eq!(host.answer("init").await["subtype"], "success");
}

#[tokio::test]
async fn the_calls_named_are_run_again_and_the_others_are_told_to_be_interrupted() {
    for file in ["left.jsonl", "chained.jsonl"] {
        let (place, _) = left_open();
        let path = place.work().join(file).to_string_lossy().into_owned();
        let server = Server::start(vec![said("done")]).await;
        let mut host = start(
            &place,
            &server,
            &[
                "--resume",
                &path,
                "--run-tool-uses",
                "t3",
                "--permission-mode",
                "bypassPermissions",
            ],
        );
        initialized(&mut host).await;
        // No prompt: the turn begins by itself.
        let frames = host.until_result().await;
        assert_eq!(of_subtype(&frames, "init").count(), 1);
        assert_eq!(
            tool_results(&frames),
            [("t3".into(), "Bash three".into(), false)],
            "{file}"
        );
        assert_eq!(host.log.lines(), ["start three", "end three"]);
        assert_eq!(
            (
                result(&frames)["result"].as_str(),
                result(&frames)["session_id"].as_str()
            ),
            (Some("done"), Some(ID))
        );
        let body = &server.asked()[0].body;
        assert_valid(body);
        let messages = body["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 3, "no message was added: {body:#}");
        let told: Vec<(&str, &str)> = messages[2]["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| {
                (
                    block["tool_use_id"].as_str().unwrap(),
                    block["content"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(told.len(), 3, "{file}: {told:?}");
        assert!(told.contains(&("t1", "did one")) && told.contains(&("t3", "Bash three")));
        assert!(
            told.iter()
                .any(|(id, text)| *id == "t2" && text.starts_with("[Tool call interrupted"))
        );
        // What was written goes on from there: nothing is open, and the call's result names the call's line.
        host.finish().await;
        let lines: Vec<Value> = place
            .transcripts()
            .iter()
            .flat_map(|path| Place::lines_of(path))
            .collect();
        let written = lines
            .iter()
            .find(|line| line["message"]["content"][0]["tool_use_id"] == "t3")
            .unwrap();
        assert_eq!(written["sourceToolAssistantUUID"], "a3");
        let server = Server::start(vec![said("more")]).await;
        let mut host = start(&place, &server, &["--resume", ID]);
        host.prompt("and").await;
        host.until_result().await;
        assert_valid(&server.asked()[0].body);
    }
}

#[tokio::test]
async fn permission_is_asked_under_the_same_id_and_survives_being_left_again() {
    let (place, path) = left_open();
    let arguments = [
        "--resume",
        path.as_str(),
        "--run-tool-uses",
        "t2,t3",
        "--permission-prompt-tool",
        "stdio",
    ];
    for _ in 0..2 {
        let server = Server::start(vec![said("done")]).await;
        let mut host = start(&place, &server, &arguments);
        initialized(&mut host).await;
        let mut questions = Vec::new();
        for _ in 0..2 {
            let frames = host.until(|frame| frame["type"] == "control_request").await;
            questions.push(frames.last().unwrap().clone());
        }
        let ids: Vec<&Value> = questions
            .iter()
            .map(|question| &question["request"]["tool_use_id"])
            .collect();
        assert_eq!(ids, ["t2", "t3"]);
        assert_eq!(questions[0]["request"]["input"], json!({"command":"two"}));
        // A kill here leaves both open, for the next round.
        assert!(host.log.lines().is_empty() && server.asked().is_empty());
        drop(host);
        std::fs::remove_dir_all(place.config()).ok();
    }
    let server = Server::start(vec![said("done")]).await;
    let mut host = start(&place, &server, &arguments);
    initialized(&mut host).await;
    for response in [
        json!({"behavior":"deny","message":"not two"}),
        json!({"behavior":"allow"}),
    ] {
        let frames = host.until(|frame| frame["type"] == "control_request").await;
        let question = frames.last().unwrap();
        let body = json!({"subtype":"success","request_id":question["request_id"],"response":response});
        host.send(json!({"type":"control_response","response":body}))
            .await;
    }
    let frames = host.until_result().await;
    assert_eq!(host.log.lines(), ["start three", "end three"]);
    assert_eq!(result(&frames)["permission_denials"][0]["tool_use_id"], "t2");
}

#[tokio::test]
async fn a_call_of_a_server_is_made_again_after_the_server_was_greeted() {
    let (place, path) = left_open();
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\"name\":\"Bash\"", "\"name\":\"mcp__calc__add\"");
    std::fs::write(&path, text).unwrap();
    let server = Server::start(vec![said("done")]).await;
    let mut host = start(
        &place,
        &server,
        &[
            "--resume",
            &path,
            "--run-tool-uses=t2",
            "--allowedTools",
            "mcp__calc",
        ],
    );
    host.control("init", json!({"subtype":"initialize","sdkMcpServers":["calc"]}))
        .await;
    for (method, result) in [
        ("initialize", json!({})),
        ("notifications/initialized", json!({})),
        ("tools/list", json!({"tools":[{"name":"add"}]})),
        ("tools/call", json!({"content":[{"type":"text","text":"7"}]})),
    ] {
        let frames = host.until(|frame| frame["type"] == "control_request").await;
        let question = frames.last().unwrap();
        let message = &question["request"]["message"];
        assert_eq!(message["method"], method);
        if method == "tools/call" {
            assert_eq!(message["params"]["_meta"]["claudecode/toolUseId"], "t2");
        }
        let answer = json!({"jsonrpc":"2.0","id":message["id"],"result":result});
        let body = json!({"subtype":"success","request_id":question["request_id"],"response":{"mcp_response":answer}});
        host.send(json!({"type":"control_response","response":body}))
            .await;
    }
    let frames = host.until_result().await;
    assert_eq!(tool_results(&frames)[0].0, "t2");
    assert_valid(&server.asked()[0].body);
}

#[tokio::test]
async fn without_an_id_the_turn_goes_on_from_the_end_of_the_transcript() {
    let (place, path) = left_open();
    let server = Server::start(vec![said("done")]).await;
    let mut host = start(&place, &server, &["--resume", &path, "--run-tool-uses", ""]);
    initialized(&mut host).await;
    let frames = host.until_result().await;
    assert!(tool_results(&frames).is_empty(), "nothing was run");
    let body = server.asked()[0].body.clone();
    assert_valid(&body);
    assert_eq!(body.to_string().matches("[Tool call interrupted").count(), 2);
    assert_eq!(body["messages"].as_array().unwrap().len(), 3);
    host.finish().await;
    // The reply is the last now: the model is given something to answer.
    let server = Server::start(vec![said("all done")]).await;
    let mut host = start(&place, &server, &["--resume", ID, "--run-tool-uses="]);
    initialized(&mut host).await;
    assert_eq!(result(&host.until_result().await)["result"], "all done");
    let body = server.asked()[0].body.clone();
    let last = body["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["role"], "user");
    assert!(
        last["content"][0]["text"]
            .as_str()
            .unwrap()
            .starts_with("[The session was interrupted here")
    );
}

#[tokio::test]
async fn a_prompt_that_comes_meanwhile_joins_and_a_host_that_never_greets_is_not_waited_for() {
    let (place, path) = left_open();
    let free = [
        "--permission-mode",
        "bypassPermissions",
        "--resume",
        &path,
        "--run-tool-uses",
        "t2",
    ];
    let server = Server::start(vec![said("done")]).await;
    let mut host = start(&place, &server, &free);
    host.prompt("and also this").await;
    let frames = host.until_result().await;
    assert_eq!(tool_results(&frames)[0].0, "t2");
    let body = &server.asked()[0].body;
    assert_valid(body);
    assert!(body["messages"][2].to_string().contains("and also this"));
    let (place, path) = left_open();
    let server = Server::start(vec![said("done")]).await;
    let host = start(
        &place,
        &server,
        &[
            "--permission-mode",
            "bypassPermissions",
            "--resume",
            &path,
            "--run-tool-uses",
            "t2",
        ],
    );
    let (frames, exit) = host.finish().await;
    assert_eq!((tool_results(&frames).len(), exit.code), (1, 0));
}

#[tokio::test]
async fn an_id_that_is_not_open_is_an_error_and_nothing_runs() {
    for (ids, named) in [("t1", "t1"), ("t2,nope", "nope"), ("u1", "u1")] {
        let (place, path) = left_open();
        let server = Server::start(vec![]).await;
        let mut host = start(&place, &server, &["--resume", &path, "--run-tool-uses", ids]);
        host.control("init", json!({"subtype":"initialize"})).await;
        let (frames, exit) = host.finish_without_closing().await;
        assert_eq!((exit.code, frames.len()), (1, 1));
        assert!(
            exit.message
                .unwrap()
                .contains(&format!("names {named}, which is not"))
        );
        assert_eq!(result(&frames)["subtype"], "error_during_execution");
        assert!(place.transcripts().is_empty(), "nothing was written");
    }
    let place = Place::new();
    let path = place.work().join("empty.jsonl");
    std::fs::write(&path, "{\"type\":\"mode\"}\n").unwrap();
    let server = Server::start(vec![]).await;
    let mut host = start(
        &place,
        &server,
        &["--resume", path.to_str().unwrap(), "--run-tool-uses", ""],
    );
    host.control("init", json!({"subtype":"initialize"})).await;
    let (_, exit) = host.finish_without_closing().await;
    assert!(exit.message.unwrap().contains("no messages"));
}

#[tokio::test]
async fn an_interrupt_ends_what_runs_again() {
    let (place, path) = left_open();
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\"two\"", "\"hang\"");
    std::fs::write(&path, text).unwrap();
    let server = Server::start(vec![]).await;
    let mut host = start(
        &place,
        &server,
        &[
            "--resume",
            &path,
            "--run-tool-uses",
            "t2,t3",
            "--permission-mode",
            "bypassPermissions",
        ],
    );
    initialized(&mut host).await;
    host.log.wait_for("start hang").await;
    host.control("stop", json!({"subtype":"interrupt"})).await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["terminal_reason"], "aborted_tools");
    let results = tool_results(&frames);
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|(.., is_error)| *is_error));
    assert!(!host.log.lines().contains(&"start three".to_owned()));
}

#[tokio::test]
async fn a_session_that_is_told_to_end_leaves_open_what_had_not_begun() {
    let place = Place::new();
    let blocks = [
        call("t1", "Bash", json!({"command":"hang"})),
        call("t2", "Bash", json!({"command":"make"})),
        call("t3", "mcp__calc__add", json!({})),
        call("t4", "Read", json!({"file_path":"a"})),
    ];
    let server = Server::start(vec![calls(&blocks)]).await;
    let rules = [
        "--allowedTools",
        "Bash(hang),mcp__calc",
        "--permission-prompt-tool",
        "stdio",
    ];
    let mut host = start(&place, &server, &rules);
    host.control("init", json!({"subtype":"initialize","sdkMcpServers":["calc"]}))
        .await;
    for result in [json!({}), json!({}), json!({"tools":[{"name":"add"}]})] {
        let frames = host.until(|frame| frame["type"] == "control_request").await;
        let question = frames.last().unwrap();
        let answer = json!({"jsonrpc":"2.0","id":question["request"]["message"]["id"],"result":result});
        let body = json!({"subtype":"success","request_id":question["request_id"],"response":{"mcp_response":answer}});
        host.send(json!({"type":"control_response","response":body}))
            .await;
    }
    host.prompt("go").await;
    for expected in ["can_use_tool", "mcp_message"] {
        host.until(|frame| frame["request"]["subtype"] == expected).await;
    }
    host.log.wait_for("start hang").await;
    host.signals.send(agent::Signal::Terminate).await.unwrap();
    let (frames, exit) = host.finish_without_closing().await;
    assert_eq!(exit.code, 143);
    let answered: Vec<String> = tool_results(&frames).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(answered, ["t1"], "only what ran has a result");
    let path = place.transcripts().remove(0);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains("interrupted by user"),
        "nobody has interrupted it: {text}"
    );
    let id = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let server = Server::start(vec![said("done")]).await;
    let mut host = start(
        &place,
        &server,
        &[
            "--resume",
            &id,
            "--run-tool-uses",
            "t2,t4",
            "--permission-mode",
            "bypassPermissions",
        ],
    );
    initialized(&mut host).await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["result"], "done");
    assert_eq!(host.log.lines(), ["start make", "end make", "start a", "end a"]);
    let body = &server.asked()[0].body;
    assert_valid(body);
    assert!(
        body.to_string().contains("[Tool call interrupted"),
        "the server's call was not named"
    );
}
