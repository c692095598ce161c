//! Copy-on-write directories: a lower layer that is never written, an upper one on the sandbox's disk.
//!
//! The shell makes them, so that the kernel writes to the upper layer with the rights of the sandbox's root and not with
//! those of the host's. Extended attributes are the user's, so that a reader without capabilities understands them.
//! Layers stay below [`LAYERS`], which is gone with the old root.

use crate::error::StepError;
use crate::mounts::{self, Attributes};
use crate::plan::Durability;
use crate::root;
use crate::shell::{Part, Parts};

/// Where a shell attaches layers.
const LAYERS: &str = "/layers";

/// Attaches a layer that came from the jailer.
pub fn attach_layer(parts: &mut Parts, part: Part, name: &str) -> Result<(), StepError> {
    mounts::attach(root::take(parts, part)?, &format!("{LAYERS}/{name}"))
}

/// Puts an overlay of layer `lower` at a path below the new root. Its upper and work directories are `<name>/upper` and
/// `<name>/work` of the disk.
pub fn mount(lower: &str, name: &str, relative: &str, durability: Durability) -> Result<(), StepError> {
    let lower = format!("{LAYERS}/{lower}");
    let (upper, work) = (
        format!("{LAYERS}/disk/{name}/upper"),
        format!("{LAYERS}/disk/{name}/work"),
    );
    let mut options = vec![
        ("source", "overlay"),
        ("lowerdir", lower.as_str()),
        ("upperdir", &upper),
        ("workdir", &work),
        ("userxattr", ""),
        ("redirect_dir", "nofollow"),
        ("metacopy", "off"),
    ];
    if durability == Durability::Volatile {
        options.push(("volatile", ""));
    }
    let overlay = mounts::new(
        "overlay",
        &options,
        Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV,
    )?;
    mounts::attach(&overlay, &root::path(relative))
}
