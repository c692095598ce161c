//! One DNS answer. A name gets an address only if a rule is about it; everything else is `REFUSED` and audited.
//!
//! Answers hold at most one record, so they fit the 512 bytes of a client without EDNS (RFC 1035, 2.3.4).

use crate::Transport;
use crate::names::is_synthetic;
use crate::sandbox::Sandbox;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use policy::{Host, HostName};
use std::net::Ipv4Addr;
use tokio::time::Instant;

const DNS_PORT: u16 = 53;
/// What an EDNS answer says this server takes (DNS Flag Day 2020).
const EDNS_PAYLOAD: u16 = 1232;

/// The answer to a message, or nothing for what is not a query.
pub(super) fn reply(sandbox: &Sandbox, packet: &[u8]) -> Option<Vec<u8>> {
    let request = Message::from_vec(packet).ok()?;
    if request.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.recursion_available = true;
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_PAYLOAD).set_version(0);
        response.edns = Some(edns);
    }
    match check(&request) {
        Err(code) => response.metadata.response_code = code,
        Ok(query) => {
            response.queries.push(query.clone());
            match answer(sandbox, query) {
                Ok(record) => response.answers.extend(record),
                Err(code) => response.metadata.response_code = code,
            }
        }
    }
    response.to_vec().ok()
}

fn check(request: &Message) -> Result<&Query, ResponseCode> {
    if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Err(ResponseCode::BADVERS);
    }
    if request.metadata.op_code != OpCode::Query {
        return Err(ResponseCode::NotImp);
    }
    match &request.queries[..] {
        [query] if query.query_class() == DNSClass::IN => Ok(query),
        [_] => Err(ResponseCode::Refused),
        _ => Err(ResponseCode::FormErr),
    }
}

/// The record, or none where the name is there but has no record of that type.
fn answer(sandbox: &Sandbox, query: &Query) -> Result<Option<Record>, ResponseCode> {
    let text = query.name().to_ascii();
    if query.query_type() == RecordType::PTR
        && let Some(address) = reverse(&text)
    {
        return name_of(sandbox, query, address);
    }
    let Ok(name) = text.parse::<HostName>() else {
        sandbox.refuse_text(Transport::Dns, &text, DNS_PORT, "it is not a host name");
        return Err(ResponseCode::Refused);
    };
    let is_address = query.query_type() == RecordType::A;
    if name.is_localhost() {
        return Ok(is_address.then(|| record(sandbox, query, RData::A(A(Ipv4Addr::LOCALHOST)))));
    }
    if !sandbox.rules.may_resolve(&name) {
        sandbox.refuse_text(Transport::Dns, name.as_str(), DNS_PORT, "no rule is about it");
        return Err(ResponseCode::Refused);
    }
    if !is_address {
        return Ok(None);
    }
    let address = address_of(sandbox, &name)?;
    Ok(Some(record(sandbox, query, RData::A(A(address)))))
}

fn address_of(sandbox: &Sandbox, name: &HostName) -> Result<Ipv4Addr, ResponseCode> {
    let Some(given) = sandbox.names.give(name, Instant::now()) else {
        let reason = "too many names are in use";
        sandbox.refuse_text(Transport::Dns, name.as_str(), DNS_PORT, reason);
        return Err(ResponseCode::ServFail);
    };
    if given.first {
        let host = Host::Name(name.clone());
        let rule = sandbox
            .rules
            .patterns()
            .iter()
            .find(|pattern| pattern.covers(&host));
        sandbox.audit_name(name.as_str(), rule.map(ToString::to_string));
    }
    Ok(given.address)
}

/// Only addresses that were handed out have a name, and loopback.
fn name_of(sandbox: &Sandbox, query: &Query, address: Ipv4Addr) -> Result<Option<Record>, ResponseCode> {
    let name = match address {
        Ipv4Addr::LOCALHOST => "localhost".to_owned(),
        synthetic if is_synthetic(synthetic) => sandbox
            .names
            .look_up(synthetic)
            .ok_or(ResponseCode::NXDomain)?
            .to_string(),
        _ => return Err(ResponseCode::Refused),
    };
    let name = Name::from_ascii(format!("{name}.")).map_err(|_| ResponseCode::ServFail)?;
    Ok(Some(record(sandbox, query, RData::PTR(PTR(name)))))
}

/// `1.0.18.198.in-addr.arpa.` is `198.18.0.1`.
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let lower = name.to_ascii_lowercase();
    let labels = lower
        .strip_suffix('.')
        .unwrap_or(&lower)
        .strip_suffix(".in-addr.arpa")?;
    let mut octets: Vec<&str> = labels.split('.').collect();
    octets.reverse();
    octets.join(".").parse().ok()
}

fn record(sandbox: &Sandbox, query: &Query, data: RData) -> Record {
    let seconds = u32::try_from(sandbox.config.dns_ttl.as_secs()).unwrap_or(u32::MAX);
    Record::from_rdata(query.name().clone(), seconds, data)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
