//! Programs on a pseudo-terminal.

use crate::alone::{Alone, DEADLINE, exit, program, read_until, records, shell, text};
use bytes::Bytes;
use guest_protocol::{ErrorKind, Exit, Spawn, Stdio, Stream, TerminalSize};
use tokio::time::timeout;

fn terminal(spawn: Spawn) -> Spawn {
    Spawn {
        stdio: Stdio::Terminal(TerminalSize {
            rows: 24,
            columns: 80,
        }),
        ..spawn
    }
}

#[tokio::test]
async fn a_terminal_echoes_has_a_size_and_takes_another() {
    let guest = Alone::start().await;
    let script = "trap 'stty size' WINCH; stty size; tty <&0 >/dev/null && echo tty; while :; do read line && echo got $line; done";
    guest.client.spawn(&terminal(shell("x", script))).await.unwrap();
    read_until(&guest.client, "x", "24 80\r\ntty\r\n").await;
    guest
        .client
        .input("x", 1, Bytes::from_static(b"hello\n"), false)
        .await
        .unwrap();
    read_until(&guest.client, "x", "hello\r\ngot hello\r\n").await;
    guest
        .client
        .resize(
            "x",
            TerminalSize {
                rows: 50,
                columns: 132,
            },
        )
        .await
        .unwrap();
    guest
        .client
        .input("x", 2, Bytes::from_static(b"\n"), false)
        .await
        .unwrap();
    read_until(&guest.client, "x", "50 132\r\n").await;
    // The terminal's interrupt character.
    guest
        .client
        .input("x", 3, Bytes::from_static(b"\x03"), false)
        .await
        .unwrap();
    assert_eq!(exit(&records(&guest.client, "x", 0).await), Exit::Signal(2));
}

#[tokio::test]
async fn the_end_of_input_ends_a_reader_on_a_terminal() {
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&terminal(program("x", &["cat"])))
        .await
        .unwrap();
    guest
        .client
        .input("x", 1, Bytes::from_static(b"line\n"), true)
        .await
        .unwrap();
    let records = records(&guest.client, "x", 0).await;
    assert_eq!(
        text(&records, Stream::Stdout).replace("^D\u{8}\u{8}", ""),
        "line\r\nline\r\n"
    );
    assert_eq!(exit(&records), Exit::Code(0));
}

#[tokio::test]
async fn the_terminal_is_the_controlling_one() {
    let guest = Alone::start().await;
    guest
        .client
        .spawn(&terminal(shell("x", "echo through > /dev/tty")))
        .await
        .unwrap();
    let records = timeout(DEADLINE, records(&guest.client, "x", 0)).await.unwrap();
    assert_eq!(text(&records, Stream::Stdout), "through\r\n");
}

#[tokio::test]
async fn only_a_terminal_can_be_resized() {
    let guest = Alone::start().await;
    guest.client.spawn(&program("x", &["cat"])).await.unwrap();
    let error = guest
        .client
        .resize("x", TerminalSize { rows: 1, columns: 1 })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::InvalidRequest));
}
