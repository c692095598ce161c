//! The output of processes: cut into records, numbered, and kept until the host has it.
//!
//! ```text
//! pipe --> pump --> framing --> log: segments in memory --spill--> outbox (blocks of one file)
//!            ^                   |
//!            '--- room again <--ack        followers read with a cursor each
//! ```

mod framing;
mod log;
mod outbox;
mod pump;
mod record;

pub(crate) use log::{Cursor, Log};
pub(crate) use outbox::Outbox;
pub(crate) use pump::{Pump, Source};
