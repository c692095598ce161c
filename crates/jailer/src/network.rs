//! The sandbox's network: a namespace with `lo` and nothing else, and the listeners that the host serves.
//!
//! The reserved range of synthetic addresses is local to `lo`, as 127.0.0.0/8 is; every other address is unreachable.

mod netlink;

use crate::error::{During as _, StepError};
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, listen, recv, send, socket_with,
    sockopt,
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Synthetic addresses, one per allowed name.
const SYNTHETIC: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 1), 15);
/// The first interface of every network namespace.
const LOOPBACK: u32 = 1;
const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 80);
const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 3), 3128);
const DNS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 53), 53);
/// Transparent egress; ports below 1024 cannot be bound by an agent, so these are in nobody's way.
const TRANSPARENT: [u16; 2] = [80, 443];
const BACKLOG: i32 = 512;

/// Brings `lo` up and makes the synthetic range local, in one message to the kernel: each waits for a lock that all
/// namespaces share.
pub fn loopback() -> Result<(), StepError> {
    let configure = || -> std::io::Result<()> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        let mut request = netlink::bring_up(LOOPBACK);
        request.extend(netlink::add_address(LOOPBACK, SYNTHETIC.0, SYNTHETIC.1));
        send(&socket, &request, SendFlags::empty())?;
        for _ in 0..2 {
            let mut answer = [0_u8; 512];
            let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
            netlink::check(&answer[..length])?;
        }
        Ok(())
    };
    configure().during("configure network", || "lo".to_owned())
}

/// The listeners that every sandbox has: gateway, proxy, DNS datagrams, DNS streams, HTTP, HTTPS.
///
/// The gateway's own address is bound before the wildcard on the same port, and stays its own.
pub fn listeners() -> Result<Vec<OwnedFd>, StepError> {
    let mut listeners = vec![stream(GATEWAY)?, stream(PROXY)?, datagrams(DNS)?, stream(DNS)?];
    listeners.extend(egress(&TRANSPARENT)?);
    Ok(listeners)
}

/// Fails if somebody listens where [`listeners`] and [`egress`] would: sharing a port, they would not notice.
pub fn check_free(ports: &[u16]) -> Result<(), StepError> {
    let transparent = TRANSPARENT.iter().chain(ports);
    let wildcards = transparent.map(|port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, *port));
    [GATEWAY, PROXY, DNS]
        .into_iter()
        .chain(wildcards)
        .try_for_each(|address| {
            let try_out = || -> rustix::io::Result<()> {
                let socket = socket_with(
                    AddressFamily::INET,
                    SocketType::STREAM,
                    SocketFlags::CLOEXEC,
                    None,
                )?;
                sockopt::set_socket_reuseaddr(&socket, true)?;
                bind(&socket, &address)
            };
            try_out().during("bind", || format!("{address}: is another server still there?"))
        })
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
        // Connections of listeners that are gone are in nobody's way, while a listener that is there still is.
        sockopt::set_socket_reuseaddr(&socket, kind == SocketType::STREAM)?;
        bind(&socket, &address)?;
        Ok(socket)
    };
    make().during("bind", || address.to_string())
}
