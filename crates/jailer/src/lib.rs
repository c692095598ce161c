//! jailer.
