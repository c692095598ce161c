//! The jailer under a service manager: it says when it serves, and a server that is to wait for one starts none.

use crate::place::{DEADLINE, Place, is_root, options};
use sandbox_linux::{LinuxBackend, Options};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

struct Manager {
    jailer: Child,
    said: UnixDatagram,
}

impl Manager {
    /// Starts a jailer as a unit does.
    fn start(place: &Place) -> Self {
        let socket = place.workspace.path().join("notify");
        let said = UnixDatagram::bind(&socket).unwrap();
        said.set_read_timeout(Some(DEADLINE)).unwrap();
        let user = if is_root() { &["--user", "root"][..] } else { &[] };
        let jailer = Command::new(env!("CARGO_BIN_EXE_hostler"))
            .args(["jailer", "--data"])
            .arg(place.path())
            .args(user)
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { jailer, said }
    }

    fn hear(&self) -> String {
        let mut words = [0; 256];
        let length = self.said.recv(&mut words).expect("the jailer says nothing");
        String::from_utf8_lossy(&words[..length]).into_owned()
    }
}

fn connected(place: &Place) -> LinuxBackend {
    let options = Options {
        starts_jailer: false,
        ..options(&place.path())
    };
    LinuxBackend::connect(&options).unwrap().0
}

#[test]
fn a_jailer_says_when_it_serves_and_its_server_waits_for_it_alone() {
    let place = Place::new();
    // The server is there first.
    std::thread::scope(|scope| {
        let server = scope.spawn(|| connected(&place));
        let mut manager = Manager::start(&place);
        assert_eq!(manager.hear(), "READY=1\n");
        let server = server.join().unwrap();
        assert!(place.watchers().is_empty());
        server.stop();
        assert!(manager.jailer.wait().unwrap().success());
    });
}

#[tokio::test]
async fn a_server_without_its_jailer_says_so_and_does_not_start_one() {
    use sandbox::Backend as _;
    let place = Place::new();
    let mut manager = Manager::start(&place);
    manager.hear();
    let server = connected(&place);
    assert!(server.report().await.is_ok());
    manager.jailer.kill().unwrap();
    manager.jailer.wait().unwrap();
    for there in [false, true] {
        if there {
            std::fs::remove_file(place.workspace.path().join("notify")).unwrap();
            manager = Manager::start(&place);
        }
        let end = std::time::Instant::now() + DEADLINE;
        while server.report().await.is_ok() != there {
            assert!(
                std::time::Instant::now() < end,
                "it does not say that the jailer is there: {there}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    assert!(place.watchers().is_empty());
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap();
    assert!(manager.jailer.wait().unwrap().success());
}

#[tokio::test]
async fn what_a_jailer_keeps_is_ended_where_no_server_works_with_it() {
    let place = Place::new();
    let end = || {
        let ended = Command::new(env!("CARGO_BIN_EXE_hostler"))
            .args(["jailer", "--end", "--data"])
            .arg(place.path())
            .output()
            .unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8(said).unwrap())
    };
    let (success, said) = end();
    assert!(!success && said.contains("no jailer answers in"), "{said}");
    let mut manager = Manager::start(&place);
    manager.hear();
    let server = connected(&place);
    let sandbox = place.create(&server).await;
    let instance = store::Instance::open(&place.path()).unwrap();
    let (success, said) = end();
    assert!(!success && said.contains("a server works with"), "{said}");
    assert!(sandbox.client.health().await.is_ok());
    server.leave();
    drop(instance);
    assert_eq!(end(), (true, "sandboxes that were ended: 1\n".to_owned()));
    assert!(sandbox.client.health().await.is_err());
    assert!(manager.jailer.wait().unwrap().success());
}
