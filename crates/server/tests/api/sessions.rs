//! `/v1/sessions`, as far as nothing has to run.

use crate::{ADMIN, Fixture};
use http::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A session of an agent and an environment of its own: its path, and what it is.
pub async fn session(fixture: &Fixture) -> (String, Value) {
    let agent = fixture
        .post("/v1/agents", json!({"name": "a", "model": "claude-sonnet-5-5"}))
        .await
        .resource();
    let environment = fixture
        .post("/v1/environments", json!({"name": "e"}))
        .await
        .resource();
    let body = json!({"agent": agent["id"], "environment_id": environment["id"], "title": "t"});
    let session = fixture.post("/v1/sessions", body).await.resource();
    (
        format!("/v1/sessions/{}", session["id"].as_str().unwrap()),
        session,
    )
}

pub fn message(text: &str) -> Value {
    json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": text}]}]})
}

/// All events of the session at this path.
pub async fn log(fixture: &Fixture, path: &str) -> Value {
    fixture.get(&format!("{path}/events")).await.resource()
}

/// A session counts how long it has been there.
pub fn without_clocks(mut resource: Value) -> Value {
    if let Some(stats) = resource.get_mut("stats") {
        stats.take();
    }
    resource
}

#[tokio::test]
async fn an_environment_that_a_session_uses_stays() {
    let fixture = Fixture::new().await;
    let (path, session) = session(&fixture).await;
    let environment = format!("/v1/environments/{}", session["environment_id"].as_str().unwrap());
    let refused = fixture.call(ADMIN, Method::DELETE, &environment, None).await;
    assert_eq!(
        (refused.error(), refused.code()),
        ((409, "invalid_request_error"), "environment_in_use")
    );
    assert_eq!(refused.headers["x-should-retry"], "false");
    assert_eq!(fixture.get(&environment).await.status, 200);
    fixture.call(ADMIN, Method::DELETE, &path, None).await.resource();
    fixture
        .call(ADMIN, Method::DELETE, &environment, None)
        .await
        .resource();
}

#[tokio::test]
async fn a_session_is_made_from_what_its_workspace_has() {
    let fixture = Fixture::new().await;
    let (_, session) = session(&fixture).await;
    let agent = session["agent"]["id"].clone();
    let key = fixture.key("theirs").await;
    let body = json!({"agent": agent, "environment_id": session["environment_id"]});
    let answer = fixture.call(&key, Method::POST, "/v1/sessions", Some(body)).await;
    assert_eq!(
        (answer.error(), answer.code()),
        ((404, "not_found_error"), "agent_not_found")
    );
    let theirs = fixture
        .call(
            &key,
            Method::POST,
            "/v1/agents",
            Some(json!({"name": "a", "model": "m"})),
        )
        .await;
    let body = json!({"agent": theirs.resource()["id"], "environment_id": session["environment_id"]});
    let answer = fixture.call(&key, Method::POST, "/v1/sessions", Some(body)).await;
    assert_eq!(
        (answer.error(), answer.code()),
        ((404, "not_found_error"), "environment_not_found")
    );
}

/// Thirty sessions, one after another: of two agents, one of them in two versions; each seventh is archived.
async fn thirty(fixture: &Fixture) -> Vec<Value> {
    let (path, first) = session(fixture).await;
    fixture.call(ADMIN, Method::DELETE, &path, None).await.resource();
    let agent = first["agent"]["id"].as_str().unwrap();
    let changed = json!({"version": 1, "description": "again"});
    fixture
        .post(&format!("/v1/agents/{agent}"), changed)
        .await
        .resource();
    let other = json!({"name": "b", "model": "claude-sonnet-5-5"});
    let other = fixture.post("/v1/agents", other).await.resource();
    let agents = [
        json!({"type": "agent", "id": agent, "version": 1}),
        json!({"type": "agent", "id": agent, "version": 2}),
        other["id"].clone(),
    ];
    let mut all = Vec::new();
    for index in 0..30 {
        let body = json!({"agent": agents[index % 3], "environment_id": first["environment_id"]});
        let mut session = fixture.post("/v1/sessions", body).await.resource();
        if index % 7 == 0 {
            let path = format!("/v1/sessions/{}/archive", session["id"].as_str().unwrap());
            session = fixture.post(&path, json!({})).await.resource();
        }
        all.push(session);
    }
    all
}

