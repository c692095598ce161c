//! A part of a file on its way to the host. It ends early only with an error.

use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const PIECE: u64 = 64 << 10;

pub(crate) struct Download {
    file: File,
    offset: u64,
    left: u64,
}

impl Download {
    pub(super) fn new(file: File, offset: u64, left: u64) -> Self {
        Self { file, offset, left }
    }

    /// Bytes still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next piece; nothing at the end.
    pub(crate) fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.left == 0 {
            return None;
        }
        let mut piece = vec![0; self.left.min(PIECE) as usize];
        match self.file.read_at(&mut piece, self.offset) {
            // It was cut off since: the length that was promised cannot be kept.
            Ok(0) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(length) => {
                piece.truncate(length);
                self.offset += length as u64;
                self.left -= length as u64;
                Some(Ok(Bytes::from(piece)))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.next(),
            Err(error) => Some(Err(error)),
        }
    }
}
