//! The accept loop. It takes no more connections than may be served at once, nor faster than its rate: what waits,
//! waits in the kernel's bounded backlog.

use crate::rate::Rate;
use crate::tasks::Tasks;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// After a failed accept: the process may be out of descriptors, and others must get on.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// How many and how fast; clones share both.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) mine: Arc<Semaphore>,
    pub(crate) everyones: Arc<Semaphore>,
    pub(crate) rate: Arc<Mutex<Rate>>,
}

impl Gate {
    async fn wait_for_rate(&self) {
        loop {
            let taken = self
                .rate
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(Instant::now());
            match taken {
                Ok(()) => return,
                Err(wait) => sleep(wait).await,
            }
        }
    }
}

/// Ends only with its task.
pub(crate) async fn accept<Work>(
    listener: TcpListener,
    gate: Gate,
    tasks: Tasks,
    name: &'static str,
    serve: impl Fn(TcpStream) -> Work,
) where
    Work: Future<Output = ()> + Send + 'static,
{
    loop {
        gate.wait_for_rate().await;
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::debug!(%error, listener = name, "a connection was not accepted");
                sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        let (Ok(mine), Ok(everyones)) = (
            Arc::clone(&gate.mine).acquire_owned().await,
            Arc::clone(&gate.everyones).acquire_owned().await,
        ) else {
            return;
        };
        if let Err(error) = client.set_nodelay(true) {
            tracing::debug!(%error, "a connection stays with Nagle's delay");
        }
        let work = serve(client);
        tasks.start(name, async move {
            work.await;
            drop((mine, everyones));
        });
    }
}
