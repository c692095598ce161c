//! The name of one request, in its answer and in the log.

use std::fmt;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const CHARACTERS: usize = 24;

/// `req_` and 24 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    pub(crate) fn random() -> Self {
        let mut bytes = [0_u8; CHARACTERS];
        // The kernel's generator does not fail once the machine is up; an id that comes twice harms nobody.
        let _ = getrandom::fill(&mut bytes);
        let random = bytes
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
        Self("req_".chars().chain(random).collect())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
