//! What routes have to work with.

use control::Resources;

/// Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub resources: Resources,
}
