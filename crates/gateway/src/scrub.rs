//! Takes the key out of what goes into a sandbox, should the upstream ever repeat it.
//!
//! Works on a stream: bytes that could be the beginning of the key are held back until it is known. Events end with
//! line ends, which no key holds, so nothing is held back in practice.

use crate::Secret;
use bytes::{Bytes, BytesMut};

const REPLACEMENT: &[u8] = b"[redacted]";

pub(crate) struct Scrubber {
    secret: Option<Secret>,
    held: BytesMut,
}

impl Scrubber {
    pub(crate) fn new(secret: Option<Secret>) -> Self {
        Self {
            secret: secret.filter(|secret| !secret.expose().is_empty()),
            held: BytesMut::new(),
        }
    }

    /// What of the stream so far may pass.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Bytes {
        let Some(secret) = &self.secret else { return bytes };
        let key = secret.expose().as_bytes();
        if self.held.is_empty() && find(&bytes, key).is_none() && begun(&bytes, key) == 0 {
            return bytes;
        }
        self.held.extend_from_slice(&bytes);
        let whole = self.held.split();
        let mut clean = BytesMut::with_capacity(whole.len());
        let mut rest = &whole[..];
        while let Some(position) = find(rest, key) {
            clean.extend_from_slice(&rest[..position]);
            clean.extend_from_slice(REPLACEMENT);
            rest = &rest[position + key.len()..];
        }
        let keep = begun(rest, key);
        clean.extend_from_slice(&rest[..rest.len() - keep]);
        self.held = BytesMut::from(&rest[rest.len() - keep..]);
        clean.freeze()
    }

    /// What was held back at the end of the stream.
    pub(crate) fn finish(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// A whole body.
    pub(crate) fn whole(secret: Option<&Secret>, body: Bytes) -> Bytes {
        let mut scrubber = Self::new(secret.cloned());
        let clean = scrubber.push(body);
        let end = scrubber.finish();
        if end.is_empty() {
            return clean;
        }
        let mut both = BytesMut::from(clean);
        both.extend_from_slice(&end);
        both.freeze()
    }
}

fn find(bytes: &[u8], key: &[u8]) -> Option<usize> {
    let first = key[0];
    let mut from = 0;
    while let Some(offset) = bytes[from..].iter().position(|byte| *byte == first) {
        let at = from + offset;
        if bytes[at..].starts_with(key) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// How many bytes at the end could be the beginning of the key.
fn begun(bytes: &[u8], key: &[u8]) -> usize {
    let longest = bytes.len().min(key.len() - 1);
    (1..=longest)
        .rev()
        .find(|length| key.starts_with(&bytes[bytes.len() - length..]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(parts: &[&str]) -> String {
        let mut scrubber = Scrubber::new(Some(Secret::new("sk-sk-1")));
        let mut out = Vec::new();
        for part in parts {
            out.extend_from_slice(&scrubber.push(Bytes::copy_from_slice(part.as_bytes())));
        }
        out.extend_from_slice(&scrubber.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_key_is_taken_out_wherever_it_is_cut() {
        let text = "a sk-sk-1 b sk-sk-sk-1 c";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let parts = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(through(&parts), "a [redacted] b sk-[redacted] c", "{parts:?}");
            }
        }
    }

    #[test]
    fn everything_else_passes_as_it_is_and_at_once() {
        let mut scrubber = Scrubber::new(Some(Secret::new("sk-sk-1")));
        let event = Bytes::from_static(b"data: {\"text\":\"sk-\"}\n\n");
        assert_eq!(scrubber.push(event.clone()), event);
        assert_eq!(through(&["sk-", "sk", "-2 ", "s"]), "sk-sk-2 s");
    }
}
