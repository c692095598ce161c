//! temporary
#![allow(clippy::unwrap_used, clippy::print_stdout)]
use domain::{InstanceId, Limits, SandboxId};
use guest_protocol::{Client, Payload, Spawn};
use sandbox::{Backend as _, Spec, Workspace};
use sandbox_linux::{LinuxBackend, Options};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn probe() {
    for pool in [0, 8] {
        let data = tempfile::tempdir().unwrap();
        let work = tempfile::tempdir().unwrap();
        let backend = LinuxBackend::start(&Options {
            program: env!("CARGO_BIN_EXE_hostler").into(), data: data.path().into(), instance: InstanceId::random(), pool, limits: Limits::default(),
        }).unwrap();
        let mut times = vec![]; let mut created_t = vec![]; let mut destroy_t = vec![];
        for i in 0..150 {
            if pool > 0 { tokio::time::sleep(Duration::from_millis(30)).await; }
            let id = SandboxId::random();
            let workspace = Workspace { path: work.path().canonicalize().unwrap(), masked: Vec::new() };
            let spec = Spec { id: id.clone(), limits: Limits::default(), workspace: Some(workspace), egress_ports: vec![] };
            let t = Instant::now();
            let created = backend.create(&spec).await.unwrap();
            let c = t.elapsed();
            let client = Client::new(created.guest_socket.clone());
            let spawn = Spawn { id: "p".into(), argv: vec!["/bin/true".into()], env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(), cwd: None,
                stdio: guest_protocol::Stdio::Pipes, framing: guest_protocol::Framing::Chunks };
            client.spawn(&spawn).await.unwrap();
            let mut output = client.output("p", 0, true).await.unwrap();
            while let Some(record) = output.next().await.unwrap() { if let Payload::Exit(_) = record.payload { break; } }
            let total = t.elapsed();
            let t = Instant::now();
            backend.destroy(&id).await.unwrap();
            let d = t.elapsed();
            backend.remove_files(&id).await.unwrap();
            if i >= 20 { times.push(total); created_t.push(c); destroy_t.push(d); }
        }
        for (n, v) in [("created", &mut created_t), ("total", &mut times), ("destroy", &mut destroy_t)] { v.sort(); println!("pool {pool} {n}: min {:?} p50 {:?} p95 {:?}", v[0], v[v.len()/2], v[v.len()*95/100]); }
        backend.stop();
    }
}
