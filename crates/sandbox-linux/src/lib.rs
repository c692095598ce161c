//! sandbox-linux.
