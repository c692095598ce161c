//! `hostler sessions` with a server of its own in this process, with the server that holds a data directory, and with what
//! it left there. No sandbox can be made here: what agents do is played by [`crate::scripted`] servers, and real in
//! `tests/accept`.

use crate::support::{Broken, Called, Host, NoNetwork, NoSandbox};
use client::Client;
use control::{Control, Parts, Settings};
use hosted::{AdminKey, Hosted, Resources, ServerAddress};
use serde_json::{Value, json};
use server::{Api, Config, Ending, NoUpstream, Rates};
use std::sync::Arc;
use store::{Instance, Store};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

struct Serving {
    _noted: ServerAddress,
    url: String,
    key: String,
    client: Client,
    control: Control,
    resources: Resources,
    store: Store,
    ending: Ending,
    task: JoinHandle<()>,
}

impl Serving {
    /// On the host's data directory, as `hostler serve` does.
    async fn on(host: &Host) -> Self {
        let data = host.path("data");
        let instance = Instance::open(&data).unwrap();
        let (admin, _) = AdminKey::find(&data, None).unwrap();
        let key = admin.reveal().to_owned();
        let store = Store::open(instance).await.unwrap();
        let resources = Resources::open(store.clone(), admin).await.unwrap();
        let metrics = metrics::Metrics::default();
        let control = Control::start(Parts {
            store: store.clone(),
            backend: Arc::new(NoSandbox),
            network: Arc::new(NoNetwork),
            settings: Settings::default(),
            meter: metrics.sessions.clone(),
            traces: traces::Traces::default(),
        });
        let control = control.await.unwrap();
        let api = Api {
            sessions: Some(Hosted::new(control.clone(), resources.clone())),
            resources: resources.clone(),
            upstream: Arc::new(NoUpstream),
            metrics,
            traces: traces::Traces::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = Config {
            rates: Rates {
                create: 10_000,
                environments: 10_000,
                other: 10_000,
            },
            ..Config::default()
        };
        let server = config.build(api);
        let ending = server.ending();
        let running = server.run(vec![listener]);
        Self {
            _noted: ServerAddress::note(&data, &url).unwrap(),
            client: Client::new(&url, &key).unwrap(),
            url,
            key,
            control,
            resources,
            store,
            ending,
            task: tokio::spawn(async move { running.await.unwrap() }),
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.client.post(path, &body).await.unwrap()
    }

    /// The ids of a new agent and a new environment.
    async fn agent(&self, name: &str) -> (String, String) {
        let model = "claude-sonnet-5-5";
        let agent = self
            .post("/v1/agents", json!({"name": name, "model": model}))
            .await;
        let environment = self.post("/v1/environments", json!({"name": "plain"})).await;
        let id = |object: &Value| object["id"].as_str().unwrap().to_owned();
        (id(&agent), id(&environment))
    }

    async fn session(&self, (agent, environment): &(String, String), title: &str) -> String {
        let create =
            json!({"agent": agent, "environment_id": environment, "title": title, "metadata": {"team": "a"}});
        let made = self.post("/v1/sessions", create).await;
        made["id"].as_str().unwrap().to_owned()
    }

    /// As a server ends, and leaves the directory to the next.
    async fn end(self) {
        self.ending.cut();
        self.task.await.unwrap();
        drop(self.control.leave(std::time::Duration::from_secs(10)).await);
        drop((self.control, self.resources));
        self.store.close().await;
    }
}

fn good(called: &Called) {
    assert_eq!(called.exit, 0, "{}{}", called.out, called.err);
}

#[tokio::test]
async fn sessions_are_listed_with_their_filters_over_pages() {
    let host = Host::new(Broken::default());
    let serving = Serving::on(&host).await;
    let none = host.call(&["sessions", "list"]).await;
    assert_eq!(
        (none.exit, none.out.as_str(), none.err.as_str()),
        (0, "", "no sessions\n")
    );
    let fixer = serving.agent("fixer").await;
    let other = serving.agent("esc\u{1b}[2Jape").await;
    for number in 0..104 {
        serving.session(&fixer, &format!("number {number}")).await;
    }
    let odd = serving
        .session(&other, "a\u{1b}]0;title\u{7} of two\nlines")
        .await;
    let archived = serving.session(&fixer, "archived").await;
    serving
        .post(&format!("/v1/sessions/{archived}/archive"), json!({}))
        .await;

    let all = host.call(&["sessions", "list"]).await;
    good(&all);
    let lines: Vec<&str> = all.out.lines().collect();
    assert_eq!(lines.len(), 1 + 105);
    assert_eq!(
        lines[0],
        "ID                               STATUS        CREATED (UTC)     AGENT                 TITLE"
    );
    assert!(
        lines[1].starts_with(&format!("{odd}  idle          20")),
        "{}",
        lines[1]
    );
    assert!(
        lines[1].ends_with("  esc\\u{1b}[2Jape       a\\u{1b}]0;title\\u{7} of two…"),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].ends_with("  fixer                 number 103"),
        "{}",
        lines[2]
    );

    let listed = |arguments: &'static [&'static str]| {
        let line: Vec<&str> = ["sessions", "list", "--json"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let host = &host;
        async move {
            let called = host.call(&line).await;
            good(&called);
            let objects = called
                .out
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap());
            objects.collect::<Vec<_>>()
        }
    };
    assert_eq!(listed(&["--limit", "101"]).await.len(), 101);
    let newest = &listed(&["--limit", "1"]).await[0];
    assert_eq!((&newest["id"], &newest["type"]), (&json!(odd), &json!("session")));
    assert_eq!(listed(&["--all"]).await.len(), 106);
    assert_eq!(
        listed(&["--status", "running", "--status", "terminated"])
            .await
            .len(),
        0
    );
    assert_eq!(listed(&["--status", "idle"]).await.len(), 105);
    let of_one = host
        .call(&["sessions", "list", "--json", "--agent", &other.0])
        .await;
    assert_eq!(of_one.out.lines().count(), 1);
    let shown = host.call(&["sessions", "list", "--all", "--limit", "1"]).await;
    assert!(
        shown.out.contains(&format!("{archived}  archived")),
        "{}",
        shown.out
    );
    serving.end().await;
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one session, from its first word to its end"
)]
async fn a_message_that_cannot_be_acted_on_is_told_and_everything_of_it_is_there() {
    let host = Host::new(Broken::default());
    let serving = Serving::on(&host).await;
    let id = serving.session(&serving.agent("fixer").await, "first").await;
    let sent = host.call(&["sessions", "send", &id, "do\nit"]).await;
    assert_eq!(sent.exit, 1);
    assert!(
        sent.err.contains("error: ") && sent.err.contains("user namespaces"),
        "{}",
        sent.err
    );
    assert!(
        sent.err.contains(&format!("hint: hostler sessions show {id}")),
        "{}",
        sent.err
    );
    assert!(
        sent.err.contains("the session so far: $0.00, 0 tokens in"),
        "{}",
        sent.err
    );

    let shown = host.call(&["sessions", "show", &id]).await;
    good(&shown);
    for line in [
        &format!("session     {id}"),
        "title       first",
        "status      idle",
        "metadata    team=a",
        "> do",
        "> it",
    ] {
        assert!(
            shown.out.lines().any(|shown| shown == line),
            "{line}: {}",
            shown.out
        );
    }
    assert!(shown.out.contains("agent       fixer (agent_"), "{}", shown.out);
    assert!(shown.out.contains("error: "), "{}", shown.out);

    let logs = host.call(&["sessions", "logs", &id]).await;
    good(&logs);
    let lines: Vec<&str> = logs.out.lines().collect();
    assert!(
        lines[0].contains("  user.message                do…"),
        "{}",
        logs.out
    );
    assert!(
        lines.last().unwrap().contains("  session.status_idle         "),
        "{}",
        logs.out
    );
    let json = host.call(&["sessions", "logs", &id, "--json"]).await;
    let events: Vec<Value> = json
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), lines.len());
    let first = events[0]["id"].as_str().unwrap();
    let since = host
        .call(&["sessions", "logs", &id, "--json", "--since-event", first])
        .await;
    let ids = |text: &str| -> Vec<String> {
        let objects = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        objects
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids(&since.out), ids(&json.out)[1..], "{}", since.err);
    let last = events.last().unwrap()["id"].as_str().unwrap();
    let none = host.call(&["sessions", "logs", &id, "--since-event", last]).await;
    assert_eq!((none.exit, none.out.as_str()), (0, ""));
    let strange = host
        .call(&[
            "sessions",
            "logs",
            &id,
            "--since-event",
            "sevt_00000000000000000000000000",
        ])
        .await;
    assert!(
        strange.exit == 1 && strange.err.contains("is not an event of this session"),
        "{}",
        strange.err
    );
    let types = host
        .call(&["sessions", "logs", &id, "--types", "session.error,user.message"])
        .await;
    assert_eq!(types.out.lines().count(), 2, "{}", types.out);

    let removed = host.call(&["sessions", "rm", &id]).await;
    assert_eq!(removed.err, format!("removed {id}\n"));
    for command in ["show", "logs", "rm"] {
        let called = host.call(&["sessions", command, &id]).await;
        assert_eq!(called.exit, 1);
        assert!(
            called
                .err
                .starts_with(&format!("error: there is no session {id} (request req_")),
            "{}",
            called.err
        );
        assert!(
            called.err.contains("hint: hostler sessions list"),
            "{}",
            called.err
        );
    }
    serving.end().await;
}

