//! Keys and budget: what the agent can find of them, and what it can do with what it finds.

use crate::product::{KEY, Product, model, python, says};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Looks for a word in everything that the agent can read: environments, arguments, memory and files. The word comes in
/// halves, so that the program does not find itself.
const SEARCH: &str = r"
import os, re
def processes():
    for pid in filter(str.isdigit, os.listdir('/proc')):
        if int(pid) != os.getpid():
            yield pid
def read(path):
    try:
        with open(path, 'rb') as file: return file.read(64 << 20)
    except OSError: return b''
def memory(pid):
    for line in read(f'/proc/{pid}/maps').decode().splitlines():
        start, end = (int(word, 16) for word in line.split()[0].split('-'))
        if 'r' not in line.split()[1] or end - start > 256 << 20: continue
        try:
            with open(f'/proc/{pid}/mem', 'rb', 0) as file:
                file.seek(start)
                yield file.read(end - start)
        except (OSError, OverflowError, ValueError): pass
def search(word):
    found = set()
    for pid in processes():
        for kind in ('environ', 'cmdline'):
            if word in read(f'/proc/{pid}/{kind}'): found.add(kind)
        if any(word in part for part in memory(pid)): found.add('memory')
    for top in ('/workspace', '/home', '/tmp', '/etc', '/run', '/var', '/root', '/dev/shm', '/.hostler'):
        for directory, _, names in os.walk(top):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isfile(path) and word in read(path): found.add(path)
    return sorted(found)
";

/// `own`, the session's token, taken from the runtime's environment: commands have none. `call(method, path, token)`:
/// the status and the rest that the gateway answers.
const CALL: &str = r"
import glob, http.client, json
def token():
    for path in glob.glob('/proc/[0-9]*/environ'):
        try: text = open(path).read()
        except OSError: continue
        for word in text.split('\0'):
            if word.startswith('ANTHROPIC_API_KEY='): return word.split('=', 1)[1]
own = token()
def call(method, path, token, body=None, headers={}):
    connection = http.client.HTTPConnection('127.0.0.2', 80, timeout=30)
    connection.request(method, path, body, {'anthropic-version': '2023-06-01', 'x-api-key': token, **headers})
    answer = connection.getresponse()
    return answer.status, answer.read().decode() + str(answer.getheaders())
";

#[tokio::test]
async fn the_model_key_is_nowhere_in_the_sandbox() {
    let (left, right) = KEY.split_at(KEY.len() / 2);
    let program = format!(
        "{SEARCH}{CALL}\nprint('KEY', search(b'{left}' + b'{right}'))\nprint('TOKEN', search(own.encode()))"
    );
    let server = model(&says(&python(&program))).await;
    let product = Product::new();
    let ran = product.against(&server.base_url(), &[]).await;
    assert!(ran.said().contains("KEY []"), "{ran:?}");
    // The search finds what is there.
    let token = ran.said().lines().find(|line| line.starts_with("TOKEN")).unwrap();
    assert!(
        token.contains("'environ'") && token.contains("'memory'"),
        "{token}"
    );
    // The calls were made with the key all the same.
    assert_eq!(server.ledger().totals().refused, 0);
    assert!(server.ledger().totals().completed >= 2);
}

#[tokio::test]
async fn the_hosts_environment_does_not_enter() {
    let program = format!(
        "{SEARCH}\nprint('CANARY', search(b'hosts-' + b'canary'))\n\
         print('NAMES', ' '.join(sorted(os.environ)))\nprint('HOME', search(b'HOME=/home' + b'/agent'))"
    );
    let product = Product::new();
    let script = product.path().join("script.json");
    crate::place::write(&script, &says(&python(&program)).to_string());
    let mut command = product.command(&[], &["--simulate", script.to_str().unwrap()]);
    command
        .env("AWS_SECRET_ACCESS_KEY", "hosts-canary")
        .env("LD_LIBRARY_PATH", "/hosts-canary");
    let ran = crate::product::ran(command).await;
    assert!(ran.said().contains("CANARY []"), "{ran:?}");
    assert!(ran.said().contains("HOME ['environ', 'memory']"), "{ran:?}");
    let names = ran.said().lines().find(|line| line.starts_with("NAMES")).unwrap();
    assert!(
        !names.contains("AWS_") && !names.contains("LD_") && !names.contains("CARGO"),
        "{names}"
    );
}

