//! `hostler sessions` with servers that a test plays: what agents do, cut streams, and servers that are none.

use crate::scripted::{Answer, Asked, Scripted, error, page};
use crate::support::{Broken, Called, Host};
use cli::Asked as Signal;
use domain::{EventId, SessionId};
use serde_json::{Value, json};

const KEY: &str = "a-key-of-these-tests";

struct Play {
    host: Host,
    server: Scripted,
    id: SessionId,
}

impl Play {
    /// With the answer to each request.
    async fn new(answer: impl Fn(usize, &Asked) -> Answer + Send + 'static) -> Self {
        let mut host = Host::new(Broken::default());
        let server = Scripted::start(answer).await;
        host.environment.server_url = Some(server.url.clone().into());
        host.environment.server_key = Some(KEY.into());
        let id = SessionId::random();
        Self { host, server, id }
    }

    async fn call(&self, command: &str, more: &[&str]) -> Called {
        let line: Vec<&str> = ["sessions", command, self.id.as_str()]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        self.host.call(&line).await
    }

    fn asked(&self) -> Vec<String> {
        self.server.asked().into_iter().map(|asked| asked.what).collect()
    }
}

fn event(id: &EventId, mut body: Value) -> Value {
    body["id"] = json!(id);
    body["processed_at"] = json!("2026-01-02T03:04:05Z");
    body
}

fn new(body: Value) -> Value {
    event(&EventId::random(), body)
}

fn text(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

fn idle(reason: &Value) -> Value {
    new(json!({"type": "session.status_idle", "stop_reason": reason}))
}

fn session(status: &str) -> Answer {
    Answer::Json(
        200,
        json!({"type": "session", "id": SessionId::random(), "status": status, "created_at": "2026-01-02T03:04:05Z"}),
    )
}

fn is(asked: &Asked, method: &str, end: &str) -> bool {
    asked.what.starts_with(method) && asked.what.ends_with(end)
}

#[tokio::test]
async fn what_the_agent_does_is_progress_and_its_last_words_are_the_answer() {
    let sent = EventId::random();
    let play = Play::new(move |_, asked| {
        if is(asked, "POST", "/events") {
            let message = &asked.body["events"][0];
            assert_eq!(message, &json!({"type": "user.message", "content": text("fix it")}));
            return Answer::Json(200, json!({"data": [event(&sent, message.clone())]}));
        }
        if is(asked, "GET", "/stream") {
            assert!(asked.head.contains(&format!("last-event-id: {sent}")));
            let call = EventId::random();
            return Answer::Events(vec![
                new(json!({"type": "session.status_running"})),
                event(&call, json!({"type": "agent.tool_use", "name": "bash", "input": {"command": "make"}})),
                new(json!({"type": "agent.tool_result", "tool_use_id": call, "content": text("ok \u{1b}[2J")})),
                new(json!({"type": "some.newer_event", "content": 7})),
                new(json!({"type": "agent.message", "content": text("Done.\u{1b}[2J")})),
                idle(&json!({"type": "end_turn"})),
            ]);
        }
        session("idle")
    })
    .await;
    let sent = play.call("send", &["fix it"]).await;
    assert_eq!(
        (sent.exit, sent.out.as_str()),
        (0, "Done.\u{1b}[2J\n"),
        "a pipe gets what was said: {}",
        sent.err
    );
    assert_eq!(
        sent.err,
        "• bash  make\n    ok \\u{1b}[2J\nthe session so far: list cost unknown, 0 tokens in (0 from the cache), 0 out\n"
    );
    let json = play.call("send", &["fix it", "--json"]).await;
    let types: Vec<Value> = json
        .out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone())
        .collect();
    assert_eq!(types.len(), 7, "{}", json.out);
    assert_eq!(
        (&types[0], &types[6]),
        (&json!("user.message"), &json!("session.status_idle"))
    );
    let quick = play.call("send", &["fix it", "--no-wait"]).await;
    assert_eq!((quick.exit, quick.err.as_str()), (0, "sent\n"));
}

