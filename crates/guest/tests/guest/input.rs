//! Input: each number once, in order.

use crate::alone::{Alone, exit, program, read_until, records, shell, text};
use bytes::Bytes;
use guest_protocol::{ErrorKind, Exit, Stream};
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn a_number_that_was_seen_is_dropped_and_one_that_was_skipped_is_refused() {
    let guest = Alone::start().await;
    guest.client.spawn(&program("x", &["cat"])).await.unwrap();
    let one = Bytes::from_static(b"one ");
    assert_eq!(
        guest
            .client
            .input("x", 1, one.clone(), false)
            .await
            .unwrap()
            .next_input_seq,
        2
    );
    assert_eq!(
        guest
            .again()
            .input("x", 1, one, false)
            .await
            .unwrap()
            .next_input_seq,
        2
    );
    let error = guest
        .client
        .input("x", 3, Bytes::from_static(b"three"), false)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Conflict));
    guest
        .client
        .input("x", 2, Bytes::from_static(b"two"), true)
        .await
        .unwrap();
    assert_eq!(
        guest
            .client
            .input("x", 2, Bytes::from_static(b"two"), true)
            .await
            .unwrap()
            .next_input_seq,
        3
    );
    let records = records(&guest.client, "x", 0).await;
    assert_eq!(text(&records, Stream::Stdout), "one two");
    assert_eq!(exit(&records), Exit::Code(0));
    let error = guest
        .client
        .input("x", 3, Bytes::from_static(b"late"), false)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Conflict));
}

#[tokio::test]
async fn a_large_input_waits_for_the_process_and_goes_on_where_it_stopped() {
    let guest = Alone::start().await;
    // Reads nothing until it is told to.
    let script = "while [ ! -e go ]; do sleep 0.01; done; cksum";
    guest.client.spawn(&shell("x", script)).await.unwrap();
    let data: Bytes = (0..3_000_000_u32)
        .map(|number| (number / 7) as u8)
        .collect::<Vec<u8>>()
        .into();
    for _ in 0..3 {
        // The host gives up in the middle, with a part of it in the pipe.
        let client = guest.again();
        let cut = timeout(
            Duration::from_millis(100),
            client.input("x", 1, data.clone(), true),
        )
        .await;
        assert!(cut.is_err(), "the pipe is full");
    }
    assert_eq!(guest.client.process("x").await.unwrap().next_input_seq, 1);
    std::fs::write(guest.path("go"), "").unwrap();
    guest.client.input("x", 1, data.clone(), true).await.unwrap();
    let whole = text(&records(&guest.client, "x", 0).await, Stream::Stdout);

    std::fs::write(guest.path("data"), &data).unwrap();
    let (expected, _) = guest.shell("y", "cksum < data").await;
    assert_eq!(whole, expected);
}

#[tokio::test]
async fn input_that_a_process_no_longer_takes_is_refused() {
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&shell("x", "exec <&-; echo closed; sleep 1000"))
        .await
        .unwrap();
    read_until(&guest.client, "x", "closed").await;
    let error = guest
        .client
        .input("x", 1, Bytes::from_static(b"x"), false)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Conflict), "{error}");
    guest.client.remove("x").await.unwrap();
}
