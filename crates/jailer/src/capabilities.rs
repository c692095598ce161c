//! Capabilities: the guest keeps what it needs to start programs as the agent's user; the agent has none, and nothing in
//! the sandbox can get any back.

use crate::error::{During as _, StepError};
use crate::sys;

const KILL: u32 = 5;
const SETGID: u32 = 6;
const SETUID: u32 = 7;
/// Every number a kernel could know.
const MOST: u32 = 64;

const fn bit(number: u32) -> u64 {
    1 << number
}

/// Empties the bounding set, so that no exec gains a capability, and keeps three for the guest itself, if its user is
/// root of the namespace. They are gone with its user when it starts a program.
pub fn drop_all_but_the_guests() -> Result<(), StepError> {
    for number in 0..MOST {
        match sys::drop_bounding_capability(number) {
            Ok(()) => {}
            // Beyond the kernel's last one.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error).during("drop capability", || number.to_string()),
        }
    }
    let root = rustix::process::geteuid().is_root();
    let keep = if root {
        bit(KILL) | bit(SETGID) | bit(SETUID)
    } else {
        0
    };
    rustix::thread::clear_ambient_capability_set().during("clear ambient capabilities", String::new)?;
    sys::set_capabilities(keep, 0).during("set capabilities", || format!("{keep:#x}"))
}

/// Lets a process that is not root of its namespace keep all capabilities over an exec.
pub fn keep_over_exec() -> Result<(), StepError> {
    let all = sys::effective_capabilities().during("read capabilities", String::new)?;
    sys::set_capabilities(all, all).during("set inheritable capabilities", String::new)?;
    (0..MOST)
        .filter(|number| all & bit(*number) != 0)
        .try_for_each(sys::raise_ambient_capability)
        .during("raise ambient capabilities", String::new)
}