#[tokio::test]
async fn an_archived_session_takes_nothing_and_several_are_removed_as_far_as_they_can_be() {
    let host = Host::new(Broken::default());
    let serving = Serving::on(&host).await;
    let made = serving.agent("fixer").await;
    let (one, two) = (
        serving.session(&made, "1").await,
        serving.session(&made, "2").await,
    );
    serving
        .post(&format!("/v1/sessions/{one}/archive"), json!({}))
        .await;
    let sent = host.call(&["sessions", "send", &one, "late"]).await;
    assert!(
        sent.exit == 1 && sent.err.contains("is archived: start a new one"),
        "{}",
        sent.err
    );
    let gone = "sesn_00000000000000000000000000";
    let removed = host.call(&["sessions", "rm", gone, &one, &two]).await;
    assert_eq!(removed.exit, 1);
    assert!(
        removed.err.contains(&format!("removed {one}\nremoved {two}\n")),
        "{}",
        removed.err
    );
    assert!(
        removed
            .err
            .contains(&format!("error: there is no session {gone}")),
        "{}",
        removed.err
    );
    serving.end().await;
}

#[tokio::test]
async fn what_a_server_left_is_looked_at_without_one_and_nothing_else() {
    let mut host = Host::new(Broken::default());
    let serving = Serving::on(&host).await;
    let id = serving.session(&serving.agent("fixer").await, "left").await;
    assert_eq!(host.call(&["sessions", "send", &id, "do it"]).await.exit, 1);
    let before = host.call(&["sessions", "logs", &id, "--json"]).await;
    serving.end().await;

    let listed = host.call(&["sessions", "list"]).await;
    assert!(
        listed.out.contains(&id) && listed.out.contains("fixer"),
        "{}{}",
        listed.out,
        listed.err
    );
    let shown = host.call(&["sessions", "show", &id]).await;
    assert!(
        shown.out.contains("> do it") && shown.out.contains("agent       fixer (agent_"),
        "{}",
        shown.out
    );
    assert_eq!(
        host.call(&["sessions", "logs", &id, "--json"]).await.out,
        before.out
    );
    let elsewhere = host.call(&["sessions", "list", "--workspace", "other"]).await;
    assert_eq!(elsewhere.err, "no sessions\n");
    for arguments in [
        &["sessions", "send", &id, "go on"][..],
        &["sessions", "logs", &id, "--follow"],
        &["sessions", "rm", &id],
        &["sessions", "diff", &id],
    ] {
        let called = host.call(arguments).await;
        assert_eq!(called.exit, 1, "{arguments:?}");
        assert!(
            called.err.contains("no server runs on")
                && called.err.contains("hint: start one: hostler serve --data"),
            "{arguments:?}: {}",
            called.err
        );
    }
    assert_eq!(host.broken.starts.load(std::sync::atomic::Ordering::SeqCst), 0);
    host.environment.data = Some(host.path("nothing"));
    let none = host.call(&["sessions", "list"]).await;
    assert_eq!((none.exit, none.err.as_str()), (0, "no sessions\n"));
    for command in ["show", "logs", "rm"] {
        let called = host.call(&["sessions", command, &id]).await;
        assert!(
            called.exit == 1 && called.err.contains("there is nothing at"),
            "{}",
            called.err
        );
    }
    assert!(!host.path("nothing").exists(), "looking makes nothing");
}

