//! The agent's tools meet what they cannot do: the model is told, and the session goes on.

use crate::product::{Product, Ran, ran};
use serde_json::{Value, json};

/// The agent calls one tool, and says what the model was told of it.
async fn call(product: &Product, tool: &str, input: Value, flags: &[&str]) -> Ran {
    let script = product.path().join("tool.json");
    let turns = json!([
        {"reply": [{"tool_use": {"name": tool, "input": input}}]},
        [
            {"when": {"last_tool_result_is_error": true}, "reply": [{"text": "error: {{last_tool_result}}"}]},
            {"reply": [{"text": "fine: {{last_tool_result}}"}]},
        ],
    ]);
    std::fs::write(&script, json!({"name": "tool", "turns": turns}).to_string()).unwrap();
    let mut words = vec!["--simulate", script.to_str().unwrap()];
    words.extend(flags);
    ran(product.command(&[], &words)).await
}

#[track_caller]
fn told(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for word in words {
        assert!(ran.said().contains(word), "{word}: {ran:?}");
    }
}

#[tokio::test]
async fn a_tool_that_does_not_exist_is_named() {
    let product = Product::new();
    let ran = call(&product, "Teleport", json!({"to": "the host"}), &[]).await;
    told(&ran, &["error: ", "Teleport"]);
}

#[tokio::test]
async fn an_input_that_does_not_fit_names_the_field() {
    let product = Product::new();
    let ran = call(&product, "Read", json!({"file": 1}), &[]).await;
    told(&ran, &["error: ", "file_path"]);
    let ran = call(
        &product,
        "Bash",
        json!({"command": ["rm"], "timeout": "soon"}),
        &[],
    )
    .await;
    told(&ran, &["error: ", "command"]);
}

#[tokio::test]
async fn half_a_gigabyte_of_output_is_cut() {
    let product = Product::new();
    let command = "head -c 500000000 /dev/zero | tr '\\0' x; echo; echo the end";
    let ran = call(&product, "Bash", json!({"command": command}), &[]).await;
    told(&ran, &["fine: ", "xxxx"]);
    assert!(ran.said().len() < 100_000, "{}", ran.said().len());
}

#[tokio::test]
async fn bytes_that_are_no_text_are_replaced() {
    let product = Product::new();
    let command = r"printf 'before \xff\xfe\x00\x1b[31m after'; printf '\xff' > /workspace/$(printf '\xfd')";
    let ran = call(&product, "Bash", json!({"command": command}), &[]).await;
    told(&ran, &["fine: before ", "after"]);
    assert_eq!(ran.object["changes"].as_array().unwrap().len(), 1, "{ran:?}");
}

#[tokio::test]
async fn a_full_disk_of_the_sandbox_is_told_and_mended() {
    let product = Product::new();
    let command = "head -c 200M /dev/zero > /workspace/big; rm /workspace/big; echo small > /workspace/file && cat /workspace/file";
    let ran = call(
        &product,
        "Bash",
        json!({"command": command}),
        &["--disk", "128M", "--apply"],
    )
    .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    told(&ran, &["small"]);
    if rustix::process::geteuid().is_root() {
        told(&ran, &["No space left on device"]);
    }
    assert_eq!(
        std::fs::read_to_string(product.workspace.path().join("file")).unwrap(),
        "small\n"
    );
    // One that stays full can still be looked at, and gives back what is in it.
    let command = "echo kept > /workspace/kept; head -c 200M /dev/zero > /workspace/big";
    let ran = call(&product, "Bash", json!({"command": command}), &["--disk", "128M"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let id = ran.object["session_id"].as_str().unwrap();
    let (code, diff) = product.hostler(&["sessions", "diff", id]).await;
    assert!(
        code == Some(0) && diff.contains("+kept"),
        "{code:?} {}",
        diff.len()
    );
}

#[tokio::test]
async fn a_full_disk_of_the_host_is_told() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP a_full_disk_of_the_host_is_told: only root can make a small file system for it");
        return;
    }
    let product = Product::new();
    let data = product.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for size in ["256k", "1m", "4m", "12m"] {
        let change = format!("mount -t tmpfs -o size={size} none {}", data.display());
        let command = "head -c 100M /dev/urandom > /workspace/file; echo written";
        let ran = product.sh_in_mounts(&change, command, &["--apply"]).await;
        let error = ran.object["error"].to_string();
        assert!(
            ran.code == Some(1) && error.contains("No space left on device"),
            "{size}: {ran:?}"
        );
        assert!(!product.workspace.path().join("file").exists(), "{size}");
    }
    // With room again it works as ever.
    let ran = product.sh("echo fine", &[]).await;
    assert!(ran.code == Some(0) && ran.said().contains("fine"), "{ran:?}");
}
