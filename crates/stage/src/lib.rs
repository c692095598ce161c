//! A real `hostler serve` on a stage: its process, its clients and their streams, for benches that measure it and kill it.
//!
//! Everything goes the way that a user's program goes: an executable, a data directory, HTTP on loopback. What is
//! started here ends with the value that stands for it, and what is left of a server with its place.

mod api;
mod failure;
mod following;
mod place;
mod process;
mod progress;
mod victims;

pub use api::{Api, Made, calm, message};
pub use failure::Failure;
pub use following::Following;
pub use place::Place;
pub use process::{Server, Setup};
pub use progress::Progress;
pub use victims::{Kind, Victim, Victims};
