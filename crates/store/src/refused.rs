//! Why a change of a resource was not made. Nothing of it was stored, and the store is well.

use wire::Invalid;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The workspace has no such thing.
    NotFound,
    /// It is archived, which is final.
    Archived,
    /// The client has seen another version than the present one.
    VersionConflict { present: u64 },
    /// Sessions use it.
    InUse { sessions: u64 },
    /// The outcome would be wrong.
    Invalid(Invalid),
}
