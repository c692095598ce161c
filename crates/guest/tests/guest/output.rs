//! Output: whole, in order, once, whatever happens to the host.

use crate::alone::{Alone, DEADLINE, bytes, eventually, exit, read_until, records, shell, text};
use guest_protocol::{ErrorKind, Exit, Framing, MAX_DATA_BYTES, MAX_UNACKNOWLEDGED_BYTES, Payload, Stream};
use std::time::Instant;
use tokio::time::timeout;

#[tokio::test]
async fn both_streams_arrive_with_their_names() {
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&shell("x", "echo out; echo err >&2"))
        .await
        .unwrap();
    let records = records(&guest.client, "x", 0).await;
    assert_eq!(text(&records, Stream::Stdout), "out\n");
    assert_eq!(text(&records, Stream::Stderr), "err\n");
    assert_eq!(exit(&records), Exit::Code(0));
    assert!(
        records
            .iter()
            .map(|record| record.seq)
            .eq(1..=records.len() as u64)
    );
}

#[tokio::test]
async fn lines_are_records_and_bytes_that_are_no_text_survive() {
    let guest = Alone::start().await;
    let mut spawn = shell("x", r"printf 'one\n\ntwo\377\000\nlast'; printf 'err\nerr' >&2");
    spawn.framing = Framing::Lines;
    guest.client.spawn(&spawn).await.unwrap();
    let records = records(&guest.client, "x", 0).await;
    let mut lines = Vec::new();
    for record in &records {
        match &record.payload {
            Payload::Output(data) if data.stream == Stream::Stdout => lines.push(data.clone().into_bytes()),
            _ => {}
        }
    }
    assert_eq!(lines, [&b"one"[..], b"", b"two\xff\0", b"last"]);
    assert_eq!(text(&records, Stream::Stderr), "err\nerr");
}

#[tokio::test]
async fn a_line_longer_than_a_record_is_cut_and_says_so() {
    let guest = Alone::start().await;
    let extra = 1_000_000;
    let mut spawn = shell(
        "x",
        &format!("head -c {} /dev/zero; echo; echo next", MAX_DATA_BYTES + extra),
    );
    spawn.framing = Framing::Lines;
    guest.client.spawn(&spawn).await.unwrap();
    let records = records(&guest.client, "x", 0).await;
    let Payload::Output(long) = records[0].payload.clone() else {
        panic!("{:?}", records[0].seq)
    };
    assert_eq!(long.cut_bytes, extra as u64);
    assert_eq!(long.into_bytes().len(), MAX_DATA_BYTES);
    let Payload::Output(next) = records[1].payload.clone() else {
        panic!("{:?}", records[1].seq)
    };
    assert_eq!((next.cut_bytes, next.into_bytes()), (0, b"next".to_vec()));
    eventually("the memory of the long line is given back", || {
        guest.memory("VmRSS") < 4096
    })
    .await;
}

#[tokio::test]
async fn a_host_that_comes_back_gets_what_it_has_not_stored() {
    let guest = Alone::start().await;
    let mut spawn = shell(
        "x",
        "for i in 1 2 3 4 5; do echo line $i; done; read wait; echo line 6",
    );
    spawn.framing = Framing::Lines;
    guest.client.spawn(&spawn).await.unwrap();
    {
        let client = guest.again();
        let mut stream = client.output("x", 0, true).await.unwrap();
        for seq in 1..=3 {
            assert_eq!(stream.next().await.unwrap().unwrap().seq, seq);
        }
        client.ack("x", 2).await.unwrap();
        // The host dies here, with the third record read and not stored.
    }
    let client = guest.again();
    let error = client.output("x", 1, false).await.err().unwrap();
    assert_eq!(error.kind(), Some(ErrorKind::Conflict), "{error}");
    client
        .input("x", 1, bytes::Bytes::from_static(b"\n"), false)
        .await
        .unwrap();
    let rest = records(&client, "x", 2).await;
    assert_eq!(
        rest.iter().map(|record| record.seq).collect::<Vec<_>>(),
        [3, 4, 5, 6, 7]
    );
    assert_eq!(text(&rest, Stream::Stdout), "line 3line 4line 5line 6");
    assert_eq!(records(&client, "x", 6).await.len(), 1, "again, from anywhere");

    let mut stream = client.output("x", 7, true).await.unwrap();
    let end = timeout(DEADLINE, stream.next()).await.unwrap();
    assert!(end.is_err(), "after the exit nothing comes: {end:?}");
    for seq in [8, 99, u64::MAX] {
        let error = client.output("x", seq, false).await.err().unwrap();
        assert_eq!(error.kind(), Some(ErrorKind::InvalidRequest));
        assert_eq!(
            client.ack("x", seq).await.unwrap_err().kind(),
            Some(ErrorKind::InvalidRequest)
        );
    }
}

#[tokio::test]
async fn output_without_following_ends_where_it_is() {
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&shell("x", "echo here; exec sleep 1000"))
        .await
        .unwrap();
    read_until(&guest.client, "x", "here").await;
    let mut stream = guest.client.output("x", 0, false).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().seq, 1);
    assert!(stream.next().await.unwrap().is_none());
    let mut stream = guest.client.output("x", 1, false).await.unwrap();
    assert!(stream.next().await.unwrap().is_none());
}

