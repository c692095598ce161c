//! What an operator may set of a server: the file, its keys and their values, and what is wrong in it and where.

mod config;
pub mod document;
pub mod key_file;
mod keys;
mod tuning;
pub mod values;

pub use config::{Config, REFERENCE};
pub use keys::{in_order, values_of};
pub use tuning::{EgressTuning, ModelTuning, Tuning};
pub use values::{BaseUrl, JailerStart, address, shown};
