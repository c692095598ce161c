//! The jailer as a child of this process: it ends with it, and every sandbox with the jailer.

use crate::conversation::{Conversation, socket};
use channel::ChannelError;
use jailer::protocol::{Hello, Welcome};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the jailer may take to end every sandbox when it is told to stop.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct ChildJailer {
    pub(crate) conversation: Arc<Conversation>,
    child: Mutex<Option<Child>>,
}

impl ChildJailer {
    /// Starts the jailer and greets it. Blocks until it has looked at the machine.
    pub(crate) fn start(program: &Path, hello: &Hello) -> Result<(Self, Welcome), ChannelError> {
        let (own, theirs) = channel::pair().map_err(socket)?;
        let child = Command::new(program)
            .arg("jailer")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // An interrupt typed at the terminal is for us to act on.
            .process_group(0)
            .spawn()
            .map_err(socket)?;
        let (conversation, welcome) = Conversation::greet(own, hello)?;
        let conversation = Arc::new(conversation);
        let reader = Arc::clone(&conversation);
        std::thread::Builder::new()
            .name("jailer replies".to_owned())
            .spawn(move || reader.read())
            .map_err(socket)?;
        let child = Mutex::new(Some(child));
        Ok((Self { conversation, child }, welcome))
    }

    /// Ends every sandbox and the jailer. What it could not finish in time, the next start does.
    pub(crate) fn stop(&self) {
        let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        self.conversation.close();
        let deadline = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                tracing::warn!("the jailer did not end in {} s and is killed", PATIENCE.as_secs());
                child.kill().ok();
                child.wait().ok();
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for ChildJailer {
    fn drop(&mut self) {
        self.stop();
    }
}