#[tokio::test]
async fn an_agent_that_is_not_done_is_a_failure_with_a_way_on() {
    for (end, exit, said) in [
        (
            vec![idle(&json!({"type": "budget_reached"}))],
            1,
            "the budget is used up",
        ),
        (
            vec![idle(&json!({"type": "refusal"}))],
            1,
            "the model refused to go on",
        ),
        (
            vec![
                new(
                    json!({"type": "session.error", "error": {"type": "model_request_failed_error", "message": "no\u{7}", "retry_status": {"type": "exhausted"}}}),
                ),
                idle(&json!({"type": "retries_exhausted"})),
            ],
            1,
            "error: no\\u{7}\nhint: hostler sessions show",
        ),
        (
            vec![new(json!({"type": "session.status_terminated"}))],
            1,
            "ended before the agent was done",
        ),
        (vec![idle(&json!({"type": "end_turn"}))], 0, ""),
    ] {
        let play = Play::new(move |_, asked| {
            if is(asked, "POST", "/events") {
                return Answer::Json(200, json!({"data": [new(asked.body["events"][0].clone())]}));
            }
            if is(asked, "GET", "/stream") {
                return Answer::Events(end.clone());
            }
            session("idle")
        })
        .await;
        let called = play.call("send", &["x"]).await;
        assert_eq!(called.exit, exit, "{}", called.err);
        assert!(called.err.contains(said), "{}", called.err);
    }
}

#[tokio::test]
async fn what_asks_is_told_with_the_commands_that_answer_it() {
    let (bash, custom) = (EventId::random(), EventId::random());
    let ids = [bash.clone(), custom.clone()];
    let play = Play::new(move |_, asked| {
        let waits = idle(&json!({"type": "requires_action", "event_ids": ids}));
        if is(asked, "POST", "/events") {
            return Answer::Json(200, json!({"data": [new(asked.body["events"][0].clone())]}));
        }
        if is(asked, "GET", "/stream") {
            return Answer::Events(vec![waits]);
        }
        if asked.query.contains("agent%2Etool%5Fuse") {
            let calls = [
                event(&ids[1], json!({"type": "agent.custom_tool_use", "name": "weather", "input": {"city": "Ulm"}})),
                event(&ids[0], json!({"type": "agent.tool_use", "name": "bash", "input": {"command": "rm -rf /\u{1b}c"}})),
            ];
            return page(&calls);
        }
        if asked.query.contains("session%2Estatus%5Fidle") {
            return page(&[waits]);
        }
        session("idle")
    })
    .await;
    let called = play.call("send", &["x", "--workspace", "team-a"]).await;
    let id = &play.id;
    assert_eq!(called.exit, 1);
    let expected = format!(
        "it waits for answers:\n  bash  rm -rf /\\u{{1b}}c\n    hostler sessions send {id} --workspace team-a --allow {bash}\n    \
         hostler sessions send {id} --workspace team-a --deny {bash} --message WHY\n  weather  {{\"city\":\"Ulm\"}}\n    \
         hostler sessions send {id} --workspace team-a --result {custom} TEXT\nerror: the agent waits for an answer\n"
    );
    assert!(called.err.ends_with(&expected), "{}", called.err);
}

