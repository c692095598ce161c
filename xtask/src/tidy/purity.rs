//! Crates that stay pure, and the few files that may hold `unsafe`: both invariants of ARCHITECTURE.md.

use super::rust_file::RustFile;
use super::{Finding, Rule};

/// No I/O, no clock, no runtime.
const PURE: [&str; 2] = ["crates/domain", "crates/policy"];

/// Path prefixes that a pure crate may not name.
const IMPURE: [&str; 12] = [
    "tokio",
    "sqlx",
    "hyper",
    "hyper_util",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
];

/// The only files that may hold `unsafe`.
const UNSAFE: [&str; 3] = [
    "crates/guest/src/sys.rs",
    "crates/jailer/src/sys.rs",
    "crates/sandbox-linux/src/sys.rs",
];

pub(crate) fn check(files: &[RustFile]) -> Vec<Finding> {
    let code = || files.iter().filter(|file| !file.is_test);
    let mut findings: Vec<Finding> = code()
        .filter(|file| PURE.contains(&file.crate_directory.as_str()))
        .flat_map(impure)
        .collect();
    for file in code().filter(|file| !UNSAFE.contains(&file.path.as_str())) {
        findings.extend(file.facts.unsafe_lines.iter().map(|line| {
            Finding::new(
                &file.path,
                *line,
                Rule::Unsafe,
                "wrap it safely in the sys.rs of jailer, guest or sandbox-linux",
            )
        }));
    }
    findings
}

fn impure(file: &RustFile) -> impl Iterator<Item = Finding> {
    file.facts.paths.iter().filter_map(|path| {
        let impure = IMPURE.iter().any(|prefix| {
            path.name
                .strip_prefix(*prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        let advice = format!(
            "{} is to stay pure: leave {} to its callers",
            file.crate_directory, path.name
        );
        impure.then(|| Finding::new(&file.path, path.line, Rule::Pure, advice))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::visitor::{Facts, Named};

    fn file(path: &str, facts: Facts) -> RustFile {
        let crate_directory = path.split("/src").next().unwrap_or_default().to_owned();
        RustFile {
            path: path.to_owned(),
            crate_directory,
            is_test: false,
            has_head: true,
            facts,
        }
    }

    fn naming(path: &str, name: &str) -> usize {
        let paths = vec![Named {
            name: name.to_owned(),
            line: 4,
        }];
        check(&[file(
            path,
            Facts {
                paths,
                ..Facts::default()
            },
        )])
        .len()
    }

    #[test]
    fn pure_crates_name_nothing_that_does_io() {
        for name in [
            "tokio::spawn",
            "tokio",
            "std::fs::File",
            "std::net::TcpStream::connect",
            "hyper::Uri",
            "sqlx::query",
        ] {
            assert_eq!(naming("crates/policy/src/rule.rs", name), 1, "{name}");
            assert_eq!(naming("crates/gateway/src/rule.rs", name), 0, "{name}");
        }
        for name in ["std::net::IpAddr", "std::fmt", "tokio_like::x", "std::fs_like"] {
            assert_eq!(naming("crates/domain/src/rule.rs", name), 0, "{name}");
        }
    }

    #[test]
    fn unsafe_stays_in_its_files() {
        let hold = |path| {
            check(&[file(
                path,
                Facts {
                    unsafe_lines: vec![7],
                    ..Facts::default()
                },
            )])
            .len()
        };
        assert_eq!(hold("crates/jailer/src/sys.rs"), 0);
        assert_eq!(hold("crates/jailer/src/mounts.rs"), 1);
        assert_eq!(hold("crates/cli/src/sys.rs"), 1);
    }
}
