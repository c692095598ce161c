//! The secret of a key: made here, shown once, known by its hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::fmt;
use store::KeyHash;

const PREFIX: &str = "hk_";
const BYTES: usize = 32;
/// Characters that are shown of it later: of no help to who guesses the others.
const SHOWN: usize = PREFIX.len() + 4;

/// `hk_` and 43 characters.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn random() -> Self {
        let mut bytes = [0_u8; BYTES];
        // A key of zeros would open a door; the kernel's generator does not fail once the machine is up, and where it
        // does there is no safe way on.
        if let Err(error) = getrandom::fill(&mut bytes) {
            tracing::error!(%error, "the machine gives no random numbers");
            std::process::abort();
        }
        Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn prefix(&self) -> &str {
        self.0.get(..SHOWN).unwrap_or_default()
    }

    pub(super) fn hash(&self) -> KeyHash {
        hash(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

pub(super) fn hash(secret: &str) -> KeyHash {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_differ_and_do_not_show() {
        let (one, two) = (Secret::random(), Secret::random());
        assert_eq!(one.reveal().len(), 46);
        assert_ne!(one.reveal(), two.reveal());
        assert_ne!(one.hash(), two.hash());
        assert_eq!(format!("{one:?}"), "Secret");
        assert_eq!(one.prefix().len(), 7);
    }
}
