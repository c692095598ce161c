//! Tables of queries and answers, at the level of messages.

use super::*;
use crate::{Audit, AuditEntry, Config, Resolve, ResolveError};
use policy::Rules;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Audit for Lines {
    fn record(&self, entry: AuditEntry) {
        self.0.lock().unwrap().push(entry.to_string());
    }
}

/// DNS asks nobody.
struct Nobody;

#[async_trait::async_trait]
impl Resolve for Nobody {
    async fn resolve(&self, _: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
        unreachable!("a query left the sandbox")
    }
}

fn sandbox(config: Config) -> (Sandbox, Arc<Lines>) {
    let rules = Rules::parse(["api.example.com", "*.example.org:8443"]).unwrap();
    let lines = Arc::new(Lines::default());
    let session = domain::SessionId::random();
    (
        Sandbox::new(session, rules, Arc::new(config), Arc::new(Nobody), lines.clone()),
        lines,
    )
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message
        .queries
        .push(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask(sandbox: &Sandbox, message: &Message) -> Message {
    let answer = reply(sandbox, &message.to_vec().unwrap()).unwrap();
    assert!(answer.len() <= 512);
    Message::from_vec(&answer).unwrap()
}

fn summary(message: &Message) -> String {
    let records: Vec<String> = message
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    format!("{:?} {}", message.metadata.response_code, records.join(" "))
}

#[tokio::test]
async fn names_are_answered_as_the_rules_say() {
    let (sandbox, _) = sandbox(Config::default());
    let table = [
        ("api.example.com.", RecordType::A, "NoError 198.18.0.1"),
        ("API.Example.COM.", RecordType::A, "NoError 198.18.0.1"),
        ("api.example.com.", RecordType::AAAA, "NoError "),
        ("api.example.com.", RecordType::HTTPS, "NoError "),
        ("api.example.com.", RecordType::MX, "NoError "),
        ("a.b.example.org.", RecordType::A, "NoError 198.18.0.2"),
        ("example.org.", RecordType::A, "Refused "),
        ("evil.example.", RecordType::A, "Refused "),
        ("evil.example.", RecordType::AAAA, "Refused "),
        ("evil.example.", RecordType::TXT, "Refused "),
        ("c2VjcmV0.exfil.example.", RecordType::TXT, "Refused "),
        (".", RecordType::NS, "Refused "),
        ("localhost.", RecordType::A, "NoError 127.0.0.1"),
        ("x.localhost.", RecordType::A, "NoError 127.0.0.1"),
        ("localhost.", RecordType::AAAA, "NoError "),
        (
            "1.0.18.198.in-addr.arpa.",
            RecordType::PTR,
            "NoError api.example.com.",
        ),
        (
            "2.0.18.198.in-addr.arpa.",
            RecordType::PTR,
            "NoError a.b.example.org.",
        ),
        ("9.0.18.198.in-addr.arpa.", RecordType::PTR, "NXDomain "),
        ("1.0.0.127.in-addr.arpa.", RecordType::PTR, "NoError localhost."),
        ("8.8.8.8.in-addr.arpa.", RecordType::PTR, "Refused "),
        ("x.in-addr.arpa.", RecordType::PTR, "Refused "),
    ];
    for (name, kind, expected) in table {
        let answer = ask(&sandbox, &query(name, kind));
        assert_eq!(summary(&answer), expected, "{name} {kind}");
        assert_eq!(answer.metadata.id, 7);
        assert!(answer.answers.iter().all(|record| record.ttl == 60));
    }
}

#[tokio::test]
async fn the_question_comes_back_in_the_case_it_was_asked_in() {
    let (sandbox, _) = sandbox(Config::default());
    let answer = ask(&sandbox, &query("aPi.ExaMple.coM.", RecordType::A));
    assert_eq!(answer.queries[0].name().to_ascii(), "aPi.ExaMple.coM.");
}

#[tokio::test]
async fn edns_is_answered_with_edns_and_a_later_version_is_refused() {
    let (sandbox, _) = sandbox(Config::default());
    let mut message = query("api.example.com.", RecordType::A);
    assert!(ask(&sandbox, &message).edns.is_none());
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.edns = Some(edns.clone());
    assert_eq!(ask(&sandbox, &message).edns.unwrap().max_payload(), EDNS_PAYLOAD);
    edns.set_version(1);
    message.edns = Some(edns);
    // 16 is BADVERS here and BADSIG in a signed message; the parser knows it by the other name.
    let code = ask(&sandbox, &message).metadata.response_code;
    assert_eq!(u16::from(code), u16::from(ResponseCode::BADVERS));
}

#[tokio::test]
async fn queries_of_other_kinds_get_their_error_and_answers_none() {
    let (sandbox, _) = sandbox(Config::default());
    let plain = query("api.example.com.", RecordType::A);
    let mut update = plain.clone();
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(
        ask(&sandbox, &update).metadata.response_code,
        ResponseCode::NotImp
    );
    let mut two = plain.clone();
    two.queries.push(two.queries[0].clone());
    assert_eq!(ask(&sandbox, &two).metadata.response_code, ResponseCode::FormErr);
    let mut none = plain.clone();
    none.queries.clear();
    assert_eq!(ask(&sandbox, &none).metadata.response_code, ResponseCode::FormErr);
    let mut chaos = plain.clone();
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(
        ask(&sandbox, &chaos).metadata.response_code,
        ResponseCode::Refused
    );
    let mut answer = plain.clone();
    answer.metadata.message_type = MessageType::Response;
    assert_eq!(reply(&sandbox, &answer.to_vec().unwrap()), None);
}

#[tokio::test]
async fn no_garbage_is_answered_and_none_of_it_breaks_the_server() {
    let (sandbox, _) = sandbox(Config::default());
    let whole = query("api.example.com.", RecordType::A).to_vec().unwrap();
    for length in 0..whole.len() {
        assert_eq!(reply(&sandbox, &whole[..length]), None, "{length} bytes");
    }
    // A compression pointer to itself, and counts of records that are not there.
    let mut header = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    header.extend([0xc0, 12, 0, 1, 0, 1]);
    assert_eq!(reply(&sandbox, &header), None);
    let mut many = whole.clone();
    many[6..12].fill(0xff);
    assert_eq!(reply(&sandbox, &many), None);
    // Every byte of a good query, changed to every value.
    for index in 0..whole.len() {
        for value in 0..=255 {
            let mut changed = whole.clone();
            changed[index] = value;
            if let Some(answer) = reply(&sandbox, &changed) {
                assert!(answer.len() <= 512);
            }
        }
    }
}

#[tokio::test]
async fn a_name_is_audited_when_it_is_first_given_an_address_and_refusals_up_to_their_rate() {
    let config = Config {
        audited_refusals_per_second: 2,
        ..Config::default()
    };
    let (sandbox, lines) = sandbox(config);
    for _ in 0..3 {
        ask(&sandbox, &query("x.example.org.", RecordType::A));
    }
    for index in 0..1000 {
        ask(
            &sandbox,
            &query(&format!("n{index}.evil.example."), RecordType::A),
        );
    }
    let recorded = lines.0.lock().unwrap().clone();
    let expected = [
        "allowed dns x.example.org:53 by *.example.org:8443: a rule is about it",
        "refused dns n0.evil.example:53: no rule is about it",
        "refused dns n1.evil.example:53: no rule is about it",
    ];
    assert_eq!(recorded[..3], expected);
    assert!(recorded.len() < 20, "{recorded:?}");
}

#[tokio::test]
async fn a_full_table_of_names_fails_new_names_and_keeps_the_old() {
    let (sandbox, lines) = sandbox(Config {
        max_names: 2,
        ..Config::default()
    });
    let table = [
        ("a.example.org.", "NoError 198.18.0.1"),
        ("b.example.org.", "NoError 198.18.0.2"),
        ("c.example.org.", "ServFail "),
        ("a.example.org.", "NoError 198.18.0.1"),
    ];
    for (name, expected) in table {
        assert_eq!(
            summary(&ask(&sandbox, &query(name, RecordType::A))),
            expected,
            "{name}"
        );
    }
    let last = lines.0.lock().unwrap().last().cloned();
    assert_eq!(
        last.as_deref(),
        Some("refused dns c.example.org:53: too many names are in use")
    );
}
