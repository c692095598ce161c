//! A shell in a mount namespace of its own that runs a peer again and again, so that entering the namespace is not
//! charged to the peer.

use crate::failure::Failure;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

pub(super) struct Shell {
    program: String,
    /// Taken while it runs something.
    idle: Mutex<Option<Idle>>,
}

struct Idle {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    /// `arguments` stand in a script: the id is `"$id"`, the others have no need of quotes.
    pub(super) fn without_unified(program: &Path, arguments: &[String]) -> Result<Self, Failure> {
        let script = format!(
            "umount /sys/fs/cgroup/unified || exit 1; \
             while read -r id; do {} {} </dev/null >/dev/null 2>&1; echo $?; done",
            program.display(),
            arguments.join(" ")
        );
        Self::start(
            program,
            "unshare",
            &["--mount", "--propagation", "private", "sh", "-c", &script],
        )
    }

    fn start(peer: &Path, program: &str, arguments: &[&str]) -> Result<Self, Failure> {
        let cannot = |source| Failure::Run {
            program: program.to_owned(),
            source,
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| cannot(std::io::ErrorKind::BrokenPipe.into()))?;
        let idle = Idle {
            _child: child,
            input,
            output: BufReader::new(output).lines(),
        };
        Ok(Self {
            program: peer.display().to_string(),
            idle: Mutex::new(Some(idle)),
        })
    }

    /// From asking for it until its exit is known. One at a time.
    pub(super) async fn run(&self, id: &str) -> Result<Duration, Failure> {
        let failed = |reason: String| Failure::Program {
            program: self.program.clone(),
            reason,
        };
        let taken = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut idle = taken.ok_or_else(|| failed("its shell is gone".to_owned()))?;
        let started = Instant::now();
        let asked = idle.input.write_all(format!("{id}\n").as_bytes()).await;
        let answer = match asked {
            Ok(()) => idle.output.next_line().await,
            Err(error) => Err(error),
        };
        let elapsed = started.elapsed();
        match answer {
            Ok(Some(status)) if status == "0" => {
                *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(idle);
                Ok(elapsed)
            }
            Ok(Some(status)) => Err(failed(format!("exit status {status}"))),
            Ok(None) => Err(failed("its shell ended".to_owned())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Shell {
        Shell::start(Path::new("peer"), "/bin/sh", &["-c", script]).unwrap()
    }

    #[tokio::test]
    async fn it_runs_one_after_the_other_until_one_fails() {
        let shell = shell("while read -r id; do [ \"$id\" != bad ]; echo $?; done");
        for _ in 0..2 {
            assert!(shell.run("good").await.unwrap() > Duration::ZERO);
        }
        assert!(
            shell
                .run("bad")
                .await
                .unwrap_err()
                .to_string()
                .contains("exit status 1")
        );
        assert!(shell.run("good").await.unwrap_err().to_string().contains("gone"));
    }

    #[tokio::test]
    async fn a_shell_that_ends_is_a_failure() {
        assert!(shell("exit 0").run("good").await.is_err());
    }
}
