//! How much of an agent's report the host is ready to hold. Beyond a limit the report is refused, never cut silently.

use std::time::Duration;

/// Bytes of a path from the workspace; the kernel takes 4096 with the end mark.
pub const MAX_PATH_BYTES: usize = 4000;

/// Bytes of one name.
pub const MAX_NAME_BYTES: usize = 255;

/// Names in a path.
pub const MAX_DEPTH: usize = 200;

/// Entries in a report, and in the change set that is made of it.
pub const MAX_ENTRIES: usize = 250_000;

/// Bytes of all paths and symlink targets of a report together.
pub const MAX_NAMES_BYTES: usize = 64 << 20;

/// Bytes of all files of a report together.
pub const MAX_TOTAL_BYTES: u64 = 64 << 30;

/// Entries that were refused and are shown; beyond them they are counted.
pub const MAX_REFUSED_SHOWN: usize = 200;

/// The largest file whose lines are counted and shown.
pub const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Bytes read for counting lines, in all files together.
pub const MAX_COUNTED_BYTES: u64 = 256 << 20;

/// Time for comparing the lines of all files together.
pub const DIFF_TIME_TOTAL: Duration = Duration::from_secs(20);

/// Bytes asked of a reader at once.
pub const CHUNK_BYTES: usize = 1 << 20;