type Filter<'a> = Box<dyn Fn(&Value) -> bool + 'a>;

fn made(session: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(session["created_at"].as_str().unwrap(), &Rfc3339).unwrap()
}

#[tokio::test]
async fn lists_give_what_their_filters_say_in_order_whatever_the_page() {
    let fixture = Fixture::new().await;
    let all = thirty(&fixture).await;
    let agent = all[0]["agent"]["id"].as_str().unwrap();
    let (early, late) = (made(&all[9]), made(&all[20]));
    let (from, to) = (
        all[9]["created_at"].as_str().unwrap(),
        all[20]["created_at"].as_str().unwrap(),
    );
    let open = |session: &Value| session["archived_at"].is_null();
    let table: [(String, Filter<'_>); 12] = [
        (String::new(), Box::new(open)),
        ("include_archived=true".to_owned(), Box::new(|_| true)),
        (
            format!("agent_id={agent}"),
            Box::new(|it| open(it) && it["agent"]["id"] == agent),
        ),
        (
            format!("agent_id={agent}&agent_version=2&include_archived=true"),
            Box::new(|it| it["agent"]["id"] == agent && it["agent"]["version"] == 2),
        ),
        (
            format!("agent_id={}", domain::AgentId::random()),
            Box::new(|_| false),
        ),
        ("statuses[]=idle&statuses[]=running".to_owned(), Box::new(open)),
        ("statuses[]=running".to_owned(), Box::new(|_| false)),
        (
            format!("created_at[gte]={from}"),
            Box::new(|it| open(it) && made(it) >= early),
        ),
        (
            format!("created_at[gt]={from}"),
            Box::new(|it| open(it) && made(it) > early),
        ),
        (
            format!("created_at[gte]={from}&created_at[lte]={to}&include_archived=true"),
            Box::new(|it| made(it) >= early && made(it) <= late),
        ),
        (
            format!("created_at[lt]={to}"),
            Box::new(|it| open(it) && made(it) < late),
        ),
        ("deployment_id=depl_x".to_owned(), Box::new(|_| false)),
    ];
    for (query, wanted) in &table {
        let expected: Vec<&str> = all
            .iter()
            .filter(|session| wanted(session))
            .map(|session| session["id"].as_str().unwrap())
            .collect();
        for limit in [1, 7, 100] {
            let up = fixture
                .all(&format!("/v1/sessions?order=asc&{query}"), limit)
                .await;
            assert_eq!(up, expected, "{query}, {limit} a page");
            let mut down = fixture.all(&format!("/v1/sessions?{query}"), limit).await;
            down.reverse();
            assert_eq!(down, expected, "{query}, {limit} a page, the newest first");
        }
    }
}

#[tokio::test]
async fn a_cursor_goes_on_when_what_it_points_at_is_gone() {
    let fixture = Fixture::new().await;
    let mut expected = Vec::new();
    for _ in 0..4 {
        let (path, _) = session(&fixture).await;
        expected.insert(0, path);
    }
    let page = fixture.get("/v1/sessions?limit=2").await.resource();
    let cursor = page["next_page"].as_str().unwrap();
    fixture
        .call(ADMIN, Method::DELETE, &expected[1], None)
        .await
        .resource();
    let rest = fixture.all(&format!("/v1/sessions?page={cursor}"), 2).await;
    let rest: Vec<String> = rest.iter().map(|id| format!("/v1/sessions/{id}")).collect();
    assert_eq!(rest, expected[2..]);
}

#[tokio::test]
async fn a_list_of_sessions_can_be_gone_back_in() {
    let fixture = Fixture::new().await;
    for _ in 0..5 {
        session(&fixture).await;
    }
    for order in ["asc", "desc"] {
        let ask = async |page: &Value| {
            let page = page
                .as_str()
                .map(|page| format!("&page={page}"))
                .unwrap_or_default();
            let path = format!("/v1/sessions?limit=2&order={order}{page}");
            let page = fixture.get(&path).await.resource();
            let ids: Vec<Value> = page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["id"].clone())
                .collect();
            (ids, page["next_page"].clone(), page["prev_page"].clone())
        };
        let first = ask(&Value::Null).await;
        let second = ask(&first.1).await;
        let third = ask(&second.1).await;
        assert_eq!(
            (first.0.len(), second.0.len(), third.0.len()),
            (2, 2, 1),
            "{order}"
        );
        assert_eq!((&first.2, &third.1), (&Value::Null, &Value::Null), "{order}");
        assert_eq!(ask(&third.2).await, second, "{order}");
        assert_eq!(ask(&second.2).await, first, "{order}");
    }
}

