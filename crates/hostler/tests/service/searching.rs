//! What the model API reaches on a session's behalf: web searches, and images by URL.

use crate::serving::{Serving, within};
use serde_json::{Value, json};

/// Asks the gateway for a web search with the session's own token, past the runtime that has it.
const AROUND: &str = r#"python3 - <<'END'
import glob, json, urllib.error, urllib.request
def read(path):
    try:
        return open(path).read()
    except OSError:
        return ""
entries = [entry for path in glob.glob("/proc/[0-9]*/environ") for entry in read(path).split("\0")]
token = next(entry.split("=", 1)[1] for entry in entries if entry.startswith("ANTHROPIC_API_KEY="))
tool = {"type": "web_search_20250305", "name": "web_search"}
body = {"model": "claude-sonnet-5-5", "max_tokens": 100, "tools": [tool],
        "messages": [{"role": "user", "content": "around"}]}
headers = {"x-api-key": token, "anthropic-version": "2023-06-01",
           "content-type": "application/json"}
url = "http://127.0.0.2/v1/messages"
try:
    answer = urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers))
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
END"#;

fn script() -> Value {
    let say = json!({"reply": [{"text": "{{last_tool_result}}"}]});
    let call = |word: &str, name: &str, input: Value| json!({"when": {"last_user_text_contains": word}, "reply": [{"tool_use": {"name": name, "input": input}}]});
    let turn = json!([
        call("search", "WebSearch", json!({"query": "the diary of Ada"})),
        call("around", "Bash", json!({"command": AROUND})),
        {"when": {"last_user_has": "image"}, "reply": [{"text": "I see."}]},
    ]);
    let found = json!({"title": "Diary", "url": "https://ada.example/diary"});
    let searches = json!({
        "when": {"has_tool": "web_search"},
        "reply": [{"web_search": {"results": [found]}}, {"text": "Ada kept one."}],
    });
    json!({
        "name": "searching",
        "anytime": [searches],
        "turns": [turn, say, turn, say],
    })
}

/// Has the session say something, and waits until the answer is told.
async fn ask(serving: &Serving, session: &str, content: Value, answer: &str) {
    let path = format!("/v1/sessions/{session}/events");
    let mut followed = serving.follow(&format!("{path}/stream")).await;
    let message = json!({"type": "user.message", "content": content});
    serving.call("POST", &path, &json!({"events": [message]})).await;
    within(followed.until("\"end_turn\"")).await;
    let told = followed.text();
    assert!(told.contains(answer), "{answer}: {told}");
}

fn text(words: &str) -> Value {
    json!([{"type": "text", "text": words}])
}

#[tokio::test]
async fn the_web_is_searched_for_an_agent_that_has_the_tool_and_for_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let serving = Serving::start(directory.path(), &script(), &[]).await;
    let session = serving.session().await;
    let found = "Ada kept one.";
    ask(&serving, &session, text("search for it"), found).await;
    let path = format!("/v1/sessions/{session}");
    let row: Value = serde_json::from_str(&serving.call("GET", &path, &Value::Null).await).unwrap();
    assert_eq!(row["usage"]["server_tool_use"]["web_search_requests"], 1, "{row}");

    let disabled = json!([{"name": "web_search", "enabled": false}]);
    let tools = json!([{"type": "agent_toolset_20260401", "configs": disabled}]);
    let change = json!({"agent": {"tools": tools}});
    serving.call("POST", &path, &change).await;
    let refused = "400 {\\\"error\\\"";
    ask(&serving, &session, text("go around it"), refused).await;
    let listed = serving.call("GET", &format!("{path}/events"), &Value::Null).await;
    assert!(listed.contains("web search is not among the tools"), "{listed}");
    let (status, said) = serving.end().await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn an_image_by_url_reaches_the_model_where_the_networking_allows_its_host() {
    let directory = tempfile::tempdir().unwrap();
    let serving = Serving::start(directory.path(), &script(), &[]).await;
    let networking = json!({"type": "limited", "allowed_hosts": ["images.example.com"]});
    let environment = json!({"name": "e", "config": {"type": "cloud", "networking": networking}});
    let environment = serving.made("/v1/environments", environment).await;
    let agent = json!({"name": "a", "model": "claude-sonnet-5-5"});
    let agent = serving.made("/v1/agents", agent).await;
    let new = json!({"agent": agent, "environment_id": environment});
    let session = serving.made("/v1/sessions", new).await;
    let image = |host: &str| {
        let source = json!({"type": "url", "url": format!("https://{host}/a.png")});
        json!([{"type": "text", "text": "What is this?"}, {"type": "image", "source": source}])
    };
    ask(&serving, &session, image("images.example.com"), "I see.").await;
    let message = json!({"type": "user.message", "content": image("other.example.com")});
    let path = format!("/v1/sessions/{session}/events");
    let refused = serving
        .refusal("POST", &path, &json!({"events": [message]}))
        .await;
    assert!(refused.contains("other.example.com"), "{refused}");
    let (status, said) = serving.end().await;
    assert!(status.success(), "{said}");
}
