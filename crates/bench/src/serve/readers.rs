//! Many readers of one session: how late each is, what each weighs in the server, and what readers that do not read
//! change for the others and for the agent.

use super::Bench;
use super::events::{Lag, all, first_result, lags};
use super::scene::{Scene, works};
use crate::memory;
use crate::report::Unit;
use stage::{Api, Failure, Following, Setup};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Before each command.
const THINKS: Duration = Duration::from_millis(250);
/// Some KiB, and the time last.
const PRINT: &str = "printf 'x%.0s' {1..2000}; echo \" $EPOCHREALTIME\"";
const MEASURED: Duration = Duration::from_secs(20);
/// As long as the buffers of a reader that does not read take to be full.
const FILLS: Duration = Duration::from_secs(20);
const SLOW: usize = 20;
const SLOW_BUFFER: u32 = 4096;

impl Bench<'_> {
    pub(super) async fn readers(&mut self) -> Result<(), Failure> {
        let count = self.options.readers;
        self.progress.at("readers of one session");
        let scene = Scene::open(self.program, &works(PRINT, THINKS), Setup::POOL, count).await?;
        let session = scene.client(0).session(&scene.made, Some("work")).await?;
        let mut first = Following::open(scene.client(0), &session, None).await?;
        first_result(&mut first).await?;
        let resident = || scene.server().and_then(memory::resident_bytes).unwrap_or(0);
        let alone = read(vec![first]).await?;
        let before = resident();
        let following = self.open(&scene, &session).await?;
        let together = read(following).await?;
        let weighs = resident().saturating_sub(before) / count as u64;

        let slow = do_not_read(scene.client(0), &session).await?;
        tokio::time::sleep(FILLS).await;
        let following = self.open(&scene, &session).await?;
        let beside = read(following).await?;
        drop(slow);
        scene.end().await?;
        let all = format!("event to each of {count} readers of a session");
        for (row, (lags, readers)) in [
            ("event to the one reader of a session".to_owned(), (alone, 1)),
            (all.clone(), (together, count)),
            (format!("{all}, beside {SLOW} that do not read"), (beside, count)),
        ] {
            let printed: Vec<Duration> = lags.iter().map(|lag| lag.printed).collect();
            let rate = printed.len() as f64 / readers as f64 / MEASURED.as_secs_f64() * 60.0;
            self.report.add_series(row.clone(), &printed);
            self.report
                .add_amount(format!("calls in a minute: {row}"), rate as u64, Unit::Count);
        }
        self.report
            .add_amount("serve, for one more reader", weighs, Unit::Bytes);
        Ok(())
    }

    async fn open(&self, scene: &Scene, session: &str) -> Result<Vec<Following>, Failure> {
        let mut open = Vec::new();
        for number in 0..self.options.readers {
            open.push(Following::open(scene.client(number), session, None).await?);
            self.progress.step(number as u64 + 1, self.options.readers as u64);
        }
        Ok(open)
    }
}

/// What all of them see in a while.
async fn read(following: Vec<Following>) -> Result<Vec<Lag>, Failure> {
    let (measuring, measures) = watch::channel(false);
    let mut readers = JoinSet::new();
    for following in following {
        readers.spawn(lags(following, measures.clone()));
    }
    measuring.send_replace(true);
    tokio::time::sleep(MEASURED).await;
    drop(measuring);
    all(readers).await
}

/// Readers that ask and take nothing.
async fn do_not_read(api: &Api, session: &str) -> Result<Vec<TcpStream>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Stream {
        session: session.to_owned(),
        reason: error.to_string(),
    };
    let address = api.url().trim_start_matches("http://");
    let address = address.parse().map_err(|error| failed(&error))?;
    let request = format!(
        "GET /v1/sessions/{session}/events/stream HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n\r\n",
        api.key()
    );
    let mut open = Vec::new();
    for _ in 0..SLOW {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(SLOW_BUFFER)?;
            let mut stream = socket.connect(address).await?;
            stream.write_all(request.as_bytes()).await?;
            Ok::<_, std::io::Error>(stream)
        };
        open.push(connect.await.map_err(|error| failed(&error))?);
    }
    Ok(open)
}