#[tokio::test]
async fn events_are_listed_by_type_and_in_both_orders() {
    let fixture = Fixture::new().await;
    let (path, _) = session(&fixture).await;
    let events = format!("{path}/events");
    fixture.post(&events, message("hello")).await.resource();
    let first = fixture.get(&format!("{events}?limit=2")).await.resource();
    let kinds: Vec<&Value> = first["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["type"])
        .collect();
    assert_eq!(kinds, ["user.message", "session.status_running"]);
    let messages = fixture.all(&format!("{events}?types[]=user.message"), 1).await;
    assert_eq!(messages, [first["data"][0]["id"].as_str().unwrap()]);
    let down = fixture.all(&format!("{events}?order=desc"), 1).await;
    assert_eq!(down.last().unwrap(), &messages[0]);
}

#[tokio::test]
async fn an_image_by_url_is_taken_where_the_environment_allows_its_host() {
    let fixture = Fixture::new().await;
    let (_, closed) = session(&fixture).await;
    let networking = json!({"type": "limited", "allowed_hosts": ["*.example.com"]});
    let open = json!({"name": "e", "config": {"type": "cloud", "networking": networking}});
    let open = fixture.post("/v1/environments", open).await.resource();
    let message = |url: &str| {
        let text = json!({"type": "text", "text": "what is it?"});
        let image = json!({"type": "image", "source": {"type": "url", "url": url}});
        json!([{"type": "user.message", "content": [text, image]}])
    };
    for (environment, url, expected) in [
        (&open["id"], "https://images.example.com/a.png", None),
        (
            &open["id"],
            "https://images.example.org/a.png",
            Some("no rule allows it"),
        ),
        (
            &open["id"],
            "https://a.example.com@b.example.org/",
            Some("user name"),
        ),
        (&open["id"], "file:///etc/passwd", Some("https://")),
        (
            &closed["environment_id"],
            "https://images.example.com/a.png",
            Some("no rule allows it"),
        ),
    ] {
        let with = json!({"agent": closed["agent"]["id"], "environment_id": environment});
        let mut beginning = with.clone();
        beginning["initial_events"] = message(url);
        let begun = fixture.post("/v1/sessions", beginning).await;
        let made = fixture.post("/v1/sessions", with).await.resource();
        let path = format!("/v1/sessions/{}", made["id"].as_str().unwrap());
        let sent = fixture
            .post(&format!("{path}/events"), json!({"events": message(url)}))
            .await;
        let Some(expected) = expected else {
            assert_eq!((begun.status.as_u16(), sent.status.as_u16()), (200, 200));
            continue;
        };
        for (answer, field) in [(begun, "initial_events"), (sent, "events")] {
            assert_eq!(answer.error(), (400, "invalid_request_error"), "{url}");
            assert_eq!(
                answer.json["error"]["details"]["field"],
                format!("{field}[0].content[1].source.url")
            );
            assert!(answer.message().contains(expected), "{}", answer.message());
        }
        assert_eq!(log(&fixture, &path).await["data"], json!([]), "nothing is stored");
    }
}

#[tokio::test]
async fn the_last_moment_there_is_has_nothing_after_it() {
    let fixture = Fixture::new().await;
    let (path, made) = session(&fixture).await;
    let all = [made["id"].as_str().unwrap()];
    for (moment, is_after) in [
        ("9999-12-31T23:59:59.999999Z", false),
        ("9999-12-31T23:59:59.999999999-23:59", false),
        ("0000-01-01T00:00:00Z", true),
        ("0000-01-01T00:00:00%2B23:59", true),
    ] {
        let (later, earlier) = (
            all[..usize::from(is_after)].to_vec(),
            all[usize::from(is_after)..].to_vec(),
        );
        for (list, later, earlier) in [
            ("/v1/sessions".to_owned(), later, earlier),
            (format!("{path}/events"), Vec::new(), Vec::new()),
        ] {
            let query = |bound: &str| format!("{list}?created_at[{bound}]={moment}");
            assert_eq!(fixture.all(&query("gt"), 1).await, later, "{moment}");
            assert_eq!(fixture.all(&query("lt"), 1).await, earlier, "{moment}");
        }
    }
}
