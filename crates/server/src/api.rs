//! What routes have to work with.

use control::{Hosted, Resources};

/// Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub resources: Resources,
    /// Nothing where sessions are not served.
    pub sessions: Option<Hosted>,
}
