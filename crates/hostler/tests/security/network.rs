//! The network: what a sandbox reaches when nobody allowed anything, and what when something was allowed.

use crate::names::serve;
use crate::place::{Machine, Place};
use crate::product::Product;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Prints what becomes of each attempt: `ok`, or the name of the error.
pub const ATTEMPT: &str = r"
import errno, socket, struct
def attempt(name, work):
    try:
        work()
        print(name, 'ok')
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error))
def connect(address, port, family=socket.AF_INET, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as connection:
        connection.settimeout(10)
        connection.connect((address, port))
        if kind == socket.SOCK_DGRAM: connection.send(b'x')
";

async fn host_python(program: &str) -> String {
    through(&["/usr/bin/python3", "-c", program]).await
}

pub async fn through(words: &[&str]) -> String {
    let output = tokio::process::Command::new(words[0])
        .args(&words[1..])
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

async fn alone() -> (Machine, Place) {
    let machine = Machine::start().await;
    let place = machine.sandbox().await;
    (machine, place)
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[tokio::test]
async fn a_name_that_is_not_allowed_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(serve(listener, Arc::default()));
    let program = format!(
        r"{ATTEMPT}
def proxy(request):
    with socket.create_connection(('127.0.0.3', 3128), 30) as connection:
        connection.sendall(request.encode())
        return connection.recv(4096).decode()
for target in ('pypi.example:443', '1.1.1.1:443', '127.0.0.1:{port}1'[:-1], '127.0.0.1:22', '[::1]:{port}', 'localhost:{port}'):
    print('CONNECT', target, proxy(f'CONNECT {{target}} HTTP/1.1\r\nhost: {{target}}\r\n\r\n').split('\r\n')[0])
print('GET', proxy('GET http://pypi.example/ HTTP/1.1\r\nhost: pypi.example\r\nconnection: close\r\n\r\n').replace('\r\n', '|'))
try: socket.getaddrinfo('pypi.example', 443)
except socket.gaierror as error: print('DNS', error)
"
    );
    let allow = format!("127.0.0.1:{port}");
    let product = Product::new();
    let ran = product
        .python(
            &program,
            &["--allow-host", &allow, "--allow-host", "other.example"],
        )
        .await;
    serving.abort();
    let said = ran.said();
    assert!(
        said.contains(
            "CONNECT pypi.example:443 HTTP/1.1 403 Forbidden, allow it with --allow-host pypi.example"
        ),
        "{said}"
    );
    assert!(
        said.contains("this sandbox may not connect to pypi.example:80: no rule allows it"),
        "{said}"
    );
    for target in [
        "1.1.1.1:443".to_owned(),
        "127.0.0.1:22".to_owned(),
        format!("[::1]:{port}"),
        format!("localhost:{port}"),
    ] {
        assert!(
            said.contains(&format!("CONNECT {target} HTTP/1.1 403")),
            "{target}: {said}"
        );
    }
    assert!(said.contains(&format!("CONNECT {allow} HTTP/1.1 200")), "{said}");
    assert!(said.contains("DNS [Errno -"), "{said}");
}

#[tokio::test]
async fn an_address_is_unreachable() {
    let (_machine, place) = alone().await;
    let program = format!(
        "{ATTEMPT}
for address in ('1.1.1.1', '10.255.255.53', '169.254.169.254', '192.168.0.1', '255.255.255.255', '224.0.0.1'):
    attempt(address + ' stream', lambda: connect(address, 443))
    attempt(address + ' datagram', lambda: connect(address, 53, kind=socket.SOCK_DGRAM))
attempt('gateway', lambda: connect('127.0.0.2', 80))
for line in open('/proc/net/dev').readlines()[2:]: print('device', line.split(':')[0].strip())"
    );
    let outcome = place.python(&program).await;
    let text = &outcome.text;
    assert!(
        text.contains("gateway ok") && text.matches("device").count() == 1 && text.contains("device lo"),
        "{text}"
    );
    for line in text
        .lines()
        .filter(|line| line.contains(" stream ") || line.contains(" datagram "))
    {
        assert!(
            line.ends_with("ENETUNREACH") || line.starts_with("255.255.255.255") && line.ends_with("EACCES"),
            "{line}"
        );
    }
    assert_eq!(
        text.matches(" stream ").count() + text.matches(" datagram ").count(),
        12,
        "{text}"
    );
}

#[tokio::test]
async fn an_ipv6_address_is_unreachable() {
    let (_machine, place) = alone().await;
    let program = format!(
        "{ATTEMPT}
for address in ('2606:4700:4700::1111', 'fd00:ec2::254', 'fe80::1', 'ff02::1', '::ffff:1.1.1.1'):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        attempt(address + ' is', lambda: connect(address, 443, socket.AF_INET6, kind))
attempt('mapped loopback', lambda: connect('::ffff:127.0.0.2', 80, socket.AF_INET6))"
    );
    let text = place.python(&program).await.text;
    for line in text.lines().filter(|line| line.contains(" is ")) {
        let refused = ["ENETUNREACH", "EADDRNOTAVAIL", "EINVAL"]
            .iter()
            .any(|name| line.ends_with(name));
        assert!(refused, "{line}");
    }
    assert_eq!(text.matches(" is ").count(), 10, "{text}");
    assert!(text.contains("mapped loopback ok"), "{text}");
}

#[tokio::test]
async fn raw_and_unusual_sockets_are_refused() {
    let (_machine, place) = alone().await;
    let program = format!(
        "{ATTEMPT}
for name, family, kind, protocol in [
    ('unix', 1, 1, 0), ('ipv4', 2, 1, 0), ('ipv6', 10, 2, 0), ('routing', 16, 3, 0),
    ('no raw ipv4', 2, 3, 1), ('no raw ipv6', 10, 3, 58), ('no packet', 17, 3, 0x0300),
    ('no packet datagram', 17, 2, 0x0300), ('no audit', 16, 3, 9), ('no netfilter', 16, 3, 12), ('no uevent', 16, 3, 15),
    ('no crypto', 16, 3, 21), ('no generic', 16, 3, 16), ('no diag', 16, 3, 4), ('no alg', 38, 5, 0), ('no vsock', 40, 1, 0),
    ('no key', 15, 3, 2), ('no bluetooth', 31, 3, 1), ('no can', 29, 3, 1), ('no xdp', 44, 3, 0), ('no tipc', 30, 2, 0),
    ('no x25', 9, 5, 0), ('no rds', 21, 5, 0), ('no smc', 43, 1, 0), ('no qipcrtr', 42, 2, 0), ('no packet ipv4', 2, 10, 0),
    ('no sctp', 2, 1, 132), ('no mptcp', 2, 1, 262), ('no udplite', 10, 2, 136), ('no dccp', 2, 6, 33),
]:
    attempt(name, lambda: socket.socket(family, kind, protocol))"
    );
    let text = place.python(&program).await.text;
    for name in ["unix", "ipv4", "ipv6", "routing"] {
        assert!(
            text.lines().any(|line| line == format!("{name} ok")),
            "{name}: {text}"
        );
    }
    let refused: Vec<&str> = text.lines().filter(|line| line.starts_with("no ")).collect();
    assert_eq!(refused.len(), 26, "{text}");
    for line in &refused {
        assert!(!line.ends_with(" ok"), "{line}\n{text}");
    }
    if is_root() {
        // The machine has some of them, so it was the sandbox that refused.
        let host = host_python(&program).await;
        for name in ["no raw ipv4", "no packet", "no generic", "no uevent"] {
            assert!(host.contains(&format!("{name} ok")), "{name}: {host}");
        }
    }
}

#[tokio::test]
async fn the_hosts_loopback_is_not_there() {
    let (_machine, place) = alone().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("hostler-attack-{port}");
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name)
            .unwrap();
    let _listening = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let program = format!(
        r"{ATTEMPT}
def abstract():
    with socket.socket(socket.AF_UNIX) as connection: connection.connect('\0{name}')
attempt('loopback', lambda: connect('127.0.0.1', {port}))
attempt('mapped', lambda: connect('::ffff:127.0.0.1', {port}, socket.AF_INET6))
attempt('abstract', abstract)"
    );
    assert_eq!(
        host_python(&program).await,
        "loopback ok\nmapped ok\nabstract ok\n"
    );
    assert_eq!(
        place.python(&program).await.text,
        "loopback ECONNREFUSED\nmapped ECONNREFUSED\nabstract ECONNREFUSED\n"
    );
}

#[tokio::test]
async fn the_network_cannot_be_changed() {
    let (_machine, place) = alone().await;
    let program = format!(
        r"{ATTEMPT}
import fcntl
def route(kind, body, flags=0x605):
    with socket.socket(16, 3, 0) as link:
        link.bind((0, 0))
        link.send(struct.pack('=IHHII', 16 + len(body), kind, flags, 1, 0) + body)
        answer = link.recv(65536)
        if struct.unpack('=H', answer[4:6])[0] == 2:
            code = -struct.unpack('=i', answer[16:20])[0]
            if code: raise OSError(code, '')
def attribute(kind, data): return struct.pack('=HH', 4 + len(data), kind) + data + b'\0' * (-len(data) % 4)
def control(number, data):
    with socket.socket() as any: fcntl.ioctl(any, number, data)
there = socket.inet_aton('10.9.8.7')
attempt('read links', lambda: route(18, struct.pack('=BxHiII', 0, 0, 0, 0, 0), 0x301))
attempt('no link', lambda: route(16, struct.pack('=BxHiII', 0, 0, 0, 1, 1) + attribute(3, b'new0\0') + attribute(18, attribute(1, b'dummy'))))
attempt('no address', lambda: route(20, struct.pack('=BBBBI', 2, 24, 0, 0, 1) + attribute(2, there) + attribute(1, there)))
attempt('no route', lambda: route(24, struct.pack('=BBBBBBBBI', 2, 0, 0, 0, 254, 3, 253, 1, 0) + attribute(4, struct.pack('=I', 1))))
attempt('no old address', lambda: control(0x8916, struct.pack('16sHH4s8x', b'lo', 2, 0, there)))
attempt('no flags', lambda: control(0x8914, struct.pack('16sH14x', b'lo', 0)))"
    );
    let text = place.python(&program).await.text;
    assert!(text.starts_with("read links ok\n"), "{text}");
    for name in ["no link", "no address", "no route", "no old address", "no flags"] {
        assert!(text.contains(&format!("{name} EPERM\n")), "{name}: {text}");
    }
    // In a namespace of its own, with its capabilities, the same program changes what it likes.
    let own = through(&[
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "/usr/bin/python3",
        "-c",
        &program,
    ])
    .await;
    for name in ["no address", "no old address", "no flags"] {
        assert!(own.contains(&format!("{name} ok\n")), "{name}: {own}");
    }
}
