//! The numbered records of one process, from the oldest that is not acknowledged to the newest.
//!
//! Records lie in segments. The newest segments are in memory, at most [`WINDOW`] of them; older ones are in the
//! outbox. A segment goes when its last record is acknowledged. Memory is bounded by the window and by one record.

use super::outbox::{Outbox, Place};
use super::record::{self, Entry};
use guest_protocol::MAX_UNACKNOWLEDGED_BYTES;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A segment that is at least this long takes no more records.
const SEGMENT: usize = 60 << 10;

const WINDOW: usize = 256 << 10;

/// A read stops after the record with which it reaches this.
const READ: usize = 128 << 10;

pub(crate) struct Log {
    outbox: Rc<RefCell<Outbox>>,
    segments: VecDeque<Segment>,
    /// The first so many segments are in the outbox.
    spilled: usize,
    in_memory: usize,
    kept: u64,
    next_seq: u64,
    acked: u64,
    state: State,
    followers: Vec<Waker>,
    writer: Option<Waker>,
}

#[derive(PartialEq, Eq)]
enum State {
    Open,
    /// The exit was appended.
    Ended,
    /// The process was removed, and the log with it.
    Gone,
}

struct Segment {
    first: u64,
    records: u64,
    length: usize,
    stored: Stored,
}

enum Stored {
    Memory(Vec<u8>),
    Outbox(Place),
}

/// How far a follower has read.
#[derive(Debug)]
pub(crate) struct Cursor {
    next: u64,
    /// The segment that was read last, by its first number, and where in it `next` begins.
    segment: u64,
    offset: usize,
}

impl Cursor {
    pub(crate) fn after(seq: u64) -> Self {
        Self {
            next: seq.saturating_add(1),
            segment: 0,
            offset: 0,
        }
    }
}

