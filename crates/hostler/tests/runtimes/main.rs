//! Programs in the place of the official `claude`, installed from a file, end to end: what they are given, and what they
//! cannot break. The program itself is played in `tests/accept/sdk_runtimes.py`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../security/product.rs"]
#[allow(dead_code, reason = "shared with the attacks, which use all of it")]
mod product;

use product::Product;
use std::os::unix::fs::PermissionsExt as _;

/// Installs a shell script as a version of `claude`.
async fn installed(product: &Product, version: &str, script: &str) {
    let path = product.path().join("claude");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = path.to_str().unwrap();
    let words = ["runtimes", "install", "--file", file, "--version", version];
    let (code, said) = product.hostler(&words).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn an_installed_program_plays_the_agent_and_cannot_be_changed_by_it() {
    let product = Product::new();
    let script = r#"printf '%s\n' "$@" > /tmp/told; exec /.hostler/hostler-agent "$@""#;
    installed(&product, "2.1.330", script).await;
    let command = "cat /tmp/told; ls /.hostler/runtime; for file in /.hostler/runtime/claude /.hostler/runtime/new; do \
                   ( : >> $file ) 2>/dev/null || echo not written; done";
    let ran = product.sh(command, &["--runtime", "claude"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.said().contains("skipWebFetchPreflight"), "{ran:?}");
    assert_eq!(ran.said().matches("not written").count(), 2, "{ran:?}");
    let (_, listed) = product.hostler(&["runtimes", "list"]).await;
    assert!(
        listed.contains("2.1.330") && listed.contains("default"),
        "{listed}"
    );
}

#[tokio::test]
async fn frames_that_nobody_knows_end_nothing() {
    let product = Product::new();
    let script = r#"echo '{"type":"hologram","uuid":"u"}'
echo '{"type":"system","subtype":"hologram","session_id":"s"}'
exec /.hostler/hostler-agent "$@""#;
    installed(&product, "2.1.330", script).await;
    let ran = product.sh("echo all is well", &["--runtime", "claude"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.said().contains("all is well"), "{ran:?}");
}

#[tokio::test]
async fn a_program_that_speaks_no_protocol_ends_its_session_with_a_reason() {
    let product = Product::new();
    installed(&product, "2.1.330", "echo it speaks no protocol").await;
    let ran = product.sh("true", &["--runtime", "claude"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let error = &ran.object["error"];
    assert!(!error["message"].as_str().unwrap().is_empty(), "{ran:?}");
    // Another version is better, and the next session gets it.
    let script = r#"exec /.hostler/hostler-agent "$@""#;
    installed(&product, "2.1.331", script).await;
    let (code, said) = product.hostler(&["runtimes", "pin", "claude@2.1.331"]).await;
    assert_eq!(code, Some(0), "{said}");
    let ran = product.sh("echo all is well", &["--runtime", "claude"]).await;
    assert!(ran.said().contains("all is well"), "{ran:?}");
}
