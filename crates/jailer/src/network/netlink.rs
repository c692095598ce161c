//! Two routing messages, as bytes. The layouts are those of `linux/rtnetlink.h`.

use std::io;
use std::net::Ipv4Addr;

const HEADER_BYTES: usize = 16;
const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const REQUEST_AND_ACKNOWLEDGE: u16 = 0x1 | 0x4;
const CREATE_EXCLUSIVELY: u16 = 0x200 | 0x400;
const INTERFACE_UP: u32 = 1;
const ATTRIBUTE_ADDRESS: u16 = 1;
const ATTRIBUTE_LOCAL: u16 = 2;
const FAMILY_INET: u8 = 2;

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend(((HEADER_BYTES + body.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST_AND_ACKNOWLEDGE | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

/// Sets the flag `UP` of an interface.
pub(super) fn bring_up(interface: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(interface.to_ne_bytes());
    body.extend(INTERFACE_UP.to_ne_bytes());
    body.extend(INTERFACE_UP.to_ne_bytes());
    message(NEW_LINK, 0, &body)
}

/// Gives an interface an address. On the loopback interface the whole prefix becomes local.
pub(super) fn add_address(interface: u32, address: Ipv4Addr, prefix: u8) -> Vec<u8> {
    let mut body = vec![FAMILY_INET, prefix, 0, 0];
    body.extend(interface.to_ne_bytes());
    for attribute in [ATTRIBUTE_LOCAL, ATTRIBUTE_ADDRESS] {
        body.extend(8_u16.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(address.octets());
    }
    message(NEW_ADDRESS, CREATE_EXCLUSIVELY, &body)
}

/// The kernel's answer to one message: an error number, 0 for done.
pub(super) fn check(answer: &[u8]) -> io::Result<()> {
    let kind = answer
        .get(4..6)
        .and_then(|bytes| Some(u16::from_ne_bytes(bytes.try_into().ok()?)));
    let code = answer
        .get(16..20)
        .and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?)));
    match (kind, code) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_length_they_claim() {
        for bytes in [bring_up(1), add_address(1, Ipv4Addr::new(198, 18, 0, 1), 15)] {
            assert_eq!(
                bytes.len() as u32,
                u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
            );
            assert_eq!(bytes.len() % 4, 0);
        }
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        assert!(check(&[]).is_err());
        assert!(check(&[0; 20]).is_err());
    }
}
