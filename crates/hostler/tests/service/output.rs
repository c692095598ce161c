//! What an agent says while its host is gone, and what it is told by two hosts, one after the other.

use crate::place::{DEADLINE, Place, Sandbox, options, spawn, until};
use domain::SandboxId;
use guest_protocol::client::OutputStream;
use guest_protocol::{Framing, OutputRecord, Payload};
use sandbox::Backend as _;
use sandbox_linux::LinuxBackend;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Set for a process that plays a server to be killed: the data directory.
const DATA: &str = "HOSTLER_TEST_SERVER";
const PROCESS: &str = "talker";
/// Counts on and on, and repeats each line it is told.
const TALKER: &str = "
import sys, threading
def hear():
    for line in sys.stdin:
        print('heard ' + line, end='', flush=True)
threading.Thread(target=hear, daemon=True).start()
number = 0
while True:
    number += 1
    print('said', number, flush=True)
";
/// Records that the first server takes before it is killed.
const FIRST: u64 = 3000;
/// And the second one.
const SECOND: u64 = 20_000;

/// What came, checked as it comes: each number once, each word in its order.
#[derive(Default)]
struct Heard {
    seq: u64,
    said: u64,
    told: u64,
}

impl Heard {
    fn take(&mut self, record: &OutputRecord) {
        assert_eq!(record.seq, self.seq + 1, "a record is missing or comes twice");
        self.seq = record.seq;
        let Payload::Output(data) = &record.payload else {
            panic!("it ended: {record:?}");
        };
        let text = String::from_utf8(data.clone().into_bytes()).unwrap();
        self.line(text.trim());
    }

    fn line(&mut self, line: &str) {
        let (kind, number) = line.split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        match kind {
            "said" => {
                assert_eq!(number, self.said + 1);
                self.said = number;
            }
            "heard" => {
                assert_eq!(number, self.told + 1);
                self.told = number;
            }
            _ => panic!("{line}"),
        }
    }
}

async fn next(output: &mut OutputStream) -> OutputRecord {
    let next = tokio::time::timeout(DEADLINE, output.next()).await;
    next.expect("no output comes").unwrap().expect("the output ended")
}

/// Not a test by itself: the server that is killed, in a process of its own. It prints what it has stored.
#[tokio::test]
async fn a_server_that_is_killed() {
    let Some(data) = std::env::var_os(DATA).map(PathBuf::from) else {
        return;
    };
    let backend = tokio::task::spawn_blocking(move || LinuxBackend::connect(&options(&data)))
        .await
        .unwrap()
        .unwrap()
        .0;
    let place = Place::new();
    let sandbox = place.create(&backend).await;
    println!("\nsandbox {}", sandbox.id);
    let argv = ["/usr/bin/python3", "-c", TALKER];
    let client = &sandbox.client;
    client
        .spawn(&spawn(PROCESS, &argv, Framing::Lines))
        .await
        .unwrap();
    let mut output = client.output(PROCESS, 0, true).await.unwrap();
    let mut told = 0;
    loop {
        let record = next(&mut output).await;
        let Payload::Output(data) = record.payload else {
            panic!("it ended")
        };
        // What was printed was stored; only then is it acknowledged.
        println!(
            "record {} {}",
            record.seq,
            String::from_utf8(data.into_bytes()).unwrap().trim()
        );
        client.ack(PROCESS, record.seq).await.unwrap();
        if record.seq % 100 == 0 {
            told += 1;
            println!("tell {told}");
            let input = format!("{told}\n").into();
            client.input(PROCESS, told, input, false).await.unwrap();
        }
    }
}

#[tokio::test]
async fn output_and_input_go_on_where_a_killed_server_was() {
    let place = Place::new();
    let mut server = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "output::a_server_that_is_killed", "--nocapture"])
        .env(DATA, place.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let (mut heard, mut sandbox, mut told) = (Heard::default(), None, 0);
    // To its last word: what it printed, it had.
    while let Some(line) = tokio::time::timeout(DEADLINE, lines.next_line())
        .await
        .expect("the server is silent")
        .unwrap()
    {
        let words: Vec<_> = line.splitn(3, ' ').collect();
        match words.as_slice() {
            ["sandbox", id] => sandbox = Some(id.parse::<SandboxId>().unwrap()),
            ["tell", number] => told = number.parse().unwrap(),
            ["record", seq, text] => {
                assert_eq!(seq.parse::<u64>().unwrap(), heard.seq + 1);
                heard.seq += 1;
                heard.line(text);
                if heard.seq == FIRST {
                    server.start_kill().unwrap();
                }
            }
            _ => {}
        }
    }
    assert!(heard.seq >= FIRST && told > 0);
    let sandbox = sandbox.unwrap();

    let (backend, there) = place.connect().await;
    assert_eq!(there, std::slice::from_ref(&sandbox));
    let attached = backend.attach(&sandbox).await.unwrap();
    let again = Sandbox::of(&sandbox, attached).await;
    let client = &again.client;
    let mut output = client.output(PROCESS, heard.seq, true).await.unwrap();
    // It may have been taken before the kill or not; sent again it is taken once.
    for number in told..told + 10 {
        let input = format!("{number}\n").into();
        let ack = client.input(PROCESS, number, input, false).await.unwrap();
        assert_eq!(ack.next_input_seq, number + 1);
    }
    let last = heard.seq + SECOND;
    while heard.seq < last || heard.told < told + 9 {
        heard.take(&next(&mut output).await);
        if heard.seq % 500 == 0 {
            client.ack(PROCESS, heard.seq).await.unwrap();
        }
    }
    assert_eq!(heard.told, told + 9);
    // Whoever asks for what was acknowledged is told that it is gone.
    client.ack(PROCESS, heard.seq).await.unwrap();
    assert!(client.output(PROCESS, 1, true).await.is_err());
    drop(output);
    until("the jailer serves", || place.jailer().is_some()).await;
}
