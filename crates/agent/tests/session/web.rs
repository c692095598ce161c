//! `WebFetch` and `WebSearch`: pages and searches, read by a model beside the conversation and counted with the rest.

use crate::host::{Host, Options, Place, assert_valid, of_type, result, start, start_with, tool_results};
use crate::server::{Answer, Server, block, call, calls, events, refused, said};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const FREE: &[&str] = &["--permission-mode", "bypassPermissions"];

struct Site {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn wait_for_request(&self) {
        let wait = async {
            while self.asked.lock().unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .expect("the request in time");
    }
}

/// Answers every request with these bytes; with none it keeps the client waiting.
async fn site(answer: String) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            log.lock().unwrap().push(head.lines().next().unwrap().to_owned());
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.is_empty() {
                // Until the client gives up.
                let _ = stream.read_u8().await;
            }
        }
    });
    Site { url, asked }
}

fn html(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn fetch(id: &str, url: &str) -> Value {
    call(id, "WebFetch", json!({"url":url,"prompt":"Who wrote it?"}))
}

fn search(id: &str) -> Value {
    call(id, "WebSearch", json!({"query":"rust language"}))
}

async fn one_turn(answers: Vec<Answer>, arguments: &[&str]) -> (Server, Vec<Value>) {
    let (place, server) = (Place::new(), Server::start(answers).await);
    let mut host = start(&place, &server, arguments);
    host.prompt("go").await;
    let frames = host.until_result().await;
    (server, frames)
}

#[tokio::test]
async fn a_page_is_read_by_a_model_beside_the_conversation_and_kept() {
    let site = site(html("<title>Diary</title><p>By <b>Ada</b></p>")).await;
    let page = format!("{}/a", site.url);
    let answers = vec![
        calls(&[fetch("t1", &page)]),
        said("Ada wrote it."),
        calls(&[fetch("t2", &page)]),
        said("Still Ada."),
        said("done"),
    ];
    let (server, frames) = one_turn(answers, FREE).await;
    assert_eq!(
        tool_results(&frames),
        [
            ("t1".into(), "Ada wrote it.".into(), false),
            ("t2".into(), "Still Ada.".into(), false)
        ]
    );
    assert_eq!(site.asked.lock().unwrap().len(), 1, "the page is kept");
    let asked = server.asked();
    let aside = &asked[1].body;
    assert_eq!(aside["messages"].as_array().unwrap().len(), 1);
    let prompt = aside["messages"][0]["content"][0]["text"].as_str().unwrap();
    assert!(prompt.contains("# Diary\n\nBy **Ada**") && prompt.ends_with("Who wrote it?"));
    assert!(aside.get("tools").is_none(), "it can do nothing: {aside:#}");
    assert_eq!(aside["model"], "claude-haiku-4-5");
    for index in [0, 2, 4] {
        assert_valid(&asked[index].body);
        assert!(!asked[index].body.to_string().contains("# Diary"));
    }
    let shown = of_type(&frames, "user").next().unwrap();
    let outcome = &shown["tool_use_result"];
    assert_eq!(
        (
            &outcome["code"],
            &outcome["codeText"],
            &outcome["url"],
            &outcome["result"]
        ),
        (&json!(200), &json!("OK"), &json!(page), &json!("Ada wrote it."))
    );
    assert_eq!(outcome["bytes"], 40);
    // Five calls of ten tokens each.
    let result = result(&frames);
    assert_eq!(result["usage"]["input_tokens"], 50);
    assert_eq!(result["modelUsage"]["claude-haiku-4-5"]["outputTokens"], 100);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_in_words_and_no_model_is_asked() {
    let moved = "HTTP/1.1 301 Moved Permanently\r\nlocation: https://elsewhere.example/b\r\ncontent-length: 0\r\n\r\n";
    let binary = "HTTP/1.1 200 OK\r\ncontent-type: application/pdf\r\ncontent-length: 4\r\n\r\n%PDF";
    let away = site(moved.to_owned()).await.url;
    let pdf = site(binary.to_owned()).await.url;
    let blocks = [
        fetch("t1", &away),
        fetch("t2", &pdf),
        fetch("t3", "file:///etc/passwd"),
        fetch("t4", "http://127.0.0.1:1/"),
    ];
    let (server, frames) = one_turn(vec![calls(&blocks), said("done")], FREE).await;
    let results = tool_results(&frames);
    let of = |id: &str| results.iter().find(|(found, ..)| found == id).unwrap();
    for (id, expected, fails) in [
        ("t1", "Redirect URL: https://elsewhere.example/b", false),
        ("t2", "it is application/pdf and no text", true),
        ("t3", "only http and https URLs", true),
        ("t4", "cannot be connected to", true),
    ] {
        let (_, text, is_error) = of(id);
        assert!(text.contains(expected) && *is_error == fails, "{id}: {text}");
    }
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn the_sandbox_s_proxy_is_used_and_its_refusal_reaches_the_model() {
    let body = "hostler: example.com:443 is not allowed\nTo allow it, start the session with --allow-host example.com\n";
    let proxy = site(format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let (place, server) = (
        Place::new(),
        Server::start(vec![calls(&[fetch("t1", "http://example.com/a")]), said("done")]).await,
    );
    let environment = [
        ("HTTPS_PROXY", proxy.url.as_str()),
        ("NO_PROXY", "localhost,127.0.0.1"),
    ];
    let mut host = start_with(
        &place,
        &server,
        &Options {
            arguments: FREE,
            environment: &environment,
            real_tools: false,
        },
    );
    host.prompt("go").await;
    let frames = host.until_result().await;
    let (_, text, is_error) = &tool_results(&frames)[0];
    assert!(
        *is_error && text.contains("--allow-host example.com") && text.contains("https://example.com/a"),
        "{text}"
    );
    assert_eq!(*proxy.asked.lock().unwrap(), ["CONNECT example.com:443 HTTP/1.1"]);
}

#[tokio::test]
async fn long_pages_are_read_on_and_a_model_for_small_questions_is_used() {
    let site = site(html(&format!("<p>{}</p><p>The end.</p>", "word ".repeat(30_000)))).await;
    let answers = vec![
        calls(&[fetch("t1", &site.url)]),
        said("Words."),
        calls(&[call(
            "t2",
            "WebFetch",
            json!({"url":site.url,"prompt":"p","offset":100_000}),
        )]),
        said("An end."),
        calls(&[call(
            "t3",
            "WebFetch",
            json!({"url":site.url,"prompt":"p","offset":900_000}),
        )]),
        said("done"),
    ];
    let (place, server) = (Place::new(), Server::start(answers).await);
    let options = Options {
        arguments: FREE,
        environment: &[("ANTHROPIC_SMALL_FAST_MODEL", "claude-small")],
        real_tools: false,
    };
    let mut host = start_with(&place, &server, &options);
    host.prompt("go").await;
    let frames = host.until_result().await;
    let results = tool_results(&frames);
    assert!(results[0].1.starts_with("Words.") && results[0].1.contains("offset 100000 to read on"));
    assert_eq!(results[1].1, "An end.");
    assert!(results[2].2 && results[2].1.contains("nothing at offset 900000"));
    let asked = server.asked();
    assert_eq!(asked[1].body["model"], "claude-small");
    assert!(
        !asked[1].body.to_string().contains("The end.") && asked[3].body.to_string().contains("The end.")
    );
}

#[tokio::test]
async fn a_model_that_cannot_be_asked_about_a_page_is_an_error_of_the_call_alone() {
    let site = site(html("<p>hi</p>")).await;
    let answers = vec![
        calls(&[fetch("t1", &site.url)]),
        Answer::Close,
        refused(400, "invalid_request_error", "no"),
        said("done"),
    ];
    let (_, frames) = one_turn(answers, FREE).await;
    let (_, text, is_error) = &tool_results(&frames)[0];
    assert!(
        *is_error && text.contains("no model could be asked") && text.contains("400 no"),
        "{text}"
    );
    assert!(
        frames.iter().any(|frame| frame["subtype"] == "api_retry"),
        "what may pass is tried again"
    );
    assert_eq!(result(&frames)["result"], "done");
}

async fn interrupted(host: &mut Host) -> Vec<Value> {
    host.control("stop", json!({"subtype":"interrupt"})).await;
    let frames = host.until_result().await;
    assert_eq!(result(&frames)["terminal_reason"], "aborted_tools");
    frames
}

#[tokio::test]
async fn an_interrupt_ends_a_fetch_and_the_question_about_it() {
    let silent = site(String::new()).await;
    let (place, server) = (
        Place::new(),
        Server::start(vec![calls(&[fetch("t1", &silent.url)])]).await,
    );
    let mut host = start(&place, &server, FREE);
    host.prompt("go").await;
    silent.wait_for_request().await;
    assert!(tool_results(&interrupted(&mut host).await)[0].2);

    let site = site(html("<p>hi</p>")).await;
    let hang = Answer::Hang(events(&[], "end_turn", 10)[..1].to_vec());
    let server = Server::start(vec![calls(&[fetch("t1", &site.url)]), hang]).await;
    let mut host = start(&place, &server, FREE);
    host.prompt("go").await;
    server.wait_for(2).await;
    let frames = interrupted(&mut host).await;
    assert!(tool_results(&frames)[0].2);
    assert!(result(&frames)["usage"]["input_tokens"].as_u64().unwrap() >= 10);
}

/// A reply of the API that has searched.
fn searched(content: &Value) -> Answer {
    let blocks = [
        json!({"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"rust language"}}),
        json!({"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":content}),
        block("Rust is a language."),
    ];
    let mut events = events(&blocks, "end_turn", 10);
    let usage = events.len() - 2;
    events[usage]["usage"]["server_tool_use"] = json!({"web_search_requests":1});
    Answer::Events(events)
}

#[tokio::test]
async fn a_search_is_done_by_the_api_and_counted() {
    let found = json!([{"type":"web_search_result","title":"Rust","url":"https://rust-lang.org","encrypted_content":"x","page_age":null}]);
    let with_domains = call(
        "t2",
        "WebSearch",
        json!({"query":"rust language","allowed_domains":["rust-lang.org"]}),
    );
    let answers = vec![
        calls(&[search("t1")]),
        searched(&found),
        calls(&[with_domains]),
        searched(&found),
        said("done"),
    ];
    let (server, frames) = one_turn(answers, FREE).await;
    let (_, text, is_error) = &tool_results(&frames)[0];
    assert!(!is_error);
    for part in [
        "Web search results for query: \"rust language\"",
        r#"[{"title":"Rust","url":"https://rust-lang.org"}]"#,
        "Rust is a language.",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let outcome = &of_type(&frames, "user").next().unwrap()["tool_use_result"];
    assert_eq!(outcome["results"][0]["tool_use_id"], "srvtoolu_1");
    assert_eq!(
        (&outcome["results"][1], &outcome["searchCount"]),
        (&json!("Rust is a language."), &json!(1))
    );
    let asked = server.asked();
    assert_eq!(
        asked[1].body["tools"],
        json!([{"type":"web_search_20250305","name":"web_search","max_uses":8}])
    );
    assert_eq!(
        asked[3].body["tools"][0]["allowed_domains"],
        json!(["rust-lang.org"])
    );
    let result = result(&frames);
    assert_eq!(result["usage"]["server_tool_use"]["web_search_requests"], 2);
    let model = &result["modelUsage"]["claude-haiku-4-5"];
    assert_eq!(model["webSearchRequests"], 2);
    // Each search costs a cent, beside its tokens.
    assert!(result["total_cost_usd"].as_f64().unwrap() > 0.02, "{result}");
}

#[tokio::test]
async fn searches_that_fail_say_why() {
    let limit = json!({"type":"web_search_tool_result_error","error_code":"max_uses_exceeded"});
    for (answer, expected) in [
        (searched(&limit), "max_uses_exceeded"),
        (
            refused(400, "invalid_request_error", "tools.0: unknown type"),
            "does not offer web search: API Error: 400 tools.0: unknown type",
        ),
        (
            refused(401, "authentication_error", "bad key"),
            "The web search failed",
        ),
        (
            said("I cannot search."),
            "No search was made. The model API said: I cannot search.",
        ),
        (
            Answer::Raw(b"data: nonsense\n\n".to_vec()),
            "The web search failed: API Error: the reply stream is malformed",
        ),
    ] {
        let (_, frames) = one_turn(vec![calls(&[search("t1")]), answer, said("done")], FREE).await;
        let (_, text, is_error) = &tool_results(&frames)[0];
        assert!(*is_error && text.contains(expected), "{text}");
        assert_eq!(result(&frames)["result"], "done");
    }
}

#[tokio::test]
async fn a_search_that_the_api_pauses_is_gone_on_with() {
    let paused = events(&[block("Let me look.")], "pause_turn", 10);
    let found = json!([{"type":"web_search_result","title":"T","url":"https://t"}]);
    let answers = vec![
        calls(&[search("t1")]),
        Answer::Events(paused),
        searched(&found),
        said("done"),
    ];
    let (server, frames) = one_turn(answers, FREE).await;
    assert!(tool_results(&frames)[0].1.contains("https://t"));
    let body = &server.asked()[2].body;
    assert_eq!(body["messages"][1]["content"][0]["text"], "Let me look.");
}

#[tokio::test]
async fn what_calls_spend_beside_the_conversation_counts_against_the_budget() {
    let found = json!([{"type":"web_search_result","title":"T","url":"https://t"}]);
    let answers = vec![calls(&[search("t1")]), searched(&found), said("not reached")];
    let (server, frames) = one_turn(answers, &[FREE, &["--max-budget-usd", "0.005"]].concat()).await;
    assert_eq!(result(&frames)["subtype"], "error_max_budget_usd");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn the_tools_of_the_web_are_listed_taken_away_and_asked_about_like_others() {
    for (arguments, expected) in [
        (&[][..], &["WebFetch", "WebSearch"][..]),
        (&["--tools", "WebSearch,Read"], &["WebSearch"]),
        (&["--tools", ""], &[]),
        (&["--disallowedTools", "WebFetch"], &["WebSearch"]),
        (
            &["--disallowedTools", "WebFetch(domain:a.com)"],
            &["WebFetch", "WebSearch"],
        ),
    ] {
        let (server, _) = one_turn(vec![said("hello")], arguments).await;
        let body = server.asked()[0].body.clone();
        let listed: Vec<&str> = body["tools"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tool| tool["name"].as_str())
            .filter(|name| name.starts_with("Web"))
            .collect();
        assert_eq!(listed, expected, "{arguments:?}");
    }
    let site = site(html("<p>hi</p>")).await;
    let (place, server) = (
        Place::new(),
        Server::start(vec![calls(&[fetch("t1", &site.url)]), said("hi"), said("done")]).await,
    );
    let mut host = start(&place, &server, &["--permission-prompt-tool", "stdio"]);
    host.prompt("go").await;
    let frames = host.until(|frame| frame["type"] == "control_request").await;
    let question = &frames.last().unwrap()["request"];
    assert_eq!(
        question["permission_suggestions"][0]["rules"],
        json!([{"toolName":"WebFetch","ruleContent":"domain:127.0.0.1"}])
    );
    assert_eq!(question["description"], json!(site.url));
    assert!(
        site.asked.lock().unwrap().is_empty(),
        "nothing is fetched unasked"
    );
    drop(host);
    let answers = vec![calls(&[fetch("t1", &site.url)]), said("hi"), said("done")];
    let (_, frames) = one_turn(answers, &["--allowedTools", "WebFetch(domain:127.0.0.1)"]).await;
    assert_eq!(tool_results(&frames), [("t1".into(), "hi".into(), false)]);
}
