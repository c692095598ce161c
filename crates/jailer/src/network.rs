//! The sandbox's network: a namespace with `lo` and nothing else, and the listeners that the host serves.
//!
//! The reserved range of synthetic addresses is local to `lo`, as 127.0.0.0/8 is; every other address is unreachable.

use crate::error::{During as _, StepError};
use crate::sys;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Synthetic addresses, one per allowed name.
const SYNTHETIC: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(255, 254, 0, 0));
const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 80);
const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 3), 3128);
const DNS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 53), 53);
/// Transparent egress; ports below 1024 cannot be bound by an agent, so these are in nobody's way.
const TRANSPARENT: [u16; 2] = [80, 443];
const BACKLOG: i32 = 512;

/// Brings `lo` up and makes the synthetic range local.
pub fn loopback() -> Result<(), StepError> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .during("open socket", || "for the loopback interface".to_owned())?;
    sys::bring_interface_up(socket.as_fd(), "lo").during("bring up", || "lo".to_owned())?;
    let (address, mask) = SYNTHETIC;
    sys::set_interface_address(socket.as_fd(), "lo:0", address, mask)
        .during("set address", || address.to_string())
}

/// The listeners that every sandbox has: gateway, proxy, DNS datagrams, DNS streams, HTTP, HTTPS.
///
/// The gateway's own address is bound before the wildcard on the same port, and stays its own.
pub fn listeners() -> Result<Vec<OwnedFd>, StepError> {
    let mut listeners = vec![stream(GATEWAY)?, stream(PROXY)?, datagrams(DNS)?, stream(DNS)?];
    listeners.extend(egress(&TRANSPARENT)?);
    Ok(listeners)
}

/// Transparent listeners on these ports.
pub fn egress(ports: &[u16]) -> Result<Vec<OwnedFd>, StepError> {
    ports
        .iter()
        .map(|port| stream(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, *port)))
        .collect()
}

fn stream(address: SocketAddrV4) -> Result<OwnedFd, StepError> {
    let listener = bound(SocketType::STREAM, address)?;
    listen(&listener, BACKLOG).during("listen", || address.to_string())?;
    Ok(listener)
}

fn datagrams(address: SocketAddrV4) -> Result<OwnedFd, StepError> {
    bound(SocketType::DGRAM, address)
}

fn bound(kind: SocketType, address: SocketAddrV4) -> Result<OwnedFd, StepError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let make = || -> rustix::io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
        // On port 80 the gateway has one address and the wildcard the rest. Only the same user may share a port so,
        // and no agent is ever this user.
        sockopt::set_socket_reuseport(&socket, kind == SocketType::STREAM)?;
        bind(&socket, &address)?;
        Ok(socket)
    };
    make().during("bind", || address.to_string())
}
