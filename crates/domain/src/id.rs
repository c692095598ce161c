//! Typed ids: a prefix that names the kind, then 26 characters of lower-case base 32.
//!
//! An id is made of 130 random bits, so two machines never make the same one; a parsed id has been checked, so it
//! is safe as a file name, a cgroup name and a URL segment.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_CHARACTERS: usize = 26;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("{text:?} is not a {kind} id: it must start with {prefix:?}")]
    Prefix {
        text: String,
        kind: &'static str,
        prefix: &'static str,
    },
    #[error(
        "{text:?} is not a {kind} id: after the prefix come 26 characters of 0-9 and a-z without i, l, o, u"
    )]
    Characters { text: String, kind: &'static str },
}

fn random_characters() -> String {
    let mut bytes = [0_u8; RANDOM_CHARACTERS];
    // The kernel's generator does not fail once the machine is up; an id of zeros would be caught as a duplicate.
    let _ = getrandom::fill(&mut bytes);
    bytes
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte & 31)]))
        .collect()
}

fn check(text: &str, prefix: &'static str, kind: &'static str) -> Result<(), IdError> {
    let shown = || text.chars().take(64).collect::<String>();
    let Some(rest) = text.strip_prefix(prefix) else {
        return Err(IdError::Prefix {
            text: shown(),
            kind,
            prefix,
        });
    };
    if rest.len() != RANDOM_CHARACTERS || !rest.bytes().all(|byte| ALPHABET.contains(&byte)) {
        return Err(IdError::Characters { text: shown(), kind });
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new random id.
            pub fn random() -> Self {
                Self(format!("{}{}", $prefix, random_characters()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text, $prefix, $kind)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                check(&text, $prefix, $kind)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

id!(
    /// A session: one conversation with one agent.
    SessionId, "sesn_", "session"
);
id!(
    /// An entry of a session's event log.
    EventId, "sevt_", "event"
);
id!(
    /// A sandbox: the isolated place a session's processes run in.
    SandboxId, "sbx_", "sandbox"
);
id!(
    /// An instance of hostler: whoever holds the lock on one data directory.
    InstanceId, "inst_", "instance"
);

id!(
    /// An agent: what a session's conversation is held with, in all its versions.
    AgentId, "agent_", "agent"
);
id!(
    /// An environment: the template of sandboxes.
    EnvironmentId, "env_", "environment"
);
id!(
    /// A key of the API; not its secret.
    KeyId, "key_", "key"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_parse_again_and_differ() {
        let one = SessionId::random();
        assert_eq!(one.as_str().parse::<SessionId>(), Ok(one.clone()));
        assert_ne!(one, SessionId::random());
    }

    #[test]
    fn ids_of_another_kind_and_paths_are_refused() {
        let sandbox = SandboxId::random();
        assert!(matches!(
            sandbox.as_str().parse::<SessionId>(),
            Err(IdError::Prefix { .. })
        ));
        for text in [
            "sesn_",
            "sesn_../../etc/passwd",
            "sesn_0123456789ABCDEFGHJKMNPQRS",
            "sesn_\u{e9}",
        ] {
            assert!(
                matches!(text.parse::<SessionId>(), Err(IdError::Characters { .. })),
                "{text}"
            );
        }
    }
}
