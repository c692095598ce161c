//! Which host a request is for, and whether it says so with one voice: the URI, the `Host` header and the address
//! that was connected to must agree.

use super::refusal::Refusal;
use super::{Front, Method, Request};
use crate::Transport;
use crate::names::is_synthetic;
use crate::sandbox::Sandbox;
use hyper::header::HOST;
use hyper::http::uri::{Scheme, Uri};
use policy::{Destination, Host};
use std::net::IpAddr;

const LONGEST_SHOWN: usize = 100;

pub(super) fn of<B>(sandbox: &Sandbox, front: &Front, request: &Request<B>) -> Result<Destination, Refusal> {
    match front {
        Front::Proxy if request.method() == Method::CONNECT => {
            Ok(by_name(sandbox, authority(request.uri(), None)?))
        }
        Front::Proxy => {
            let asked = proxied(request.uri())?;
            check_host_header(sandbox, request, &asked)?;
            Ok(by_name(sandbox, asked))
        }
        Front::Direct(meant) => {
            direct(sandbox, request, meant)?;
            Ok(meant.clone())
        }
    }
}

fn proxied(uri: &Uri) -> Result<Destination, Refusal> {
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => authority(uri, Some(80)),
        Some(scheme) => Err(Refusal::bad_request(
            format!("this proxy does not fetch {} URLs", scheme.as_str()),
            "Ask it for a tunnel with CONNECT.",
        )),
        None => Err(Refusal::bad_request(
            "this is a proxy, not a web server",
            "Set it as HTTP_PROXY and HTTPS_PROXY: requests name their host in an absolute URL, or use CONNECT.",
        )),
    }
}

fn direct<B>(sandbox: &Sandbox, request: &Request<B>, meant: &Destination) -> Result<(), Refusal> {
    if request.method() == Method::CONNECT {
        let hint = "The proxy of this sandbox is at http://127.0.0.3:3128.";
        return Err(Refusal::bad_request("this is not a proxy", hint));
    }
    if request.uri().authority().is_some() {
        let named = authority(request.uri(), Some(80))?;
        if named != *meant {
            return Err(disagree(sandbox, meant, &named.to_string()));
        }
    }
    if request.headers().get(HOST).is_none() {
        sandbox.refuse(Transport::Http, meant, "the request names no host");
        return Err(Refusal::bad_request(
            "the request has no Host header",
            "HTTP/1.1 needs one.",
        ));
    }
    check_host_header(sandbox, request, meant)
}

/// At most one, and it names the host the request is for.
fn check_host_header<B>(sandbox: &Sandbox, request: &Request<B>, asked: &Destination) -> Result<(), Refusal> {
    let mut headers = request.headers().get_all(HOST).iter();
    let Some(header) = headers.next() else {
        return Ok(());
    };
    if headers.next().is_some() {
        sandbox.refuse(Transport::Http, asked, "the request has several Host headers");
        return Err(Refusal::bad_request(
            "the request has several Host headers",
            "Send one.",
        ));
    }
    let text = String::from_utf8_lossy(header.as_bytes());
    match Destination::parse(&text, Some(80)) {
        Ok(named) if named == *asked => Ok(()),
        _ => Err(disagree(sandbox, asked, &text)),
    }
}

fn disagree(sandbox: &Sandbox, asked: &Destination, named: &str) -> Refusal {
    let named: String = named.chars().take(LONGEST_SHOWN).collect();
    sandbox.refuse(Transport::Http, asked, &format!("the request names {named:?}"));
    Refusal::forbidden(
        format!("a request to {asked} names another host, {named:?}"),
        "Host and address of a request must agree.",
    )
}

fn authority(uri: &Uri, default_port: Option<u16>) -> Result<Destination, Refusal> {
    let text = uri.authority().map_or("", |authority| authority.as_str());
    Destination::parse(text, default_port).map_err(|error| {
        let shown: String = text.chars().take(LONGEST_SHOWN).collect();
        Refusal::bad_request(
            format!("{shown:?} is not a host and port: {error}"),
            "Write it as example.com:443.",
        )
    })
}

/// A program may have looked the name up before it came to the proxy: its synthetic address means the name.
fn by_name(sandbox: &Sandbox, asked: Destination) -> Destination {
    let name = match asked.host {
        Host::Address(IpAddr::V4(address)) if is_synthetic(address) => sandbox.names.look_up(address),
        _ => None,
    };
    match name {
        Some(name) => Destination::new(Host::Name(name), asked.port),
        None => asked,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_takes_absolute_http_urls_and_explains_the_rest() {
        let table = [
            ("http://a.example/x", "a.example:80"),
            ("http://A.example:8080", "a.example:8080"),
            ("http://[::1]:8080/", "[::1]:8080"),
            ("/x", "400"),
            ("https://a.example/", "400"),
            ("http://me:secret@a.example/", "400"),
            ("http://a.example:0/", "400"),
            ("http://127.1/", "400"),
        ];
        for (uri, expected) in table {
            let found = match proxied(&uri.parse().unwrap()) {
                Ok(destination) => destination.to_string(),
                Err(refusal) => refusal.into_response().status().as_str().to_owned(),
            };
            assert_eq!(found, expected, "{uri}");
        }
    }
}
