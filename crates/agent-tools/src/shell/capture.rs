//! What a command writes: whole in memory while it is short, else in a file with its two ends in memory.
//!
//! Memory stays bounded whatever a command writes.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::kept::{Kept, KeptFile};

/// The most that one command's output takes on disk, per stream.
const KEEP_AT_MOST: u64 = 1 << 30;
/// Bytes shown from each end of an output that is too long.
const END_BYTES: usize = 1024;
const READ_BYTES: usize = 64 * 1024;
/// A pipe that carries much is made larger, within what the system grants.
const WIDE_PIPE: usize = 512 * 1024;

/// One stream of a finished command.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The whole output, or its beginning if `tail` is there.
    pub(crate) head: Vec<u8>,
    pub(crate) tail: Option<Vec<u8>>,
    pub(crate) total: u64,
}

pub(crate) struct Stream {
    receiver: pipe::Receiver,
    buffer: Vec<u8>,
    ended: bool,
    collected: Collected,
}

struct Collected {
    memory: Vec<u8>,
    limit: usize,
    total: u64,
    tail: Vec<u8>,
    spill: Spill,
}

enum Spill {
    NotNeeded(PathBuf),
    Into(KeptFile),
    Failed(io::Error),
}

impl Stream {
    /// `limit` in bytes is what memory holds before the file at `path` is begun.
    pub(crate) fn new(receiver: pipe::Receiver, limit: usize, path: PathBuf) -> Self {
        Self {
            receiver,
            buffer: vec![0; READ_BYTES],
            ended: false,
            collected: Collected {
                memory: Vec::new(),
                limit,
                total: 0,
                tail: Vec::new(),
                spill: Spill::NotNeeded(path),
            },
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.ended
    }

    /// Waits for the next bytes. Nothing is lost if the future is dropped; they are counted by [`Stream::accept`].
    pub(crate) async fn read(&mut self) -> io::Result<usize> {
        self.receiver.read(&mut self.buffer).await
    }

    pub(crate) async fn accept(&mut self, read: io::Result<usize>) {
        match read {
            Ok(0) => self.ended = true,
            Ok(length) => {
                if self.collected.push(&self.buffer[..length]).await {
                    widen(&self.receiver);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a command's output could not be read on");
                self.ended = true;
            }
        }
    }

    pub(crate) fn into_receiver(self) -> (pipe::Receiver, Finished) {
        (self.receiver, Finished(self.collected))
    }
}

fn widen(receiver: &pipe::Receiver) {
    if let Err(error) = rustix::pipe::fcntl_setpipe_size(receiver, WIDE_PIPE) {
        tracing::debug!(%error, "the pipe stays at its size");
    }
}

impl Collected {
    /// True when the output has just become too long for memory.
    async fn push(&mut self, bytes: &[u8]) -> bool {
        self.total += bytes.len() as u64;
        if matches!(self.spill, Spill::NotNeeded(_)) {
            self.memory.extend_from_slice(bytes);
            if self.memory.len() <= self.limit {
                return false;
            }
            self.spill().await;
            return true;
        }
        self.keep_tail(bytes);
        if let Spill::Into(file) = &mut self.spill
            && let Err(error) = file.append(bytes).await
        {
            self.spill = Spill::Failed(error);
        }
        false
    }

    async fn spill(&mut self) {
        let Spill::NotNeeded(path) = &self.spill else {
            return;
        };
        let begun = async {
            let mut file = KeptFile::create(path, KEEP_AT_MOST).await?;
            file.append(&self.memory).await?;
            Ok(file)
        };
        self.spill = match begun.await {
            Ok(file) => Spill::Into(file),
            Err(error) => Spill::Failed(error),
        };
        let memory = std::mem::take(&mut self.memory);
        self.keep_tail(&memory);
        self.memory = memory[..END_BYTES.min(memory.len())].to_vec();
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        self.tail
            .extend_from_slice(&bytes[bytes.len().saturating_sub(END_BYTES)..]);
        let surplus = self.tail.len().saturating_sub(END_BYTES);
        self.tail.drain(..surplus);
    }

    fn into_output(self) -> (Output, Spill) {
        let tail = (!matches!(self.spill, Spill::NotNeeded(_))).then_some(self.tail);
        (
            Output {
                head: self.memory,
                tail,
                total: self.total,
            },
            self.spill,
        )
    }
}

/// A stream that will not be read any more.
pub(crate) struct Finished(Collected);

/// Both streams as they are shown, and where the whole is.
pub(crate) struct Captured {
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    pub(crate) kept: Option<Kept>,
    pub(crate) notes: Vec<String>,
}

/// Keeps the whole output, stdout before stderr, in one file if together they are longer than `max_chars`.
pub(crate) async fn conclude(stdout: Finished, stderr: Finished, max_chars: usize, path: &Path) -> Captured {
    let ((mut out, out_spill), (mut err, err_spill)) = (stdout.0.into_output(), stderr.0.into_output());
    let short = out.tail.is_none() && err.tail.is_none() && chars(&out.head) + chars(&err.head) <= max_chars;
    let mut captured = Captured {
        stdout: Output::default(),
        stderr: Output::default(),
        kept: None,
        notes: Vec::new(),
    };
    if !short {
        match join(&out, out_spill, &err, err_spill, path).await {
            Ok(kept) => captured.kept = Some(kept),
            Err(error) => captured
                .notes
                .push(format!("The whole output could not be kept: {error}")),
        }
        out.shorten();
        err.shorten();
    }
    (captured.stdout, captured.stderr) = (out, err);
    captured
}

async fn join(
    out: &Output,
    out_spill: Spill,
    err: &Output,
    err_spill: Spill,
    path: &Path,
) -> io::Result<Kept> {
    let mut file = match out_spill {
        Spill::Into(file) => file,
        Spill::Failed(error) => return Err(error),
        Spill::NotNeeded(_) => {
            let mut file = KeptFile::create(path, KEEP_AT_MOST).await?;
            file.append(&out.head).await?;
            file
        }
    };
    match err_spill {
        Spill::NotNeeded(_) => file.append(&err.head).await?,
        Spill::Failed(error) => return Err(error),
        Spill::Into(other) => file.append_file(other.finish().await?).await?,
    }
    file.finish().await
}

fn chars(bytes: &[u8]) -> usize {
    // Every byte but UTF-8's continuation bytes begins a character, or stands for one that is replaced.
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

impl Output {
    fn shorten(&mut self) {
        if self.tail.is_none() && self.head.len() > 2 * END_BYTES {
            self.tail = Some(self.head[self.head.len() - END_BYTES..].to_vec());
            self.head.truncate(END_BYTES);
        } else if self.head.len() > END_BYTES && self.tail.is_some() {
            self.head.truncate(END_BYTES);
        }
    }

    /// As text, with what is not UTF-8 replaced and a line in place of what is left out.
    pub(crate) fn text(&self) -> String {
        let head = String::from_utf8_lossy(&self.head);
        let Some(tail) = &self.tail else {
            return head.into_owned();
        };
        // A character cut at the seam is left out rather than shown broken.
        let begin = tail
            .iter()
            .take(3)
            .take_while(|byte| **byte & 0xC0 == 0x80)
            .count();
        let head = head.trim_end_matches('\u{FFFD}');
        let left_out = self.total.saturating_sub((self.head.len() + tail.len()) as u64);
        format!(
            "{head}\n… [{left_out} bytes left out] …\n{}",
            String::from_utf8_lossy(&tail[begin..])
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn collected(limit: usize, path: PathBuf) -> Collected {
        Collected {
            memory: Vec::new(),
            limit,
            total: 0,
            tail: Vec::new(),
            spill: Spill::NotNeeded(path),
        }
    }

    #[tokio::test]
    async fn both_streams_are_kept_whole_and_in_order_whichever_is_long() {
        let directory = tempfile::tempdir().unwrap();
        for (case, (out_length, err_length)) in [(10, 90_000), (90_000, 10), (90_000, 90_000), (3000, 3000)]
            .into_iter()
            .enumerate()
        {
            let path = directory.path().join(format!("{case}.txt"));
            let mut out = collected(4000, path.clone());
            let mut err = collected(4000, directory.path().join(format!("{case}.stderr")));
            for _ in 0..out_length / 10 {
                out.push(b"abcdefghi\n").await;
            }
            for _ in 0..err_length / 10 {
                err.push(b"ABCDEFGHI\n").await;
            }
            let captured = conclude(Finished(out), Finished(err), 1000, &path).await;
            let kept = captured.kept.unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(
                text,
                "abcdefghi\n".repeat(out_length / 10) + &"ABCDEFGHI\n".repeat(err_length / 10)
            );
            assert_eq!((kept.size, kept.dropped), ((out_length + err_length) as u64, 0));
            assert!(captured.stdout.text().len() + captured.stderr.text().len() < 5000);
            assert_eq!(
                std::fs::read_dir(directory.path()).unwrap().count(),
                case + 1,
                "no second file stays"
            );
        }
    }

    #[tokio::test]
    async fn what_is_beyond_the_limit_of_a_kept_file_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/kept");
        let mut file = KeptFile::create(&path, 10).await.unwrap();
        for _ in 0..4 {
            file.append(b"1234").await.unwrap();
        }
        let kept = file.finish().await.unwrap();
        assert_eq!((kept.size, kept.dropped), (10, 6));
        assert_eq!(std::fs::read(&path).unwrap(), b"1234123412");
    }

    #[test]
    fn a_long_output_shows_both_ends_and_no_broken_character() {
        let text = "é".repeat(5000);
        let mut output = Output {
            head: text.clone().into_bytes(),
            tail: None,
            total: text.len() as u64,
        };
        output.head.insert(0, b'x');
        output.shorten();
        let shown = output.text();
        assert!(shown.contains("bytes left out"));
        assert!(!shown.contains('\u{FFFD}'), "{shown}");
    }
}