#[tokio::test]
async fn a_server_elsewhere_is_asked_in_the_workspace_that_is_named() {
    let there = Host::new(Broken::default());
    let serving = Serving::on(&there).await;
    let key = serving
        .post("/host/v1/keys", json!({"workspace_id": "team-a"}))
        .await;
    let key = key["secret"].as_str().unwrap().to_owned();
    let team = Client::new(&serving.url, &key).unwrap();
    let agent: Value = team
        .post("/v1/agents", &json!({"name": "x", "model": "claude-sonnet-5-5"}))
        .await
        .unwrap();
    let environment: Value = team
        .post("/v1/environments", &json!({"name": "y"}))
        .await
        .unwrap();
    let create = json!({"agent": agent["id"], "environment_id": environment["id"]});
    let made: Value = team.post("/v1/sessions", &create).await.unwrap();
    let id = made["id"].as_str().unwrap();

    let mut host = Host::new(Broken::default());
    host.environment.server_url = Some(serving.url.clone().into());
    let keyless = host.call(&["sessions", "list"]).await;
    assert!(
        keyless.exit == 2 && keyless.err.contains("set HOSTLER_API_KEY"),
        "{}",
        keyless.err
    );
    host.environment.server_key = Some(serving.key.clone().into());
    assert_eq!(host.call(&["sessions", "list"]).await.err, "no sessions\n");
    let hidden = host.call(&["sessions", "show", id]).await;
    assert!(
        hidden.err.contains("--workspace NAME looks in another workspace"),
        "{}",
        hidden.err
    );
    for command in ["list", "show"] {
        let arguments = ["sessions", command, id, "--workspace", "team-a"];
        let arguments: Vec<&str> = arguments
            .into_iter()
            .filter(|word| command == "show" || *word != id)
            .collect();
        let called = host.call(&arguments).await;
        assert!(called.exit == 0 && called.out.contains(id), "{}", called.err);
    }
    host.environment.server_key = Some(key.into());
    assert!(host.call(&["sessions", "list"]).await.out.contains(id));
    let other = host.call(&["sessions", "list", "--workspace", "default"]).await;
    assert!(
        other.exit == 1
            && other
                .err
                .contains("hint: HOSTLER_API_KEY must be the server's admin key"),
        "{}",
        other.err
    );
    host.environment.server_key = Some("wrong-wrong-wrong".into());
    let wrong = host.call(&["sessions", "list"]).await;
    assert!(
        wrong.exit == 1
            && wrong.err.contains("(request req_")
            && wrong.err.contains("hint: HOSTLER_API_KEY must be"),
        "{}",
        wrong.err
    );
    host.environment.server_key = Some("schl\u{fc}ssel".into());
    let unfit = host.call(&["sessions", "list"]).await;
    assert!(
        unfit.exit == 2 && unfit.err.contains("visible ASCII"),
        "{}",
        unfit.err
    );
    assert!(!host.path("data").exists(), "nothing is made here");
    // A flag is nearer than the environment.
    let named = host
        .call(&["sessions", "list", "--data", host.path("mine").to_str().unwrap()])
        .await;
    assert_eq!((named.exit, named.err.as_str()), (0, "no sessions\n"));
    serving.end().await;
}

#[tokio::test]
async fn a_conversation_at_a_terminal_needs_one() {
    let host = Host::new(Broken::default());
    let called = host
        .call(&["sessions", "attach", "sesn_00000000000000000000000000"])
        .await;
    assert_eq!(called.exit, 2);
    assert!(
        called
            .err
            .contains("attach needs a terminal\nhint: hostler sessions send"),
        "{}",
        called.err
    );
}
