//! change-set.
