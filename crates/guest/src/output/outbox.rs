//! One file of blocks, shared by all processes: what does not fit into memory waits here for its acknowledgement.
//!
//! The file never grows beyond [`MAX_BYTES`], freed blocks are used again lowest first, and its end is given back to
//! the disk as soon as nothing lies there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

const BLOCK: usize = 64 << 10;

/// A few processes at their limit; what more there is waits in the processes' pipes.
const MAX_BYTES: u64 = 4 * guest_protocol::MAX_UNACKNOWLEDGED_BYTES;

/// Where stored bytes lie: block numbers, in order.
pub(super) type Place = Vec<u32>;

pub(crate) struct Outbox {
    file: Option<File>,
    /// Blocks below `end` that hold nothing.
    free: BTreeSet<u32>,
    end: u32,
}

impl Outbox {
    /// Without a file, storing always fails.
    pub(crate) fn new(file: Option<OwnedFd>) -> Self {
        Self {
            file: file.map(File::from),
            free: BTreeSet::new(),
            end: 0,
        }
    }

    pub(super) fn store(&mut self, bytes: &[u8]) -> io::Result<Place> {
        let mut place = Place::with_capacity(bytes.len().div_ceil(BLOCK));
        for piece in bytes.chunks(BLOCK) {
            let stored = self.take_block().and_then(|block| {
                place.push(block);
                self.file()?.write_all_at(piece, offset(block))
            });
            if let Err(error) = stored {
                self.release(&place);
                return Err(error);
            }
        }
        Ok(place)
    }

    /// `length` bytes of what was stored at `place`, from `from`.
    pub(super) fn load(&self, place: &[u32], from: usize, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut done = 0;
        while done < length {
            let at = from + done;
            let block = *place.get(at / BLOCK).ok_or(io::ErrorKind::UnexpectedEof)?;
            let within = at % BLOCK;
            let piece = (BLOCK - within).min(length - done);
            self.file()?
                .read_exact_at(&mut bytes[done..done + piece], offset(block) + within as u64)?;
            done += piece;
        }
        Ok(bytes)
    }

    pub(super) fn release(&mut self, place: &[u32]) {
        self.free.extend(place);
        let before = self.end;
        while self.end > 0 && self.free.remove(&(self.end - 1)) {
            self.end -= 1;
        }
        if self.end < before
            && let Ok(file) = self.file()
        {
            // A file that stays longer than it must is the only harm.
            let _ = file.set_len(offset(self.end));
        }
    }

    fn take_block(&mut self) -> io::Result<u32> {
        if let Some(block) = self.free.pop_first() {
            return Ok(block);
        }
        if offset(self.end + 1) > MAX_BYTES {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.end += 1;
        Ok(self.end - 1)
    }

    fn file(&self) -> io::Result<&File> {
        self.file
            .as_ref()
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

fn offset(block: u32) -> u64 {
    u64::from(block) * BLOCK as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    fn outbox() -> (Outbox, File) {
        let file = tempfile::tempfile().unwrap();
        (Outbox::new(Some(file.try_clone().unwrap().into())), file)
    }

    #[test]
    fn bytes_come_back_from_any_offset() {
        let (mut outbox, _) = outbox();
        let bytes: Vec<u8> = (0..3 * BLOCK + 5).map(|number| (number / 7) as u8).collect();
        let place = outbox.store(&bytes).unwrap();
        for (from, length) in [
            (0, bytes.len()),
            (BLOCK - 1, 2),
            (BLOCK, BLOCK),
            (3 * BLOCK, 5),
            (9, 0),
        ] {
            assert_eq!(
                outbox.load(&place, from, length).unwrap(),
                bytes[from..from + length]
            );
        }
        assert!(outbox.load(&place, 4 * BLOCK, 1).is_err());
    }

    #[test]
    fn freed_blocks_are_used_again_and_the_end_is_given_back() {
        let (mut outbox, file) = outbox();
        let block = vec![1; BLOCK];
        let places: Vec<Place> = (0..4).map(|_| outbox.store(&block).unwrap()).collect();
        outbox.release(&places[1]);
        assert_eq!(file.metadata().unwrap().len(), 4 * BLOCK as u64);
        assert_eq!(outbox.store(&block).unwrap(), places[1]);
        outbox.release(&places[1]);
        outbox.release(&places[3]);
        outbox.release(&places[2]);
        assert_eq!(file.metadata().unwrap().len(), BLOCK as u64);
        outbox.release(&places[0]);
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn the_file_has_a_limit_and_a_failed_store_leaves_nothing() {
        let (mut outbox, file) = outbox();
        outbox.end = (MAX_BYTES / BLOCK as u64) as u32 - 1;
        let before = outbox.end;
        assert!(outbox.store(&vec![1; 2 * BLOCK]).is_err());
        assert_eq!(outbox.end, before);
        assert!(file.metadata().unwrap().len() <= MAX_BYTES);
        assert!(Outbox::new(None).store(b"x").is_err());
    }
}
