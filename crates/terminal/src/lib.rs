//! What a command line is to whoever calls it: the environment it reads, the terminal or pipe it writes to, the signals it is
//! sent, and the failures it tells with what to do about them.
//!
//! Text that is not hostler's own goes through [`text`] before a terminal sees it. What waits for input ends with a signal.

mod environment;
mod failure;
pub mod input;
mod signals;
mod style;
mod terminal;
pub mod text;

pub use environment::Environment;
pub use failure::{Exit, Failure};
pub use signals::{Asked, Signals};
pub use style::Style;
pub use terminal::{Answer, Kind, Terminal};
