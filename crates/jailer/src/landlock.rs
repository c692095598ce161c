//! Landlock, where the kernel has it: a second wall behind the mounts and the file modes.
//!
//! Devices can be made nowhere, and writing ends at the directories an agent has business in. Missing pieces of an
//! older kernel's Landlock are left out by the crate; the report says which version there is.

use crate::error::{During as _, StepError};
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _,
};
use std::io;

/// The version that the rules are written for.
const VERSION: ABI = ABI::V5;

/// Where an agent may write, as far as file modes allow. `/proc` is for a process's own settings there, `/dev` for the
/// terminals and shared memory.
const WRITABLE: [&str; 7] = ["/workspace", "/home", "/tmp", "/var", "/run", "/proc", "/dev"];

/// Restricts this process and all it starts.
pub fn restrict(writable: bool) -> Result<(), StepError> {
    rules(writable).during("restrict by landlock", String::new)
}

fn rules(writable: bool) -> io::Result<()> {
    let all = AccessFs::from_all(VERSION);
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
    let write = all & !devices & !BitFlags::from(AccessFs::IoctlDev);
    let read = AccessFs::from_read(VERSION);
    let root = PathFd::new("/").map_err(io::Error::other)?;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rule(PathBeneath::new(root, read)))
        .map_err(io::Error::other)?;
    let below = |directory: &'static str| match (writable, directory) {
        (true, "/dev") => all & !devices,
        _ => write,
    };
    for directory in WRITABLE.into_iter().filter(|_| writable) {
        // An image need not have all of them.
        if let Ok(opened) = PathFd::new(directory) {
            let rule = PathBeneath::new(opened, below(directory));
            rules = rules.add_rule(rule).map_err(io::Error::other)?;
        }
    }
    rules.restrict_self().map(drop).map_err(io::Error::other)
}
