//! One server takes over from another: nobody is refused, streams go on, sandboxes are the same.

use crate::serving::{Followed, Serving, Trouble, call, within};
use handover::Predecessor;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UnixDatagram;
use tokio::task::JoinHandle;

const TAKE_OVER: &[&str] = &["--take-over"];

fn script() -> Value {
    json!({
        "name": "handover",
        "anytime": [
            {"when": {"last_tool_result_contains": ""}, "reply": [{"text": "It says: {{last_tool_result}}"}]},
            {"when": {"last_user_text_contains": "begin"}, "reply": [{"tool_use": {"name": "Bash", "input":
                {"command": "echo $$ > shell; cat shell"}}}]},
            {"when": {"last_user_text_contains": "go on"}, "reply": [{"tool_use": {"name": "Bash", "input":
                {"command": "echo the same: $([ $$ = $(cat shell) ] && echo yes)"}}}]},
        ],
        "turns": [],
    })
}

/// Clients that make agents without a pause, each request over a connection of its own.
struct Clients {
    enough: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<Vec<String>, Trouble>>>,
}

impl Clients {
    fn start(address: &str, number: usize) -> Self {
        let (enough, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (0..number).map(|_| {
            let (enough, answered) = (Arc::clone(&enough), Arc::clone(&answered));
            let address = address.to_owned();
            tokio::spawn(async move {
                let mut made = Vec::new();
                while !enough.load(Ordering::Acquire) {
                    let agent = json!({"name": "one of many", "model": "claude-sonnet-5-5"});
                    match call(&address, "POST", "/v1/agents", &agent).await {
                        Ok(agent) => {
                            let agent: Value = serde_json::from_str(&agent).unwrap();
                            made.push(agent["id"].as_str().unwrap().to_owned());
                        }
                        // It is an answer, and clients that ask this often get it.
                        Err(Trouble(trouble)) if trouble.contains("rate_limit_error") => {}
                        Err(trouble) => return Err(trouble),
                    }
                    answered.fetch_add(1, Ordering::AcqRel);
                }
                Ok(made)
            })
        });
        Self {
            tasks: tasks.collect(),
            enough,
            answered,
        }
    }

    /// Waits until so many more requests were answered.
    async fn more(&self, number: u64) {
        let until = self.answered.load(Ordering::Acquire) + number;
        within(async {
            while self.answered.load(Ordering::Acquire) < until
                && !self.tasks.iter().any(JoinHandle::is_finished)
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// The agents that they were told of.
    async fn end(self) -> Vec<String> {
        self.enough.store(true, Ordering::Release);
        let mut made = Vec::new();
        for task in self.tasks {
            match within(task).await.unwrap() {
                Ok(more) => made.extend(more),
                Err(Trouble(trouble)) => panic!("a client met trouble: {trouble}"),
            }
        }
        made
    }
}

/// The ids of events in a stream, in their order.
fn ids(stream: &Followed) -> Vec<String> {
    let text = stream.text();
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(str::to_owned).collect()
}

async fn listed(serving: &Serving, session: &str) -> Vec<String> {
    let path = format!("/v1/sessions/{session}/events");
    let list: Value = serde_json::from_str(&serving.call("GET", &path, &Value::Null).await).unwrap();
    let events = list["data"].as_array().unwrap().iter();
    events
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn nobody_is_refused_and_a_stream_of_the_old_server_shows_what_the_new_one_does() {
    let directory = tempfile::tempdir().unwrap();
    let old = Serving::start(directory.path(), &script(), &[]).await;
    let session = old.session().await;
    let mut stream = old.follow(&format!("/v1/sessions/{session}/events/stream")).await;
    old.say(&session, "begin").await;
    within(stream.until("end_turn")).await;
    let clients = Clients::start(&old.address, 4);
    clients.more(20).await;

    let new = Serving::start(directory.path(), &script(), TAKE_OVER).await;
    assert_eq!(new.address, old.address);
    clients.more(20).await;
    let made = clients.end().await;
    assert!(!made.is_empty());
    for agent in made {
        new.call("GET", &format!("/v1/agents/{agent}"), &Value::Null)
            .await;
    }
    new.say(&session, "go on").await;
    within(stream.until("the same: yes")).await;
    within(stream.until_times("\"end_turn\"", 2)).await;
    assert_eq!(ids(&stream), listed(&new, &session).await);

    // With its last stream the old one ends.
    drop(stream);
    let (status, said) = old.ended().await;
    assert!(
        status.success() && said.contains("the next server has taken over"),
        "{said}"
    );
    let (status, said) = new.end().await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn a_signal_has_the_program_started_again_and_the_service_manager_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let manager = directory.path().join("manager");
    let told = UnixDatagram::bind(&manager).unwrap();
    std::fs::set_permissions(&manager, Permissions::from_mode(0o777)).unwrap();
    let mut first = Serving::start_under(directory.path(), &script(), &[], Some(&manager)).await;
    let session = first.session().await;
    first.say(&session, "begin").await;
    let mut main = main_process(&told).await;
    assert_eq!(u32::try_from(main).unwrap(), first.process.id().unwrap());
    let mut stream = first
        .follow(&format!("/v1/sessions/{session}/events/stream"))
        .await;
    for _ in 0..2 {
        let before = main;
        kill_process(Pid::from_raw(before).unwrap(), Signal::USR2).unwrap();
        main = main_process(&told).await;
        assert_ne!(main, before);
        // The service manager has to hear of its end, also while the one before it shows its streams.
        assert_ne!(parent_of(main), before);
        assert_eq!(first.says_address().await, first.address);
        first.say(&session, "go on").await;
        within(stream.until("the same: yes")).await;
        stream.read.clear();
    }
    kill_process(Pid::from_raw(main).unwrap(), Signal::INT).unwrap();
    drop(stream);
    let (status, said) = first.ended().await;
    assert!(status.success(), "{said}");
}

fn parent_of(process: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
    parent.unwrap().parse().unwrap()
}

/// The process that says that it is the service now.
async fn main_process(told: &UnixDatagram) -> i32 {
    let mut bytes = [0; 512];
    let length = within(told.recv(&mut bytes)).await.unwrap();
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(text.lines().any(|line| line == "READY=1"), "{text}");
    let main = text.lines().find_map(|line| line.strip_prefix("MAINPID="));
    main.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_server_whose_successor_is_gone_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let old = Serving::start(directory.path(), &script(), &[]).await;
    let session = old.session().await;
    old.say(&session, "begin").await;
    let clients = Clients::start(&old.address, 2);
    for _ in 0..3 {
        let (predecessor, listeners) = within(Predecessor::take(&directory.path().join("data")))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(listeners[0].local_addr().unwrap().to_string(), old.address);
        within(predecessor.released()).await.unwrap();
        drop((predecessor, listeners));
        clients.more(10).await;
    }
    clients.end().await;
    let mut stream = old.follow(&format!("/v1/sessions/{session}/events/stream")).await;
    old.say(&session, "go on").await;
    within(stream.until("the same: yes")).await;
    let (status, said) = old.end().await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_hands_over_is_followed_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mut old = Serving::start(directory.path(), &script(), &[]).await;
    let session = old.session().await;
    let mut stream = old.follow(&format!("/v1/sessions/{session}/events/stream")).await;
    old.say(&session, "begin").await;
    within(stream.until("end_turn")).await;
    let script = script();
    for round in 0..6 {
        let start = Serving::start(directory.path(), &script, TAKE_OVER);
        let kill = async {
            tokio::time::sleep(Duration::from_millis(30 * round)).await;
            old.signal(Signal::KILL);
            old.process.wait().await.unwrap();
        };
        let (next, ()) = tokio::join!(start, kill);
        next.call("GET", &format!("/v1/sessions/{session}"), &Value::Null)
            .await;
        old = next;
    }
    let mut stream = old.follow(&format!("/v1/sessions/{session}/events/stream")).await;
    old.say(&session, "go on").await;
    within(stream.until("the same: yes")).await;
    old.end().await;
}
