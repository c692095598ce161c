//! How whoever waits is told how far it is.

pub trait Progress: Send + Sync {
    /// What is being done now.
    fn at(&self, what: &str);

    /// So many of so many.
    fn step(&self, done: u64, of: u64);
}

/// Tells nobody.
impl Progress for () {
    fn at(&self, _what: &str) {}

    fn step(&self, _done: u64, _of: u64) {}
}
