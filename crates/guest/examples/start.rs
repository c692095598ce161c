//! How long a guest takes from its exec to its first answer, and how much memory it has then. The socket listens before
//! the guest is started, as in a sandbox.
//!
//! `cargo run --release -p guest --example start -- target/x86_64-unknown-linux-gnu/release/guest-alone`

#![expect(clippy::print_stdout, reason = "this prints what it measured")]

use guest_protocol::{Client, Spawn};
use std::error::Error;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 300;

fn main() -> Result<(), Box<dyn Error>> {
    let guest = std::env::args_os().nth(1).ok_or("which guest-alone?")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut healths, mut spawns, mut truths, mut resident) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let mut truth = Command::new("/bin/true").spawn()?;
        truth.wait()?;
        truths.push(started.elapsed());

        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("socket");
        let listener = OwnedFd::from(UnixListener::bind(&socket)?);
        let started = Instant::now();
        let mut child = Command::new(&guest)
            .arg("-")
            .arg(directory.path())
            .stdin(Stdio::from(listener))
            .spawn()?;
        let client = Client::new(&socket);
        runtime.block_on(client.wait_ready(Duration::from_secs(10)))?;
        healths.push(started.elapsed());
        resident = runtime.block_on(client.stats())?.guest_resident_bytes;

        let spawn: Spawn = serde_json::from_str(r#"{"id":"x","argv":["/bin/true"]}"#)?;
        let started = Instant::now();
        runtime.block_on(async {
            client.spawn(&spawn).await?;
            let mut output = client.output("x", 0, true).await?;
            while output.next().await?.is_some() {}
            Ok::<_, guest_protocol::ClientError>(())
        })?;
        spawns.push(started.elapsed());
        child.kill()?;
        child.wait()?;
    }
    println!("start and wait for /bin/true:    {}", middle(truths));
    println!("exec to the first health answer: {}", middle(healths));
    println!("spawn of /bin/true to its exit:  {}", middle(spawns));
    println!("resident: {} KiB", resident >> 10);
    Ok(())
}

fn middle(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    format!(
        "p50 {:?}, p95 {:?}, least {:?}",
        times[ROUNDS / 2],
        times[ROUNDS * 95 / 100],
        times[0]
    )
}
