//! `hostler keys`, on a data directory and through the server that holds it.

use crate::scripted::{Answer, Scripted};
use crate::support::{Broken, Host};
use cli::Asked;
use hosted::{AdminKey, Resources, ServerAddress};
use server::{Api, Config, NoUpstream};
use std::sync::Arc;
use store::{Instance, Store};
use tokio::net::TcpListener;

/// Makes, lists and revokes a key wherever the keys are.
async fn whole_life(host: &Host) {
    let made = host
        .call(&["keys", "create", "--workspace", "team-a", "--name", "ci"])
        .await;
    assert_eq!(made.exit, 0, "{}", made.err);
    let secret = made.out.trim_end();
    assert!(secret.starts_with("hk_") && secret.len() == 46 && made.out.ends_with('\n'));
    assert!(
        made.err.contains("team-a") && !made.err.contains(secret),
        "{}",
        made.err
    );

    let listed = host.call(&["keys", "list"]).await;
    assert!(
        listed.out.contains("team-a") && listed.out.contains("never"),
        "{}",
        listed.out
    );
    assert!(
        listed.out.contains("ci\n") && !listed.out.contains(secret),
        "{}",
        listed.out
    );
    let json = host.call(&["keys", "list", "--json"]).await.json();
    assert_eq!(json["workspace_id"], "team-a");

    let id = json["id"].as_str().unwrap();
    let revoked = host.call(&["keys", "revoke", id]).await;
    assert_eq!(revoked.exit, 0, "{}", revoked.err);
    let listed = host.call(&["keys", "list"]).await;
    assert!(listed.out.contains("revoked"), "{}", listed.out);
    let unknown = host
        .call(&["keys", "revoke", "key_00000000000000000000000000"])
        .await;
    assert_eq!(unknown.exit, 1);
    assert!(
        unknown.err.contains("there is no key key_0000"),
        "{}",
        unknown.err
    );
}

#[tokio::test]
async fn keys_of_a_data_directory_that_nobody_uses() {
    let host = Host::new(Broken::default());
    let listed = host.call(&["keys", "list"]).await;
    assert_eq!((listed.exit, listed.out.as_str()), (0, ""), "{}", listed.err);
    whole_life(&host).await;
}

struct Serving {
    _noted: ServerAddress,
    url: String,
    key: String,
}

async fn serve(host: &Host) -> Serving {
    let data = host.path("data");
    let instance = Instance::open(&data).unwrap();
    let (admin, _) = AdminKey::find(&data, None).unwrap();
    let key = admin.reveal().to_owned();
    let resources = Resources::open(Store::open(instance).await.unwrap(), admin)
        .await
        .unwrap();
    let api = Api {
        resources,
        upstream: Arc::new(NoUpstream),
        metrics: metrics::Metrics::default(),
        traces: traces::Traces::default(),
        sessions: None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let running = Config::default().build(api).run(vec![listener]);
    tokio::spawn(running);
    Serving {
        _noted: ServerAddress::note(&data, &url).unwrap(),
        url,
        key,
    }
}

#[tokio::test]
async fn keys_of_a_data_directory_that_a_server_holds() {
    let host = Host::new(Broken::default());
    let _serving = serve(&host).await;
    whole_life(&host).await;
}

#[tokio::test]
async fn keys_of_a_server_elsewhere() {
    let server = Host::new(Broken::default());
    let serving = serve(&server).await;
    let mut host = Host::new(Broken::default());
    host.environment.server_url = Some(serving.url.clone().into());
    let keyless = host.call(&["keys", "list"]).await;
    assert_eq!(keyless.exit, 2);
    assert!(keyless.err.contains("HOSTLER_API_KEY"), "{}", keyless.err);
    host.environment.server_key = Some("wrong-wrong-wrong-wrong".into());
    let wrong = host.call(&["keys", "list"]).await;
    assert!(
        wrong.exit == 1 && wrong.err.contains("hint: HOSTLER_API_KEY must be"),
        "{}",
        wrong.err
    );
    host.environment.server_key = Some(serving.key.into());
    whole_life(&host).await;
    assert!(!host.path("data").exists());
}

#[tokio::test]
async fn nobody_has_to_wait_for_a_server() {
    let server = Scripted::start(|_, _| Answer::Nothing).await;
    let mut host = Host::new(Broken::default());
    host.environment.server_url = Some(server.url.into());
    host.environment.server_key = Some("a-key-of-this-test".into());
    for (arguments, hint) in [
        (&["keys", "list"][..], ""),
        (
            &["keys", "create"],
            "hint: it may be done: hostler keys list says whether it is\n",
        ),
    ] {
        let called = host.call_with(arguments, &[Asked { now: false }]).await;
        let said = format!("error: interrupted\n{hint}");
        assert_eq!((called.exit, called.err), (1, said));
    }
}

#[tokio::test]
async fn a_directory_that_is_held_by_no_server_is_left_alone() {
    let host = Host::new(Broken::default());
    let _held = Instance::open(&host.path("data")).unwrap();
    let called = host.call(&["keys", "list"]).await;
    assert_eq!(called.exit, 1);
    assert!(
        called.err.contains("is in use by another hostler"),
        "{}",
        called.err
    );
}

#[tokio::test]
async fn wrong_calls_are_refused() {
    let host = Host::new(Broken::default());
    let called = host.call(&["keys", "create", "--name", ""]).await;
    assert_eq!(called.exit, 2, "{}", called.err);
    let mut host = Host::new(Broken::default());
    host.environment.server_url = Some("127.0.0.1".into());
    host.environment.server_key = Some("0123456789abcdef".into());
    let called = host.call(&["keys", "list"]).await;
    assert_eq!(called.exit, 2, "{}", called.err);
    host.environment.server_url = Some("http://127.0.0.1:9".into());
    let called = host.call(&["keys", "list"]).await;
    assert!(
        called.exit == 1 && called.err.contains("hint: check HOSTLER_URL"),
        "{}",
        called.err
    );
}
