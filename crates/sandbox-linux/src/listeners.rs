//! The order in which the jailer sends a sandbox's listeners.

use sandbox::Listeners;
use std::os::fd::OwnedFd;

/// Gateway, proxy, DNS datagrams, DNS streams, then the transparent ones; nothing if some are missing.
pub(crate) fn in_order(descriptors: Vec<OwnedFd>) -> Option<Listeners> {
    let mut descriptors = descriptors.into_iter();
    Some(Listeners {
        gateway: descriptors.next()?,
        proxy: descriptors.next()?,
        dns_udp: descriptors.next()?,
        dns_tcp: descriptors.next()?,
        transparent: descriptors.collect(),
    })
}
