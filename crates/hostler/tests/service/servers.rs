//! Servers that come and go while their sandboxes go on.

use crate::place::{Place, Sandbox, run, until};
use guest_protocol::Exit;
use sandbox::{Backend as _, Error};

#[tokio::test]
async fn a_sandbox_goes_on_when_its_server_goes_and_the_next_one_is_given_it() {
    let place = Place::new();
    let (backend, there) = place.connect().await;
    assert_eq!(there, []);
    let sandbox = place.create(&backend).await.proven().await;
    sandbox.sh("echo kept > /workspace/file").await;
    let id = sandbox.id.clone();
    backend.leave();
    drop((backend, sandbox.listeners));

    let (backend, there) = place.connect().await;
    assert_eq!(there, std::slice::from_ref(&id));
    assert_eq!(backend.survivors().await.unwrap(), std::slice::from_ref(&id));
    let attached = backend.attach(&id).await.unwrap();
    let again = Sandbox::of(&id, attached).await.proven().await;
    assert_eq!(again.sh("cat /workspace/file").await, "kept\n");
    assert!(backend.observe(&id).await.unwrap().alive);
    backend.destroy(&id).await.unwrap();
    assert!(matches!(backend.attach(&id).await, Err(Error::NotFound { .. })));
    assert_eq!(backend.survivors().await.unwrap(), []);
}

#[tokio::test]
async fn who_connects_while_no_server_is_there_waits_for_the_next_one() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let sandbox = place.create(&backend).await;
    backend.leave();
    drop((backend, sandbox.listeners));

    let program = "import socket\ns = socket.create_connection(('127.0.0.2', 80), 30)\nprint('connected', flush=True)\n\
                   s.sendall(b'ping')\nassert s.recv(4) == b'pong'";
    let words = ["/usr/bin/python3", "-c", program];
    let waiting = run(&sandbox.client, &words);
    let serving = async {
        let (backend, _) = place.connect().await;
        let attached = backend.attach(&sandbox.id).await.unwrap();
        let gateway = std::net::TcpListener::from(attached.listeners.gateway);
        let gateway = tokio::net::TcpListener::from_std(gateway).unwrap();
        let (mut stream, _) = gateway.accept().await.unwrap();
        let mut word = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut word)
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"pong")
            .await
            .unwrap();
    };
    let ((text, exit), ()) = tokio::join!(waiting, serving);
    assert_eq!((text.as_str(), exit), ("connected\n", Exit::Code(0)));
}

#[tokio::test]
async fn the_newest_server_is_served_and_the_older_one_hears_of_it() {
    let place = Place::new();
    let (older, _) = place.connect().await;
    let sandbox = place.create(&older).await;
    let (newer, there) = place.connect().await;
    assert_eq!(there, std::slice::from_ref(&sandbox.id));
    let attached = newer.attach(&sandbox.id).await.unwrap();
    Sandbox::of(&sandbox.id, attached).await;
    let refused = older.observe(&sandbox.id).await;
    assert!(
        matches!(&refused, Err(Error::BackendLost { reason }) if reason.contains("taken over")),
        "{refused:?}"
    );
    // It does not come back: the newer one is still served.
    assert!(newer.observe(&sandbox.id).await.unwrap().alive);
}

#[tokio::test]
async fn a_reader_of_changes_goes_with_the_server_that_reads() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let sandbox = place.create(&backend).await;
    sandbox.sh("echo new > /workspace/file").await;
    backend.destroy(&sandbox.id).await.unwrap();
    let reader = backend.read_changes(&sandbox.id).await.unwrap();
    let socket = reader.guest_socket.clone();
    assert!(socket.exists());
    backend.leave();
    until("the reader is gone", || !socket.exists()).await;
    let (backend, there) = place.connect().await;
    assert_eq!(there, []);
    drop(backend.read_changes(&sandbox.id).await.unwrap());
}

#[tokio::test]
async fn a_request_that_the_jailer_does_not_know_is_answered() {
    use jailer::protocol::{Envelope, FailureKind, Hello, Limits, Reply, VERSION, Welcome};
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let greet = |version| {
        let channel = channel::connect(&place.path().join("jailer.sock")).unwrap();
        let hello = Hello {
            version,
            instance: "inst".to_owned(),
            data: "/".into(),
            image: "/".into(),
            shells: 0,
            disks: 0,
            limits: Limits {
                cpu_millis: 1000,
                memory_bytes: 1 << 30,
                disk_bytes: 1 << 30,
                pids: 100,
            },
        };
        channel::send(&channel, &hello, &[]).unwrap();
        let (welcome, _) = channel::receive::<Welcome>(&channel).unwrap();
        (channel, welcome)
    };
    for version in [VERSION - 1, VERSION + 1] {
        let (channel, welcome) = greet(version);
        assert_eq!((welcome.version, welcome.refused), (VERSION, None));
        let request = serde_json::json!({"number": 7, "body": {"dance": {"id": "sbx_1"}}});
        channel::send(&channel, &request, &[]).unwrap();
        let (answer, _) = channel::receive::<Envelope<Reply>>(&channel).unwrap();
        assert_eq!(answer.number, 7);
        assert!(
            matches!(
                answer.body,
                Reply::Failed {
                    kind: FailureKind::Request,
                    ..
                }
            ),
            "{answer:?}"
        );
    }
    let (_, welcome) = greet(VERSION + 2);
    assert!(welcome.refused.unwrap().contains("version"));
    drop(backend);
}

#[tokio::test]
async fn stopping_ends_every_sandbox_the_jailer_and_who_watches_over_it() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let sandboxes = [place.create(&backend).await, place.create(&backend).await];
    let stopping = backend.clone();
    tokio::task::spawn_blocking(move || stopping.stop())
        .await
        .unwrap();
    for sandbox in &sandboxes {
        assert!(sandbox.client.health().await.is_err());
    }
    let data = place.path();
    until("nobody is left", || {
        crate::left::Left::of(&data, &[place.instance()]) == crate::left::Left::default()
    })
    .await;
    assert!(!data.join("jailer.sock").exists());
    assert!(matches!(
        backend.observe(&sandboxes[0].id).await,
        Err(Error::BackendLost { .. })
    ));
    // Their files stayed.
    let (backend, there) = place.connect().await;
    assert_eq!(there, []);
    drop(backend.read_changes(&sandboxes[0].id).await.unwrap());
}
