//! Names to addresses, as this machine is configured: literal addresses, `localhost`, the hosts file, then DNS.
//!
//! The C library is never asked. `localhost` never leaves the machine. Every lookup ends before its deadline. The
//! system's files are read on the first lookup and again whenever they change.

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig as DnsConfig,
    ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// The longest name that DNS can carry.
const MAX_NAME_BYTES: usize = 253;

/// Where names are looked up.
#[derive(Debug, Clone)]
pub struct ResolverConfig {
    pub resolv_conf: PathBuf,
    pub hosts: PathBuf,
    /// Asked in place of the servers of `resolv_conf`.
    pub name_servers: Option<Vec<SocketAddr>>,
    /// How long one lookup may take, all servers and retries together.
    pub deadline: Duration,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
            name_servers: None,
            deadline: Duration::from_secs(10),
        }
    }
}

/// Why a name has no address.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ResolveError {
    #[error("{host:?} is not a host name")]
    InvalidName { host: String },
    #[error("there is no host {host}")]
    NotFound { host: String },
    #[error("no name server answered for {host} within {deadline:?}")]
    Timeout { host: String, deadline: Duration },
    #[error("the lookup of {host} failed")]
    Failed { host: String, source: NetError },
}

/// Cheap to clone; clones share the cache.
#[derive(Debug, Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    config: ResolverConfig,
    loaded: Mutex<Option<Loaded>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.config.fmt(formatter)
    }
}

/// What was read from the system's files, and which files they were.
#[derive(Clone)]
struct Loaded {
    stamps: [Stamp; 2],
    hosts: Arc<Hosts>,
    dns: Result<TokioResolver, NetError>,
}

type Stamp = Option<(SystemTime, u64)>;

impl Resolver {
    /// As `/etc/resolv.conf` and `/etc/hosts` say.
    pub fn system() -> Self {
        Self::new(ResolverConfig::default())
    }

    pub fn new(config: ResolverConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                loaded: Mutex::new(None),
            }),
        }
    }

    /// The addresses of a host, at least one. Accepts names, and literal addresses with or without brackets.
    ///
    /// Nothing is filtered: whether an address may be connected to is the caller's question.
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        check_name(bare)?;
        if is_localhost(bare) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let loaded = self.current();
        // A name in the hosts file is not asked for, not even for the kind of address that the file lacks.
        let listed = in_hosts(&loaded.hosts, bare);
        if !listed.is_empty() {
            return Ok(listed);
        }
        let failed = |source| ResolveError::Failed {
            host: bare.to_owned(),
            source,
        };
        lookup(&loaded.dns.map_err(failed)?, bare, self.shared.config.deadline).await
    }

    /// The resolver for the files as they are now.
    fn current(&self) -> Loaded {
        let config = &self.shared.config;
        let stamps = [stamp(&config.resolv_conf), stamp(&config.hosts)];
        let mut loaded = self.shared.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match &*loaded {
            Some(kept) if kept.stamps == stamps => kept.clone(),
            _ => {
                let hosts = Arc::new(read_hosts(&config.hosts));
                loaded
                    .insert(Loaded {
                        stamps,
                        hosts,
                        dns: load(config),
                    })
                    .clone()
            }
        }
    }
}

async fn lookup(dns: &TokioResolver, host: &str, deadline: Duration) -> Result<Vec<IpAddr>, ResolveError> {
    let timeout = || ResolveError::Timeout {
        host: host.to_owned(),
        deadline,
    };
    let answer = tokio::time::timeout(deadline, dns.lookup_ip(host))
        .await
        .map_err(|_| timeout())?;
    let addresses: Vec<IpAddr> = match answer {
        Ok(found) => found.iter().collect(),
        Err(NetError::Timeout) => return Err(timeout()),
        Err(error) if error.is_no_records_found() => Vec::new(),
        Err(source) => {
            return Err(ResolveError::Failed {
                host: host.to_owned(),
                source,
            });
        }
    };
    if addresses.is_empty() {
        return Err(ResolveError::NotFound {
            host: host.to_owned(),
        });
    }
    Ok(addresses)
}

fn load(config: &ResolverConfig) -> Result<TokioResolver, NetError> {
    let (dns, mut options) = match &config.name_servers {
        Some(servers) => (from_servers(servers), ResolverOpts::default()),
        None => read_resolv_conf(&config.resolv_conf),
    };
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let mut builder = TokioResolver::builder_with_config(dns, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

/// A file without a server means the server on this machine, as resolv.conf(5) has it.
fn read_resolv_conf(path: &Path) -> (DnsConfig, ResolverOpts) {
    let text = std::fs::read(path).unwrap_or_default();
    hickory_resolver::system_conf::parse_resolv_conf(&text).unwrap_or_else(|error| {
        tracing::debug!(%error, path = %path.display(), "no name server is configured, asking this machine");
        (
            from_servers(&[SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]),
            ResolverOpts::default(),
        )
    })
}

fn in_hosts(hosts: &Hosts, host: &str) -> Vec<IpAddr> {
    let Ok(name) = Name::from_ascii(host.to_ascii_lowercase()) else {
        return Vec::new();
    };
    let listed = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
    let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(listed);
    found
        .flat_map(|lookup| {
            lookup
                .answers()
                .iter()
                .filter_map(|r| r.data.ip_addr())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn read_hosts(path: &Path) -> Hosts {
    let mut hosts = Hosts::default();
    if let Ok(file) = File::open(path)
        && let Err(error) = hosts.read_hosts_conf(file)
    {
        tracing::warn!(%error, path = %path.display(), "the hosts file is not readable to its end");
    }
    hosts
}

fn from_servers(servers: &[SocketAddr]) -> DnsConfig {
    DnsConfig::from_name_servers(servers.iter().map(server).collect())
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    config.connections = vec![
        with_port(ConnectionConfig::udp()),
        with_port(ConnectionConfig::tcp()),
    ];
    config
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn check_name(host: &str) -> Result<(), ResolveError> {
    let relative = host.strip_suffix('.').unwrap_or(host);
    let label = |text: &str| {
        (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if relative.len() <= MAX_NAME_BYTES && relative.split('.').all(label) {
        return Ok(());
    }
    Err(ResolveError::InvalidName {
        host: host.chars().take(MAX_NAME_BYTES).collect(),
    })
}

/// RFC 6761: the name and everything below it is this machine.
fn is_localhost(host: &str) -> bool {
    let lower = host.trim_end_matches('.').to_ascii_lowercase();
    lower == "localhost" || lower.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_dns_cannot_carry_are_refused() {
        for host in [
            "",
            ".",
            "a..b",
            "-\u{e9}",
            "a b",
            "a/b",
            "user@host",
            &"a".repeat(64),
            &"a.".repeat(200),
        ] {
            assert!(
                matches!(check_name(host), Err(ResolveError::InvalidName { .. })),
                "{host:?}"
            );
        }
        for host in [
            "api.example.com",
            "API.example.com.",
            "model",
            "_dns.example",
            "xn--bcher-kva.example",
        ] {
            assert!(check_name(host).is_ok(), "{host:?}");
        }
    }

    #[test]
    fn localhost_is_told_from_names_that_look_like_it() {
        for host in ["localhost", "LocalHost", "localhost.", "a.localhost"] {
            assert!(is_localhost(host), "{host}");
        }
        for host in ["localhost.example.com", "notlocalhost", "local"] {
            assert!(!is_localhost(host), "{host}");
        }
    }
}