#[tokio::test]
async fn answers_go_out_as_the_api_names_them() {
    let ids = [EventId::random(), EventId::random(), EventId::random()];
    let play = Play::new(|_, asked| {
        let sent: Vec<Value> = asked.body["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|sent| new(sent.clone()))
            .collect();
        Answer::Json(200, json!({"data": sent}))
    })
    .await;
    let [one, two, three] = ids.each_ref().map(EventId::as_str);
    let calls = [
        (
            &["--allow", one, "--deny", two, "--message", "why", "--no-wait"][..],
            json!([
                {"type": "user.tool_confirmation", "tool_use_id": one, "result": "allow"},
                {"type": "user.tool_confirmation", "tool_use_id": two, "result": "deny", "deny_message": "why"},
            ]),
        ),
        (
            &["--result", three, "broken", "--failed", "--no-wait"],
            json!([{"type": "user.custom_tool_result", "custom_tool_use_id": three, "content": text("broken"), "is_error": true}]),
        ),
        (
            &["--interrupt", "do that", "--no-wait"],
            json!([{"type": "user.interrupt"}, {"type": "user.message", "content": text("do that")}]),
        ),
    ];
    for (arguments, expected) in calls {
        let called = play.call("send", arguments).await;
        assert_eq!(called.exit, 0, "{}", called.err);
        assert_eq!(play.server.asked().last().unwrap().body["events"], expected);
    }
}

#[tokio::test]
async fn what_rests_is_not_waited_for() {
    let call = EventId::random();
    let asked_for = call.clone();
    let play = Play::new(move |_, asked| {
        if is(asked, "POST", "/events") {
            let mut sent = new(asked.body["events"][0].clone());
            if sent["type"] == "user.message" {
                sent["processed_at"] = Value::Null;
            }
            return Answer::Json(200, json!({"data": [sent]}));
        }
        if asked.query.contains("agent%2Etool%5Fuse") {
            return page(&[event(
                &call,
                json!({"type": "agent.tool_use", "name": "bash", "input": {}}),
            )]);
        }
        if asked.query.contains("session%2Estatus%5Fidle") {
            return page(&[idle(&json!({"type": "requires_action", "event_ids": [call]}))]);
        }
        session("idle")
    })
    .await;
    let queued = play.call("send", &["more"]).await;
    assert_eq!(queued.exit, 1);
    assert!(
        queued.err.contains(&format!("--allow {asked_for}")),
        "{}",
        queued.err
    );
    let play = Play::new(|_, asked| {
        if is(asked, "POST", "/events") {
            return Answer::Json(200, json!({"data": [new(asked.body["events"][0].clone())]}));
        }
        if is(asked, "GET", "/events") {
            return page(&[idle(&json!({"type": "end_turn"}))]);
        }
        session("idle")
    })
    .await;
    let nothing = play.call("send", &["--interrupt"]).await;
    assert_eq!(
        nothing.exit, 0,
        "an idle session has nothing to interrupt: {}",
        nothing.err
    );
}

#[tokio::test]
async fn a_log_is_followed_over_cut_streams_and_a_server_that_is_away() {
    let ids: Vec<EventId> = (0..4).map(|_| EventId::random()).collect();
    let known = ids.clone();
    let play = Play::new(move |number, asked| {
        let message = |number: usize| {
            event(
                &ids[number],
                json!({"type": "agent.message", "content": text(&number.to_string())}),
            )
        };
        let after = |number: usize| asked.head.contains(&format!("last-event-id: {}", ids[number]));
        match number {
            0 => page(&[message(0)]),
            1 if after(0) => Answer::Events(vec![message(1), json!({"type": "ping"})]),
            // The stream ended well; the session has not, and the server goes away for a while.
            2 => session("running"),
            3 | 4 | 8 => Answer::Nothing,
            5 => error(503, "overloaded_error", "the server is ending: try again"),
            6 => Answer::Text(502, "text/html", "<html>".to_owned()),
            7 if after(1) => Answer::Events(vec![message(2)]),
            9 if after(2) => Answer::Events(vec![message(3), new(json!({"type": "session.deleted"}))]),
            _ => error(
                400,
                "invalid_request_error",
                &format!("not asked for: {number} {asked:?}"),
            ),
        }
    })
    .await;
    let called = play.call("logs", &["--follow", "--json"]).await;
    assert_eq!(called.exit, 0, "{}", called.err);
    let seen: Vec<String> = called
        .out
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let expected: Vec<&str> = known.iter().map(EventId::as_str).collect();
    assert_eq!(seen[..4], expected, "each once, in order");
    assert_eq!(seen.len(), 5);
    assert!(called.err.contains("; trying again\n"), "{}", called.err);
    assert!(called.err.ends_with("the session has ended\n"), "{}", called.err);
}

#[tokio::test]
async fn a_log_without_an_event_is_followed_from_its_first() {
    let first = EventId::random();
    let message = event(&first, json!({"type": "agent.message", "content": text("one")}));
    let play = Play::new(move |number, asked| match number {
        // It comes after the log was read and before the stream is open.
        0 => page(&[]),
        1 => Answer::Events(Vec::new()),
        2 => page(std::slice::from_ref(&message)),
        3 if asked.head.contains(&format!("last-event-id: {first}")) => {
            Answer::Events(vec![new(json!({"type": "session.deleted"}))])
        }
        _ => error(400, "invalid_request_error", "not asked for"),
    })
    .await;
    let called = play.call("logs", &["--follow"]).await;
    assert_eq!(called.exit, 0, "{}", called.err);
    assert!(
        called
            .out
            .lines()
            .next()
            .unwrap()
            .ends_with("agent.message               one"),
        "{}",
        called.out
    );
    assert_eq!(play.asked().len(), 4);
}

#[tokio::test]
async fn who_has_seen_enough_leaves_and_the_agent_goes_on() {
    let play = Play::new(|_, asked| {
        if is(asked, "GET", "/stream") {
            return Answer::Events(Vec::new());
        }
        if is(asked, "POST", "/events") {
            return Answer::Json(200, json!({"data": [new(asked.body["events"][0].clone())]}));
        }
        if is(asked, "GET", "/events") {
            return page(&[]);
        }
        session("running")
    })
    .await;
    let interrupt = [Signal { now: false }];
    let line = ["sessions", "logs", play.id.as_str(), "--follow"];
    let called = play.host.call_with(&line, &interrupt).await;
    assert_eq!((called.exit, called.out.as_str()), (0, ""), "{}", called.err);
    let id = play.id.as_str();
    let line = ["sessions", "send", id, "x", "--workspace", "team-a"];
    let called = play.host.call_with(&line, &interrupt).await;
    let hint = format!(
        "hint: it may have arrived: hostler sessions logs {id} --workspace team-a says whether it did\n"
    );
    assert_eq!(
        (called.exit, called.err),
        (1, format!("error: interrupted\n{hint}"))
    );
}

#[tokio::test]
async fn a_session_at_work_is_removed_only_by_force() {
    let done = idle(&json!({"type": "end_turn"}));
    let play = Play::new(move |number, asked| match (number, asked.what.split(' ').next().unwrap()) {
        (0 | 1, "DELETE") => {
            let error = json!({"type": "invalid_request_error", "message": "it is running", "details": {"error_code": "session_running"}});
            Answer::Json(409, json!({"type": "error", "error": error, "request_id": "req_7"}))
        }
        (2, "POST") => Answer::Json(200, json!({"data": [new(asked.body["events"][0].clone())]})),
        (3, "GET") => session("running"),
        (4, "GET") => Answer::Events(vec![done.clone()]),
        (5, "DELETE") => Answer::Json(200, json!({"type": "session_deleted", "id": SessionId::random()})),
        _ => error(400, "invalid_request_error", &format!("not asked for: {number} {}", asked.what)),
    })
    .await;
    let refused = play.call("rm", &[]).await;
    assert_eq!(
        (refused.exit, refused.err.as_str()),
        (
            1,
            "error: it is running (request req_7)\nhint: --force interrupts it first\n"
        )
    );
    let removed = play.call("rm", &["--force"]).await;
    assert_eq!((removed.exit, removed.err), (0, format!("removed {}\n", play.id)));
    assert_eq!(
        play.server.asked()[2].body,
        json!({"events": [{"type": "user.interrupt"}]})
    );
}

#[tokio::test]
async fn what_is_no_server_of_ours_is_said_to_be_none() {
    type Says = Box<dyn Fn() -> Answer + Send>;
    let servers: [(Says, &str); 8] = [
        (
            Box::new(|| Answer::Text(200, "text/html", "<html>".to_owned())),
            "no hostler: it sent a web page",
        ),
        (
            Box::new(|| Answer::Text(404, "text/plain", "nothing".to_owned())),
            "no hostler: it sent nothing of its API, with HTTP status 404",
        ),
        (
            Box::new(|| Answer::Text(200, "application/json", "{\"data\":".to_owned())),
            "the server's answer cannot be read",
        ),
        (
            Box::new(|| Answer::Json(200, json!({"data": [{"id": "x"}], "next_page": null}))),
            "the server's answer cannot be read",
        ),
        (
            Box::new(|| Answer::Json(200, json!([1, 2]))),
            "the server's answer cannot be read",
        ),
        (
            Box::new(|| Answer::Nothing),
            "closed the connection without an answer",
        ),
        (
            Box::new(|| error(500, "api_error", "esc\u{1b}[2Jape")),
            "esc\\u{1b}[2Jape (request req_1)",
        ),
        (
            Box::new(|| error(429, "rate_limit_error", "slow")),
            "slow (request req_1)\nhint: wait a moment",
        ),
    ];
    for (says, expected) in servers {
        let play = Play::new(move |_, _| says()).await;
        let called = play.host.call(&["sessions", "list"]).await;
        assert_eq!(called.exit, 1, "{expected}");
        assert!(called.err.contains(expected), "{expected}: {}", called.err);
        let shown = play.call("show", &[]).await;
        assert_eq!((shown.exit, shown.out.as_str()), (1, ""), "{expected}");
    }
    let mut host = Host::new(Broken::default());
    host.environment.server_key = Some(KEY.into());
    for (url, exit, said) in [
        (
            "http://127.0.0.1:9",
            1,
            "hint: check HOSTLER_URL, and that the server runs",
        ),
        ("127.0.0.1:8700", 2, "is not the URL of a server"),
        ("http://a:b@127.0.0.1", 2, "takes no user, password or query"),
        ("ftp://127.0.0.1", 2, "hint: set HOSTLER_URL"),
    ] {
        host.environment.server_url = Some(url.into());
        let called = host.call(&["sessions", "list"]).await;
        assert!(
            called.exit == exit && called.err.contains(said),
            "{url}: {}",
            called.err
        );
    }
}

#[tokio::test]
async fn pages_that_lead_to_themselves_end() {
    let play = Play::new(|_, asked| {
        if is(asked, "GET", "/events") {
            let again = json!({"data": [new(json!({"type": "agent.thinking"}))], "next_page": "same"});
            return Answer::Json(200, again);
        }
        session("idle")
    })
    .await;
    let called = play.call("logs", &[]).await;
    assert!(
        called.exit == 1 && called.err.contains("leads to itself"),
        "{}",
        called.err
    );
}

#[tokio::test]
async fn a_run_elsewhere_makes_what_it_needs_and_archives_it() {
    let id = SessionId::random();
    let made = id.clone();
    let play = Play::new(move |_, asked| {
        let object = |id: &str| Answer::Json(200, json!({"id": id}));
        let usage =
            json!({"input_tokens": 3, "output_tokens": 4, "list_cost": {"amount": "12", "currency": "USD"}});
        let session =
            json!({"id": made, "status": "idle", "created_at": "2026-01-02T03:04:05Z", "usage": usage});
        match asked.what.as_str() {
            "POST /v1/agents" => object("agent_1"),
            "POST /v1/environments" => object("env_1"),
            "POST /v1/sessions" => Answer::Json(200, session),
            what if what.ends_with("/archive") => object("x"),
            what if what.ends_with("/stream") => Answer::Events(vec![
                new(json!({"type": "agent.message", "content": text("Done.")})),
                idle(&json!({"type": "end_turn"})),
            ]),
            what if what.starts_with("POST") => {
                Answer::Json(200, json!({"data": [new(asked.body["events"][0].clone())]}))
            }
            _ => Answer::Json(200, session),
        }
    })
    .await;
    let line = [
        "run",
        "--json",
        "--max-turns",
        "7",
        "--cpus",
        "0.5",
        "--max-budget",
        "0.25",
        "--allow-host",
        "a.example",
        "do it",
    ];
    let called = play.host.call(&line).await;
    assert_eq!(called.exit, 0, "{}", called.err);
    let object = called.json();
    assert_eq!(
        (&object["result"], &object["session_id"]),
        (&json!("Done."), &json!(id))
    );
    assert_eq!(
        (&object["usage"]["output_tokens"], &object["list_cost"]),
        (&json!(4), &json!(0.12))
    );
    let asked = play.server.asked();
    assert_eq!(asked[0].body["hostler"], json!({"max_turns": 7}));
    assert_eq!(
        asked[1].body["config"]["networking"]["allowed_hosts"],
        json!(["a.example"])
    );
    assert_eq!(asked[1].body["hostler"]["cpus"], json!(0.5));
    assert_eq!(asked[2].body["budget"]["max_list_cost"]["amount"], json!("25"));
    let archived = format!("POST /v1/sessions/{id}/archive");
    let last: Vec<&str> = asked[asked.len() - 3..]
        .iter()
        .map(|asked| asked.what.as_str())
        .collect();
    assert_eq!(
        last,
        [
            archived.as_str(),
            "POST /v1/environments/env_1/archive",
            "POST /v1/agents/agent_1/archive"
        ]
    );
    assert!(!play.host.path("data").exists(), "nothing is made here");
    let said = play.host.call(&["run", "do it"]).await;
    assert_eq!((said.exit, said.out.as_str()), (0, "Done.\n"), "{}", said.err);
    assert!(
        said.err.contains("sandbox: 1 CPU") && said.err.contains("$0.12"),
        "{}",
        said.err
    );
}
