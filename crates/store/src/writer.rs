//! The one writer. What waits for it goes into one commit, so that many appends share one fsync.
//!
//! Each job runs in a savepoint: a job that fails leaves nothing and does not touch its neighbours. Nobody is answered
//! before the commit is on the disk; if the commit fails, everybody in it is told so.

use crate::error::{Error, is_disk_full};
use sqlx::{Connection, SqliteConnection};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

/// Jobs that may wait; whoever comes next waits to enter.
const QUEUE: usize = 1024;
/// Jobs in one commit, so that the first of them does not wait for ever.
const COMMIT: usize = 512;

pub(crate) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;
type Answer = Box<dyn FnOnce(Result<(), CommitFailed>) + Send>;
/// Gets no connection where there is no transaction to work in, and then only has its answer.
type Job = Box<dyn for<'c> FnOnce(Option<&'c mut SqliteConnection>) -> Running<'c> + Send>;
type Running<'c> = Pin<Box<dyn Future<Output = Ran> + Send + 'c>>;

struct Ran {
    answer: Answer,
    /// Why the whole transaction is gone, and with it what earlier jobs wrote.
    lost: Option<CommitFailed>,
}

/// Why a commit failed; cloned for everybody in it.
#[derive(Debug, Clone)]
enum CommitFailed {
    DiskFull,
    Otherwise(String),
}

impl From<sqlx::Error> for CommitFailed {
    fn from(error: sqlx::Error) -> Self {
        if is_disk_full(&error) {
            Self::DiskFull
        } else {
            Self::Otherwise(error.to_string())
        }
    }
}

impl From<CommitFailed> for Error {
    fn from(failed: CommitFailed) -> Self {
        match failed {
            CommitFailed::DiskFull => Self::DiskFull,
            CommitFailed::Otherwise(reason) => Self::Commit { reason },
        }
    }
}

pub(crate) struct Writer {
    jobs: std::sync::Mutex<Option<mpsc::Sender<Job>>>,
    /// Ends when every sender is gone; if it panics, senders find the queue closed.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(crate) fn start(connection: SqliteConnection) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let task = tokio::spawn(run(connection, receiver));
        Self {
            jobs: std::sync::Mutex::new(Some(sender)),
            task: Mutex::new(Some(task)),
        }
    }

    /// Runs `work` and answers when what it wrote is on the disk.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                let (result, lost) = match connection {
                    Some(connection) => in_savepoint(connection, work).await,
                    None => (Err(Error::Closed), None),
                };
                let answer: Answer = Box::new(move |committed| {
                    // Whoever asked may have gone; what was written stays written.
                    let _ = sender.send(match committed {
                        Ok(()) => result,
                        Err(failed) => Err(failed.into()),
                    });
                });
                Ran { answer, lost }
            })
        });
        self.sender()?.send(job).await.map_err(|_| Error::Closed)?;
        receiver.await.map_err(|_| Error::Closed)?
    }

    fn sender(&self) -> Result<mpsc::Sender<Job>, Error> {
        let jobs = self.jobs.lock().map_err(|_| Error::Closed)?;
        jobs.clone().ok_or(Error::Closed)
    }

    pub(crate) async fn close(&self) {
        if let Ok(mut jobs) = self.jobs.lock() {
            jobs.take();
        }
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

/// Leaves a savepoint for the next job: it takes one visit to the database's thread to end one and begin another.
async fn in_savepoint<T, F>(
    connection: &mut SqliteConnection,
    work: F,
) -> (Result<T, Error>, Option<CommitFailed>)
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Work<'c, T>,
{
    let result = work(connection).await;
    let ended = match &result {
        Ok(_) => execute(connection, "RELEASE job; SAVEPOINT job").await,
        Err(_) => execute(connection, "ROLLBACK TO job").await,
    };
    match ended {
        Ok(()) => (result, None),
        // A full or failing disk makes the database roll back the whole transaction: the savepoint is gone with it.
        Err(failure) => {
            let lost = match &result {
                Err(Error::DiskFull) => CommitFailed::DiskFull,
                _ => failure.into(),
            };
            (result, Some(lost))
        }
    }
}

async fn run(mut connection: SqliteConnection, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting = VecDeque::with_capacity(COMMIT);
    while let Some(job) = next(&mut waiting, &mut jobs).await {
        waiting.push_front(job);
        while waiting.len() < COMMIT {
            let Ok(job) = jobs.try_recv() else { break };
            waiting.push_back(job);
        }
        commit_together(&mut connection, &mut waiting, &mut jobs).await;
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the database did not close cleanly");
    }
}

async fn next(waiting: &mut VecDeque<Job>, jobs: &mut mpsc::Receiver<Job>) -> Option<Job> {
    match waiting.pop_front() {
        Some(job) => Some(job),
        None => jobs.recv().await,
    }
}

/// Leaves in `waiting` what could not be tried in this transaction.
async fn commit_together(
    connection: &mut SqliteConnection,
    waiting: &mut VecDeque<Job>,
    jobs: &mut mpsc::Receiver<Job>,
) {
    let mut failed = execute(connection, "BEGIN IMMEDIATE; SAVEPOINT job")
        .await
        .err()
        .map(CommitFailed::from);
    let mut answers = Vec::with_capacity(waiting.len());
    if failed.is_some() {
        for job in waiting.drain(..) {
            answers.push(job(None).await.answer);
        }
    }
    while failed.is_none() && answers.len() < COMMIT {
        let Some(job) = waiting.pop_front().or_else(|| jobs.try_recv().ok()) else {
            break;
        };
        let ran = job(Some(connection)).await;
        answers.push(ran.answer);
        failed = ran.lost;
    }
    if failed.is_none() {
        // Ends the last savepoint, too.
        failed = execute(connection, "COMMIT").await.err().map(CommitFailed::from);
    }
    if failed.is_some() {
        // Fails where there is no transaction any more.
        let _ = execute(connection, "ROLLBACK").await;
    }
    for answer in answers {
        answer(failed.clone().map_or(Ok(()), Err));
    }
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(connection).await.map(|_| ())
}