#[tokio::test]
async fn the_exit_does_not_wait_for_a_background_process_and_does_not_kill_it() {
    let guest = Alone::start().await;
    let script =
        "(while [ ! -e go ]; do sleep 0.01; done; echo late; echo late >&2; echo alive > alive) & echo first";
    let started = Instant::now();
    let (output, exit) = guest.shell("x", script).await;
    assert_eq!((output.as_str(), exit), ("first\n", Exit::Code(0)));
    assert!(started.elapsed() < DEADLINE / 2);
    std::fs::write(guest.path("go"), "").unwrap();
    eventually("it lives on", || {
        std::fs::read_to_string(guest.path("alive")).is_ok_and(|text| text == "alive\n")
    })
    .await;
    assert_eq!(
        guest.client.process("x").await.unwrap().next_seq,
        3,
        "what comes late is dropped"
    );
}

#[tokio::test]
async fn everything_that_was_written_before_the_exit_comes_before_it() {
    let guest = Alone::start().await;
    for round in 0..20 {
        let id = format!("x{round}");
        // The background process holds the pipe, so only the rules of draining end this.
        guest
            .client
            .spawn(&shell(&id, "sleep 1000 & head -c 65000 /dev/zero"))
            .await
            .unwrap();
        let records = records(&guest.client, &id, 0).await;
        assert_eq!(bytes(&records, Stream::Stdout).len(), 65000);
        guest.client.remove(&id).await.unwrap();
    }
}

#[tokio::test]
async fn a_background_process_that_never_stops_writing_does_not_hold_the_exit() {
    let guest = Alone::start().await;
    let script = "yes & sleep 0.05; exit 5";
    guest.client.spawn(&shell("x", script)).await.unwrap();
    let mut stream = guest.client.output("x", 0, true).await.unwrap();
    let exit = loop {
        let record = timeout(DEADLINE, stream.next()).await.expect("the process ends");
        let record = record.unwrap().unwrap();
        if let Payload::Exit(exit) = record.payload {
            break exit;
        }
        // Without it the process would wait for room, and its end with it.
        guest.client.ack("x", record.seq).await.unwrap();
    };
    assert_eq!(exit, Exit::Code(5));
    guest.client.remove("x").await.unwrap();
}

#[tokio::test]
async fn five_hundred_megabytes_pass_through_little_memory() {
    const TOTAL: usize = 500 << 20;
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&shell("x", &format!("yes 0123456789abcde | head -c {TOTAL}")))
        .await
        .unwrap();
    let mut stream = guest.client.output("x", 0, true).await.unwrap();
    let (mut total, mut unacked) = (0, 0);
    loop {
        let record = timeout(DEADLINE, stream.next())
            .await
            .expect("output goes on")
            .unwrap()
            .unwrap();
        let Payload::Output(data) = record.payload else {
            break;
        };
        let text = data.text.unwrap();
        let expected = "0123456789abcde\n".as_bytes();
        assert!(
            text.bytes()
                .zip(total..)
                .step_by(97)
                .all(|(byte, at)| byte == expected[at % 16])
        );
        total += text.len();
        unacked += text.len();
        if unacked > 1 << 20 {
            guest.client.ack("x", record.seq).await.unwrap();
            unacked = 0;
        }
    }
    assert_eq!(total, TOTAL);
    assert!(guest.memory("VmHWM") < 6 << 10, "{} KiB", guest.memory("VmHWM"));
}

#[tokio::test]
async fn a_process_that_nobody_reads_waits_and_loses_nothing() {
    const TOTAL: usize = 100 << 20;
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&shell(
            "x",
            &format!("head -c {TOTAL} /dev/zero | tr '\\0' z; echo done > done"),
        ))
        .await
        .unwrap();
    let mut before = 0;
    loop {
        let now = guest.client.process("x").await.unwrap().next_seq;
        if now == before && now > MAX_UNACKNOWLEDGED_BYTES / (64 << 10) {
            break;
        }
        before = now;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(
        !crate::alone::exists(&guest.work().join("done")),
        "it waits for the host"
    );
    assert!(guest.memory("VmHWM") < 6 << 10, "{} KiB", guest.memory("VmHWM"));
    assert_eq!(guest.client.health().await.unwrap().processes, 1);

    let mut stream = guest.client.output("x", 0, true).await.unwrap();
    let mut total = 0;
    loop {
        let record = timeout(DEADLINE, stream.next())
            .await
            .expect("it goes on")
            .unwrap()
            .unwrap();
        guest.client.ack("x", record.seq).await.unwrap();
        match record.payload {
            Payload::Output(data) => {
                let bytes = data.into_bytes();
                assert!(bytes.iter().all(|byte| *byte == b'z'));
                total += bytes.len();
            }
            Payload::Exit(exit) => {
                assert_eq!(exit, Exit::Code(0));
                break;
            }
        }
    }
    assert_eq!(total, TOTAL);
    let fds = format!("/proc/{}/fd", guest.child.id());
    let outbox = std::fs::read_dir(fds).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        std::fs::read_link(&path)
            .is_ok_and(|target| target.ends_with("guest.outbox (deleted)"))
            .then_some(path)
    });
    assert_eq!(
        std::fs::metadata(outbox.unwrap()).unwrap().len(),
        0,
        "the outbox gave its space back"
    );
}

#[tokio::test]
async fn many_small_lines_stay_within_the_limits() {
    let guest = Alone::start().await;
    let mut spawn = shell("x", "seq 1 300000");
    spawn.framing = Framing::Lines;
    guest.client.spawn(&spawn).await.unwrap();
    let all = records(&guest.client, "x", 0).await;
    assert_eq!(all.len(), 300_001);
    for (record, number) in all.iter().zip(1..=300_000) {
        let Payload::Output(data) = &record.payload else {
            panic!("{record:?}")
        };
        assert_eq!(data.text.as_deref(), Some(number.to_string().as_str()));
    }
    assert!(guest.memory("VmHWM") < 6 << 10, "{} KiB", guest.memory("VmHWM"));
}