#[tokio::test]
async fn the_session_token_opens_nothing_else() {
    let program = format!(
        "{CALL}\nprint('OWN', own, call('GET', '/v1/models', own)[0])\n\
         print('NONE', call('GET', '/v1/models', '')[0], call('GET', '/v1/models', own[:-1])[0])"
    );
    let server = model(&says(&python(&program))).await;
    let product = Product::new();
    let ran = product.against(&server.base_url(), &[]).await;
    assert!(ran.said().contains("NONE 401 401"), "{ran:?}");
    let own = ran
        .said()
        .lines()
        .find(|line| line.starts_with("OWN hostler-session-"))
        .unwrap();
    assert!(own.ends_with(" 200"), "{own}");
    let token = own.split(' ').nth(1).unwrap().to_owned();

    // The model API itself does not know it.
    let head = "GET /v1/models HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\nconnection: close\r\nx-api-key: ";
    assert!(
        ask(&server, &format!("{head}{token}\r\n\r\n"))
            .await
            .starts_with("HTTP/1.1 401")
    );
    assert!(
        ask(&server, &format!("{head}{KEY}\r\n\r\n"))
            .await
            .starts_with("HTTP/1.1 200")
    );

    // The next session's gateway does not either.
    let program = format!(
        "{CALL}\nprint('OLD', call('GET', '/v1/models', '{token}')[0], call('POST', '/v1/messages', '{token}', '{{}}')[0])\n\
         print('OWN', own != '{token}', call('GET', '/v1/models', own)[0])"
    );
    let server = model(&says(&python(&program))).await;
    let ran = product.against(&server.base_url(), &[]).await;
    assert!(ran.said().contains("OLD 401 401\nOWN True 200"), "{ran:?}");
}

async fn ask(server: &simulated_model::Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_gateway_gives_nothing_else() {
    let program = format!(
        r"{CALL}
for method, path in [
    ('GET', '/'), ('GET', '/v1/files'), ('POST', '/v1/messages/batches'), ('GET', '/v1/organizations/me'),
    ('GET', '/v1/models/../organizations/me'), ('GET', '//v1/models'), ('DELETE', '/v1/models'),
    ('GET', '/_simulated/ledger'), ('GET', 'http://127.0.0.1:1/elsewhere'), ('CONNECT', '127.0.0.1:22'),
]:
    print('PATH', method, path, call(method, path, own)[0])
status, text = call('GET', '/v1/models', own, headers={{'cookie': 'a=b', 'authorization': 'Bearer ' + own, 'host': 'elsewhere'}})
print('ECHO', status, 'echoed' in text, 'sk-ant' in text, 'organization-id' in text, 'set-cookie' in text)"
    );
    let server = model(&says(&python(&program))).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let upstream = tokio::spawn(indiscreet(listener, server.address()));
    let product = Product::new();
    let ran = product.against(&url, &[]).await;
    upstream.abort();
    let paths: Vec<&str> = ran
        .said()
        .lines()
        .filter(|line| line.starts_with("PATH"))
        .collect();
    assert_eq!(paths.len(), 10, "{ran:?}");
    for path in paths {
        assert!(path.ends_with(" 404") || path.ends_with(" 400"), "{path}");
    }
    assert!(ran.said().contains("ECHO 200 True False False False"), "{ran:?}");
    let asked: Vec<String> = server
        .ledger()
        .entries()
        .into_iter()
        .map(|entry| entry.path)
        .collect();
    assert!(
        asked.iter().all(|path| path.starts_with("/v1/messages")),
        "{asked:?}"
    );
}

/// A model API that tells its caller everything it was told, key included; but messages are answered by `model`.
async fn indiscreet(listener: TcpListener, model: std::net::SocketAddr) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            if head.starts_with("GET /v1/models ") {
                assert!(
                    head.contains(KEY) && !head.contains("hostler-session-") && !head.contains("cookie"),
                    "{head}"
                );
                let body = json!({"echoed": head}).to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nanthropic-echo: {KEY}\r\nx-echo: {KEY}\r\nset-cookie: a={KEY}\r\n\
                     anthropic-organization-id: o\r\ncontent-type: application/json\r\nconnection: close\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len()
                );
                client.write_all(answer.as_bytes()).await.unwrap();
                return;
            }
            let mut server = TcpStream::connect(model).await.unwrap();
            let closing = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            server.write_all(closing.as_bytes()).await.unwrap();
            tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
        });
    }
}

#[tokio::test]
async fn a_reached_budget_refuses_the_next_call() {
    let program = format!(
        "{CALL}\nbody = json.dumps({{'model': 'claude-sonnet-5-5', 'max_tokens': 9, 'messages': [{{'role': 'user', 'content': 'x'}}]}})\n\
         for _ in range(3):\n    status, text = call('POST', '/v1/messages', own, body, {{'content-type': 'application/json'}})\n    \
         open('/workspace/calls', 'a').write(f'{{status}}\\n')"
    );
    let expensive = json!({"name": "expensive", "turns": [
        {"reply": [{"tool_use": {"name": "Bash", "input": {"command": python(&program)}}}], "usage": {"input_tokens": 300_000}},
        {"reply": [{"text": "Done."}]},
    ]});
    let server = model(&expensive).await;
    let product = Product::new();
    // One call costs more than half a budget of $1: the agent's own call is the last.
    let ran = product
        .against(&server.base_url(), &["--max-budget", "1", "--apply"])
        .await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.object["error"]["type"], "budget_reached", "{ran:?}");
    assert_eq!(server.ledger().totals().requests, 2);
    let id = ran.object["session_id"].as_str().unwrap();
    let (_, diff) = product.hostler(&["sessions", "diff", id]).await;
    assert!(diff.contains("+200\n+402\n+402\n"), "{diff}");
}
