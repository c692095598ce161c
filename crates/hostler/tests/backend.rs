//! The native backend on this machine, through the port alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use domain::{InstanceId, Limits, SandboxId};
use guest_protocol::{Client, Exit, Payload, Spawn};
use sandbox::{Backend as _, Spec, Workspace};
use sandbox_linux::{LinuxBackend, Options};
use std::time::Duration;

fn backend(data: &std::path::Path) -> LinuxBackend {
    LinuxBackend::start(&Options {
        program: env!("CARGO_BIN_EXE_hostler").into(),
        data: data.to_owned(),
        instance: InstanceId::random(),
        pool: 0,
        limits: Limits::default(),
    })
    .unwrap()
}

async fn run(client: &Client, script: &str) -> (String, Exit) {
    let spawn = Spawn {
        id: format!("p{}", SandboxId::random()),
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        cwd: None,
        stdio: guest_protocol::Stdio::Pipes,
        framing: guest_protocol::Framing::Chunks,
    };
    client.spawn(&spawn).await.unwrap();
    let mut output = client.output(&spawn.id, 0, true).await.unwrap();
    let mut text = Vec::new();
    while let Some(record) = output.next().await.unwrap() {
        match record.payload {
            Payload::Output(data) => text.extend(data.into_bytes()),
            Payload::Exit(exit) => return (String::from_utf8_lossy(&text).into_owned(), exit),
        }
    }
    panic!("the output ended without an exit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_runs_a_command_on_a_view_of_the_workspace() {
    let data = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    std::fs::write(work.path().join("file"), "mine").unwrap();
    let backend = backend(data.path());
    println!("{:#?}", backend.report().await.unwrap());
    let id = SandboxId::random();
    let workspace = Workspace {
        path: work.path().canonicalize().unwrap(),
        masked: Vec::new(),
    };
    let spec = Spec {
        id: id.clone(),
        limits: Limits::default(),
        workspace: Some(workspace),
        egress_ports: vec![],
    };
    let created = backend.create(&spec).await.unwrap();
    let client = Client::new(created.guest_socket.clone());
    client.wait_ready(Duration::from_secs(5)).await.unwrap();
    let script = "id; pwd; ls -la . / /dev /proc/self/fd; cat file; echo changed > file; mount; cat /proc/self/status; ip a; cat /proc/meminfo /proc/self/cgroup; hostname; python3 --version; git --version";
    let (text, exit) = run(&client, script).await;
    println!("{text}");
    println!("{:?}", backend.observe(&id).await);
    assert_eq!(exit, Exit::Code(0), "{text}");
    assert_eq!(std::fs::read_to_string(work.path().join("file")).unwrap(), "mine");
    backend.freeze(&id).await.unwrap();
    backend.thaw(&id).await.unwrap();
    backend.destroy(&id).await.unwrap();
    let reader = backend.read_changes(&id).await.unwrap();
    let client = Client::new(reader.guest_socket.clone());
    client.wait_ready(Duration::from_secs(5)).await.unwrap();
    let mut changes = client.changes().await.unwrap();
    while let Some(change) = changes.next().await.unwrap() {
        println!("{change:?}");
    }
    drop(reader);
    backend.remove_files(&id).await.unwrap();
    backend.stop();
}
