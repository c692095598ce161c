//! What `hostler bench chaos` is asked for.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// How often the server is killed
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub kills: u64,
    /// Sessions that are at work meanwhile
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=250))]
    pub sessions: u64,
    /// What the moments and the victims are drawn from [default: another one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Where the JSON goes [default: hostler-bench-chaos.json]
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
