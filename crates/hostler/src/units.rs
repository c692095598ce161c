//! The units of systemd, held against the program that they start.

use crate::command_line::parse;
use crate::roles::JailerArguments;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

const SERVER: &str = include_str!("../../../systemd/hostler.service");
const JAILER: &str = include_str!("../../../systemd/hostler-jailer.service");
const SOCKET: &str = include_str!("../../../systemd/hostler.socket");
const PROGRAM: &str = "/usr/local/bin/hostler";
const DATA: &str = "/var/lib/hostler";

/// What a unit sets a key to, each time that it does.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let value = |line: &'a str| line.strip_prefix(key)?.strip_prefix('=');
    unit.lines().filter_map(value).collect()
}

/// The words of the one command that a unit is for.
fn command(unit: &str) -> Vec<OsString> {
    let [command] = values(unit, "ExecStart")[..] else {
        panic!("one command starts a unit")
    };
    assert!(!command.contains(['"', '\'', '\\', '$', '%']), "{command}");
    command.split_whitespace().map(OsString::from).collect()
}

fn seconds(unit: &str, key: &str) -> Duration {
    Duration::from_secs(values(unit, key)[0].parse().unwrap())
}

#[test]
fn the_server_is_called_as_it_takes_it() {
    let words = command(SERVER);
    assert_eq!(words[0], PROGRAM);
    let arguments = match parse(words) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => panic!("the unit starts something else"),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(
        arguments.config.as_deref(),
        Some(Path::new("/etc/hostler/hostler.toml"))
    );
    assert_eq!(arguments.data.data.as_deref(), Some(Path::new(DATA)));
    assert_eq!(arguments.jailer, Some(cli::JailerStart::Service));
    assert!(!arguments.take_over);
    assert_eq!(values(SERVER, "StateDirectory"), ["hostler"]);
}

#[test]
fn the_jailer_is_called_as_it_takes_it() {
    let words = command(JAILER);
    assert_eq!(
        (words[0].as_os_str(), words[1].as_os_str()),
        (PROGRAM.as_ref(), "jailer".as_ref())
    );
    let arguments = JailerArguments::parse(&words[2..]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(arguments.data, Path::new(DATA));
    assert_eq!(arguments.user.as_deref(), values(SERVER, "User").first().copied());
    assert!(!arguments.supervised);
}

#[test]
fn a_server_has_the_time_that_it_takes() {
    let requests = server::Limits::default().drain;
    assert!(seconds(SERVER, "TimeoutStopSec") >= requests + crate::stack::SHUTDOWN);
    assert!(seconds(SERVER, "TimeoutStartSec") >= Duration::from_mins(1));
}

#[test]
fn units_that_outlive_each_other_stay_so() {
    assert_eq!(values(SERVER, "NotifyAccess"), ["all"]);
    assert_eq!(values(SERVER, "ExecReload"), ["/bin/kill -USR2 $MAINPID"]);
    assert_eq!(values(JAILER, "KillMode"), ["process"]);
    assert_eq!(values(JAILER, "Delegate"), ["yes"]);
    for unit in [SERVER, JAILER] {
        assert_eq!(values(unit, "Type"), ["notify"]);
        assert_eq!(values(unit, "Restart"), ["always"]);
        for key in ["Requires", "BindsTo", "PartOf", "Requisite"] {
            assert!(values(unit, key).is_empty(), "{key} would end one with the other");
        }
    }
    assert_eq!(values(SOCKET, "ListenStream"), ["127.0.0.1:8700"]);
}
