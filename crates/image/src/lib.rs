//! Root file systems of sandboxes. For now the `host` image: this machine's own programs in a made-up system.

mod host_image;
mod tree;

pub use host_image::{HostImage, ImageError};