/// What a follower reads.
#[derive(Debug)]
pub(crate) enum Read {
    Lines(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// The exit was the last record.
    End,
}

impl Log {
    pub(crate) fn new(outbox: Rc<RefCell<Outbox>>) -> Self {
        Self {
            outbox,
            segments: VecDeque::new(),
            spilled: 0,
            in_memory: 0,
            kept: 0,
            next_seq: 1,
            acked: 0,
            state: State::Open,
            followers: Vec::new(),
            writer: None,
        }
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    pub(crate) fn append(&mut self, entry: Entry<'_>) {
        if self.state == State::Gone {
            return;
        }
        let bytes = entry.stored_bytes();
        let fits = matches!(
            self.segments.back(),
            Some(Segment { length, stored: Stored::Memory(_), .. }) if length + bytes <= SEGMENT
        );
        if !fits {
            let stored = Stored::Memory(Vec::new());
            self.segments.push_back(Segment {
                first: self.next_seq,
                records: 0,
                length: 0,
                stored,
            });
        }
        if let Some(Segment {
            records,
            length,
            stored: Stored::Memory(memory),
            ..
        }) = self.segments.back_mut()
        {
            entry.store(memory);
            *records += 1;
            *length += bytes;
        }
        self.next_seq += 1;
        self.kept += bytes as u64;
        self.in_memory += bytes;
        if matches!(entry, Entry::Exit(_)) {
            self.state = State::Ended;
        }
        self.spill();
        self.followers.drain(..).for_each(Waker::wake);
    }

    /// Forgets the records up to `seq`, which exists or existed.
    pub(crate) fn ack(&mut self, seq: u64) {
        self.acked = self.acked.max(seq);
        while let Some(segment) = self.segments.front()
            && segment.first + segment.records <= self.acked + 1
        {
            self.drop_front();
        }
        self.spill();
        if self.has_room()
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
    }

    /// Forgets everything, for good; followers find the log at its end.
    pub(crate) fn close(&mut self) {
        while !self.segments.is_empty() {
            self.drop_front();
        }
        self.state = State::Gone;
        self.followers.drain(..).for_each(Waker::wake);
    }

    /// Ready when another read from the process may be appended.
    pub(crate) fn poll_room(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Lines for a follower; it is woken when there are more.
    pub(crate) fn poll_read(
        &mut self,
        cursor: &mut Cursor,
        context: &Context<'_>,
    ) -> Poll<io::Result<Vec<u8>>> {
        match self.read(cursor) {
            Ok(Read::Lines(lines)) => Poll::Ready(Ok(lines)),
            Ok(Read::End) => Poll::Ready(Ok(Vec::new())),
            Ok(Read::Nothing) => {
                self.followers.retain(|waker| !waker.will_wake(context.waker()));
                self.followers.push(context.waker().clone());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Lines from the cursor on, in pieces of about [`READ`] bytes.
    pub(crate) fn read(&self, cursor: &mut Cursor) -> io::Result<Read> {
        if self.state == State::Gone {
            return Ok(Read::End);
        }
        if cursor.next >= self.next_seq {
            return Ok(if self.state == State::Ended {
                Read::End
            } else {
                Read::Nothing
            });
        }
        let index = self
            .segments
            .partition_point(|segment| segment.first + segment.records <= cursor.next);
        let forgotten = || io::Error::other("the records were acknowledged while they were read");
        let segment = self
            .segments
            .get(index)
            .filter(|found| found.first <= cursor.next)
            .ok_or_else(forgotten)?;
        if cursor.segment != segment.first {
            *cursor = Cursor {
                next: cursor.next,
                segment: segment.first,
                offset: 0,
            };
        }
        let loaded;
        let bytes = match &segment.stored {
            Stored::Memory(memory) => &memory[cursor.offset..],
            Stored::Outbox(place) => {
                let length = segment.length - cursor.offset;
                loaded = self.outbox.borrow().load(place, cursor.offset, length)?;
                &loaded[..]
            }
        };
        let seq = if cursor.offset == 0 {
            segment.first
        } else {
            cursor.next
        };
        lines(bytes, seq, cursor).map(Read::Lines)
    }

    fn has_room(&self) -> bool {
        self.kept < MAX_UNACKNOWLEDGED_BYTES && self.in_memory <= WINDOW
    }

    /// Moves segments, oldest first, to the outbox until the window is kept. If the outbox takes no more, the memory
    /// stays over the window by what one read brought, and the process waits.
    fn spill(&mut self) {
        while self.in_memory > WINDOW
            && let Some(segment) = self.segments.get_mut(self.spilled)
            && let Stored::Memory(memory) = &segment.stored
            && let Ok(place) = self.outbox.borrow_mut().store(memory)
        {
            segment.stored = Stored::Outbox(place);
            self.in_memory -= segment.length;
            self.spilled += 1;
        }
    }

    fn drop_front(&mut self) {
        let Some(segment) = self.segments.pop_front() else {
            return;
        };
        self.kept -= segment.length as u64;
        match segment.stored {
            Stored::Memory(_) => self.in_memory -= segment.length,
            Stored::Outbox(place) => {
                self.spilled -= 1;
                self.outbox.borrow_mut().release(&place);
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

/// The records of `bytes`, of which the first has number `seq`, from the cursor on.
fn lines(bytes: &[u8], mut seq: u64, cursor: &mut Cursor) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() && out.len() < READ {
        let (entry, length) = record::load(&bytes[at..])?;
        if seq == cursor.next {
            record::write_line(seq, entry, &mut out)?;
            cursor.next += 1;
        }
        seq += 1;
        at += length;
    }
    cursor.offset += at;
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;
    use guest_protocol::{Exit, OutputRecord, Payload, Stream};

    fn log(with_outbox: bool) -> (Log, std::fs::File) {
        let file = tempfile::tempfile().unwrap();
        let outbox = with_outbox.then(|| file.try_clone().unwrap().into());
        (Log::new(Rc::new(RefCell::new(Outbox::new(outbox)))), file)
    }

    fn output(bytes: &[u8]) -> Entry<'_> {
        Entry::Output {
            stream: Stream::Stdout,
            bytes,
            cut_bytes: 0,
        }
    }

    fn read_all(log: &Log, after: u64) -> Vec<OutputRecord> {
        let mut cursor = Cursor::after(after);
        let mut records = Vec::new();
        while let Read::Lines(lines) = log.read(&mut cursor).unwrap() {
            assert!(!lines.is_empty(), "a read makes progress");
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                records.push(serde_json::from_slice(line).unwrap());
            }
        }
        records
    }

    /// Records whose lengths lie around every boundary, each marked with its number.
    fn fill(log: &mut Log, count: usize) {
        let lengths = [0, 1, 100, SEGMENT - 14, SEGMENT, SEGMENT + 1, WINDOW + 1, 3000];
        for number in 0..count {
            log.append(output(&vec![
                b'a' + (number % 26) as u8;
                lengths[number % lengths.len()]
            ]));
        }
    }

    #[test]
    fn every_record_comes_back_in_order_from_memory_and_outbox() {
        let (mut log, file) = log(true);
        fill(&mut log, 400);
        log.append(Entry::Exit(Exit::Code(3)));
        assert!(file.metadata().unwrap().len() > 0, "something was spilled");
        assert!(log.in_memory <= WINDOW);
        for after in [0, 1, 7, 200, 399, 400] {
            let records = read_all(&log, after);
            assert_eq!(records.len() as u64, 401 - after);
            for (record, seq) in records.iter().zip(after + 1..) {
                assert_eq!(record.seq, seq);
                match &record.payload {
                    Payload::Exit(exit) => assert_eq!((seq, *exit), (401, Exit::Code(3))),
                    Payload::Output(data) => {
                        let bytes = data.clone().into_bytes();
                        assert!(bytes.iter().all(|byte| *byte == b'a' + ((seq - 1) % 26) as u8));
                    }
                }
            }
        }
    }

    #[test]
    fn acknowledged_records_give_their_space_back() {
        let (mut log, file) = log(true);
        fill(&mut log, 100);
        log.ack(60);
        assert_eq!(read_all(&log, 60).len(), 40);
        fill(&mut log, 100);
        assert_eq!(read_all(&log, 60).len(), 140);
        log.ack(200);
        assert_eq!(
            (log.kept, log.in_memory, log.segments.len(), log.spilled),
            (0, 0, 0, 0)
        );
        assert_eq!(file.metadata().unwrap().len(), 0);
        log.append(output(b"more"));
        assert_eq!(read_all(&log, 200)[0].seq, 201);
    }

    #[test]
    fn a_reader_that_follows_sees_each_record_once() {
        let (mut log, _file) = log(true);
        let mut cursor = Cursor::after(0);
        let mut seen = 0;
        for number in 0..500 {
            fill(&mut log, 1 + number % 3);
            if number % 5 == 0 {
                while let Read::Lines(lines) = log.read(&mut cursor).unwrap() {
                    for line in lines.split_inclusive(|byte| *byte == b'\n') {
                        seen += 1;
                        assert_eq!(serde_json::from_slice::<OutputRecord>(line).unwrap().seq, seen);
                    }
                }
                log.ack(seen);
            }
        }
        assert!(seen > 900);
    }

    #[test]
    fn a_log_without_an_outbox_has_room_for_its_window_only() {
        let (mut log, _file) = log(false);
        let mut appended = 0;
        while log.has_room() {
            log.append(output(&[b'x'; 1000]));
            appended += 1;
        }
        assert!((250..300).contains(&appended), "{appended}");
        log.ack(appended / 2);
        assert!(log.has_room());
        assert_eq!(read_all(&log, appended / 2).len() as u64, appended - appended / 2);
    }

    #[test]
    fn a_log_is_full_at_its_limit_and_has_room_again_after_an_ack() {
        let (mut log, file) = log(true);
        let chunk = vec![b'x'; 60_000];
        while log.has_room() {
            log.append(output(&chunk));
        }
        let full = log.next_seq() - 1;
        assert!(log.kept >= MAX_UNACKNOWLEDGED_BYTES && log.kept < MAX_UNACKNOWLEDGED_BYTES + 70_000);
        assert!(file.metadata().unwrap().len() < MAX_UNACKNOWLEDGED_BYTES + (8 << 20));
        log.ack(3);
        assert!(log.has_room());
        assert_eq!(read_all(&log, 3).len() as u64, full - 3);
    }

    #[test]
    fn a_closed_log_is_at_its_end() {
        let (mut log, file) = log(true);
        fill(&mut log, 100);
        log.close();
        log.append(output(b"late"));
        assert!(matches!(log.read(&mut Cursor::after(0)).unwrap(), Read::End));
        assert_eq!(file.metadata().unwrap().len(), 0);
    }
}
