//! The persistent shell through the toolbox: what survives, what is told, and what dies with a call.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::fixture::{self, Fixture, text};

#[tokio::test]
async fn state_survives_from_call_to_call() {
    let fixture = Fixture::new();
    fixture.bash("mkdir sub && cd sub && x=5 && export Y=6 && f() { echo \"f $1\"; } && alias hey='echo hello' && set -o pipefail").await;
    assert_eq!(
        text(
            &fixture
                .bash("pwd; echo $x; f 1; hey you; env | grep ^Y=; set -o | grep pipefail")
                .await
        ),
        format!(
            "{}/sub\n5\nf 1\nhello you\nY=6\npipefail       \ton",
            fixture.path().display()
        )
    );
    assert_eq!(fixture.toolbox.current_directory(), fixture.path().join("sub"));
    fixture.end().await;
}

#[tokio::test]
async fn every_hostile_command_leaves_a_shell_that_answers() {
    let fixture = Fixture::new();
    fixture.bash("x=kept").await;
    let table: [(&str, &[&str], bool); 27] = [
        ("echo 'unbalanced", &["Exit code 2", "unexpected EOF"], true),
        ("if", &["Exit code 2", "syntax error"], true),
        (")", &["Exit code 2", "syntax error"], true),
        (
            "cat <<X\n$x 'q\" `echo tick` \\\\\nX",
            &["kept 'q\" tick \\"],
            false,
        ),
        ("cat <<'X'\n$x 'a'\nX", &["$x 'a'"], false),
        (
            "cat <<X\nno end of the heredoc",
            &["Exit code 2", "here-document"],
            true,
        ),
        ("printf 'no newline'", &["no newline"], false),
        ("read line; echo \"status $?\"; cat", &["status 1"], false),
        ("false", &["Exit code 1"], true),
        ("(exit 7)", &["Exit code 7"], true),
        ("exec 5>&1; echo five >&5; exec 5>&-", &["five"], false),
        (
            "exec >/dev/null; echo hidden",
            &["(Bash completed with no output)"],
            false,
        ),
        ("echo visible", &["visible"], false),
        (
            "no_such_command_here",
            &["Exit code 127", "command not found"],
            true,
        ),
        ("bash -c 'kill -SEGV $$'", &["Exit code 139"], true),
        ("sh -c 'kill -9 $$'", &["Exit code 137"], true),
        (
            "printf 'm 0\\n' >&2; printf 'ready 0\\n'",
            &["ready 0\nm 0"],
            false,
        ),
        (
            "set -u; echo $undefined_variable; echo on",
            &["Exit code 1", "unbound variable"],
            true,
        ),
        (
            "set +u; trap 'echo trapped' USR1; kill -USR1 $$",
            &["trapped"],
            false,
        ),
        (
            "trap - USR1; alias eval=false printf=false builtin=false export=false; echo aliased",
            &["aliased"],
            false,
        ),
        (
            "unalias -a; set -x; echo traced; set +x",
            &["traced\n++ echo traced"],
            false,
        ),
        ("set -f; set -C; set -a; IFS=x; echo options", &["options"], false),
        ("set +f; set +C; set +a; unset IFS; echo $x", &["kept"], false),
        ("printf '\\001\\177\\377\\n'", &["\u{1}\u{7f}\u{FFFD}"], false),
        ("", &["(Bash completed with no output)"], false),
        ("# only a comment", &["(Bash completed with no output)"], false),
        ("return 3", &["Exit code"], true),
    ];
    for (command, parts, is_error) in table {
        let outcome = fixture.bash(command).await;
        for part in parts {
            assert!(text(&outcome).contains(part), "{command:?}: {outcome:?}");
        }
        assert_eq!(outcome.is_error, is_error, "{command:?}: {outcome:?}");
        assert_eq!(text(&fixture.bash("echo $x").await), "kept", "after {command:?}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_megabyte_of_command_and_quotes_arrives_as_it_was() {
    let fixture = Fixture::new();
    let body = "it's \"é\" $HOME `x` \\ !\n".repeat(45_000);
    let outcome = fixture
        .bash(&format!("cat > big <<'END'\n{body}END\nwc -c < big"))
        .await;
    assert_eq!(text(&outcome).trim(), body.len().to_string());
    assert_eq!(std::fs::read_to_string(fixture.path().join("big")).unwrap(), body);
    fixture.end().await;
}

#[tokio::test]
async fn nul_is_refused() {
    let fixture = Fixture::new();
    let outcome = fixture.bash("echo a\0b").await;
    assert!(
        outcome.is_error && text(&outcome).contains("`command`"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn exit_reports_its_status_and_hands_the_state_on() {
    let fixture = Fixture::new();
    fixture.bash("mkdir d; cd d; x='a b'; declare -A m=([k]=v); f() { echo f; }; alias g='echo G'; sleep 60 & echo $! > pid").await;
    let outcome = fixture.bash("echo before; exit 3").await;
    assert!(
        outcome.is_error && text(&outcome).starts_with("Exit code 3\nbefore\n[The shell exited."),
        "{outcome:?}"
    );
    let outcome = fixture
        .bash("echo \"$x ${m[k]}\"; f; g; pwd; kill -0 $(cat pid) && echo alive")
        .await;
    assert_eq!(
        text(&outcome),
        format!("a b v\nf\nG\n{}/d\nalive", fixture.path().display())
    );
    let outcome = fixture.bash("set -e; false; echo never").await;
    assert!(
        text(&outcome).starts_with("Exit code 1\n[The shell exited."),
        "{outcome:?}"
    );
    assert_eq!(text(&fixture.bash("set +e; echo $x").await), "a b");
    fixture.end().await;
}

#[tokio::test]
async fn a_shell_that_is_replaced_or_killed_loses_its_state_and_says_so() {
    let fixture = Fixture::new();
    for (command, parts) in [
        ("exec echo replaced", ["replaced", "are lost"]),
        ("kill -9 $$", ["Exit code 137", "are lost"]),
    ] {
        fixture.bash("mkdir -p e; cd e; x=1").await;
        let outcome = fixture.bash(command).await;
        for part in parts {
            assert!(text(&outcome).contains(part), "{command}: {outcome:?}");
        }
        assert_eq!(
            text(&fixture.bash("echo \"[$x]\"; basename $PWD; cd ..").await),
            "[]\ne"
        );
    }
    fixture.end().await;
}

#[tokio::test]
async fn a_directory_that_is_gone_does_not_stop_the_shell() {
    let fixture = Fixture::new();
    fixture.bash("mkdir gone; cd gone; rmdir ../gone; exit 0").await;
    assert_eq!(text(&fixture.bash("echo here").await), "here");
    fixture.bash("rm -rf /tmp/hostler-shell-none; cd /").await;
    fixture.end().await;
}

#[tokio::test]
async fn stdout_and_stderr_come_apart() {
    let fixture = Fixture::new();
    let outcome = fixture.bash("echo out; echo err >&2; echo out2").await;
    assert_eq!(
        (
            outcome.result["stdout"].as_str(),
            outcome.result["stderr"].as_str()
        ),
        (Some("out\nout2\n"), Some("err\n"))
    );
    assert_eq!(text(&outcome), "out\nout2\nerr");
    assert_eq!(outcome.result["interrupted"], json!(false));
    fixture.end().await;
}

#[tokio::test]
async fn a_timeout_ends_everything_the_call_started_and_nothing_else() {
    let fixture = Fixture::new();
    fixture
        .bash("mkfifo fifo; x=1; sleep 301 & sleep 302 & echo ok")
        .await;
    for (marker, command) in [
        ("311", "sleep 311; echo next"),
        ("312", "sleep 312 | cat | cat"),
        ("313", "(sleep 313; echo inner)"),
        ("314", "y=$(sleep 314)"),
        ("315", "setsid sleep 315; echo next"),
        ("316", "setsid -f sleep 316; sleep 316"),
        ("319", "sleep 319 & sleep 319 & wait"),
        ("320", "while true; do sleep 320; done"),
        ("321", "while :; do :; done"),
        ("322", "( (exec setsid sleep 322 >/dev/null 2>&1) & ) ; sleep 322"),
        ("324", "exec 7<>fifo; read line <&7; sleep 324; echo next"),
        ("323", "sleep 323 & while :; do :; done"),
    ] {
        let begun = Instant::now();
        let outcome = fixture
            .bash_with(json!({"command": command, "timeout": 150}))
            .await;
        assert!(
            text(&outcome).starts_with("Exit code 143\nCommand timed out after 0.15s"),
            "{command}: {outcome:?}"
        );
        assert!(!text(&outcome).contains("next"), "{command}: {outcome:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(6),
            "{command} took {:?}",
            begun.elapsed()
        );
        assert!(!text(&outcome).contains("The shell"), "{command}: {outcome:?}");
        assert_eq!(fixture::running(&format!("sleep {marker}")), 0, "{command}");
    }
    assert_eq!(
        text(&fixture.bash("echo $x; pgrep -f '^sleep 30[12]$' -c").await),
        "1\n2"
    );
    fixture.end().await;
    assert_eq!(fixture::running("sleep 301") + fixture::running("sleep 302"), 0);
}

#[tokio::test]
async fn a_shell_that_ignores_every_polite_signal_is_replaced() {
    let fixture = Fixture::new();
    fixture.bash("sleep 317 & echo ok").await;
    let command = "trap '' INT TERM; sleep 327; sleep 327; sleep 327; while :; do :; done";
    let outcome = fixture
        .bash_with(json!({"command": command, "timeout": 150}))
        .await;
    assert!(
        text(&outcome).starts_with("Exit code 143") && text(&outcome).contains("are lost"),
        "{outcome:?}"
    );
    assert_eq!(
        (fixture::running("sleep 327"), fixture::running("sleep 317")),
        (0, 1)
    );
    assert_eq!(text(&fixture.bash("echo on").await), "on");
    fixture.end().await;
    assert_eq!(fixture::running("sleep 317"), 0);
}

#[tokio::test]
async fn nothing_is_begun_after_a_program_that_survives_the_interrupt() {
    let fixture = Fixture::new();
    fixture.bash("x=1; sleep 336 & echo ok").await;
    for (ready, program) in [
        ("trap 'exit 0' INT", "while :; do sleep 337; done"),
        ("trap '' INT", "while :; do sleep 338; done"),
        ("trap '' INT TERM", "while :; do sleep 339; done"),
        ("trap 'echo no' INT TERM", "while :; do :; done"),
    ] {
        let command = format!("bash -c \"{ready}; touch ready; {program}\"; touch next\ntouch next");
        let cancel = CancellationToken::new();
        let interrupt = async {
            fixture::until(|| fixture.path().join("ready").exists()).await;
            cancel.cancel();
        };
        let (outcome, ()) = tokio::join!(fixture.bash_until(&command, cancel.clone()), interrupt);
        assert_eq!(outcome.result["interrupted"], json!(true), "{ready}: {outcome:?}");
        assert!(!fixture.path().join("next").exists(), "{ready}");
        let outcome = fixture.bash("rm ready; echo $x; jobs").await;
        assert!(
            text(&outcome).starts_with("1\n") && text(&outcome).contains("sleep 336"),
            "{ready}: {outcome:?}"
        );
    }
    fixture.end().await;
}

#[tokio::test]
async fn an_error_that_ends_a_script_ends_a_command_of_several_lines() {
    let fixture = Fixture::new();
    for command in [
        "set -u\necho $undefined_variable\necho next",
        "echo ${undefined_variable:?}\necho next",
        "echo $((1/0))\necho next",
        "set -e\nfalse\necho next",
    ] {
        let outcome = fixture.bash(command).await;
        assert!(
            outcome.is_error && !text(&outcome).contains("next"),
            "{command:?}: {outcome:?}"
        );
        fixture.bash("set +u +e").await;
    }
    assert_eq!(
        text(&fixture.bash("# a\n\n# b").await),
        "(Bash completed with no output)"
    );
    assert_eq!(text(&fixture.bash("echo a\necho b \\").await), "a\nb");
    fixture.end().await;
}

#[tokio::test]
async fn background_jobs_stay_in_the_job_table_over_an_interrupt() {
    let fixture = Fixture::new();
    fixture.bash("sleep 331 &").await;
    let cancel = CancellationToken::new();
    let call = fixture.bash_until("touch begun; sleep 332; echo next", cancel.clone());
    let interrupt = async {
        fixture::until(|| fixture.path().join("begun").exists()).await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(call, interrupt);
    assert_eq!(outcome.result["interrupted"], json!(true), "{outcome:?}");
    assert!(!text(&outcome).contains("next"));
    let jobs = fixture.bash("jobs").await;
    assert!(text(&jobs).contains("sleep 331"), "{outcome:?} {jobs:?}");
    assert_eq!(fixture::running("sleep 332"), 0);
    fixture.end().await;
    assert_eq!(fixture::running("sleep 331"), 0);
}

#[tokio::test]
async fn a_dropped_call_is_an_interrupted_one() {
    let fixture = Fixture::new();
    let mut call = Box::pin(fixture.bash("touch begun; sleep 341"));
    tokio::select! {
        _ = &mut call => panic!("it sleeps"),
        () = fixture::until(|| fixture.path().join("begun").exists()) => {}
    }
    drop(call);
    assert_eq!(text(&fixture.bash("echo next").await), "next");
    assert_eq!(fixture::running("sleep 341"), 0);
    fixture.end().await;
}

#[tokio::test]
async fn a_background_job_that_holds_the_pipe_does_not_hold_the_call() {
    let fixture = Fixture::new();
    let begun = Instant::now();
    let outcome = fixture
        .bash("(until [ -e go ]; do sleep 0.02; done; echo late; touch done) & echo early")
        .await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(
        text(&outcome).contains("early") && text(&outcome).contains("goes to"),
        "{outcome:?}"
    );
    let path = fixture
        .results()
        .join(text(&outcome).rsplit('/').next().unwrap().trim_end_matches(']'));
    fixture.bash("touch go").await;
    fixture::until(|| fixture.path().join("done").exists()).await;
    fixture::until(|| std::fs::read_to_string(&path).is_ok_and(|text| text == "late\n")).await;
    fixture.end().await;
}

#[tokio::test]
async fn run_in_background_returns_at_once_and_keeps_output_and_status() {
    let fixture = Fixture::new();
    fixture.bash("word=inherited").await;
    let outcome = fixture
        .bash_with(json!({"command": "echo $word; echo err >&2; until [ -e go ]; do sleep 0.02; done; exit 4", "run_in_background": true}))
        .await;
    assert!(!outcome.is_error, "{outcome:?}");
    let id = outcome.result["backgroundTaskId"].as_str().unwrap();
    let path = std::path::PathBuf::from(outcome.result["outputFile"].as_str().unwrap());
    assert!(text(&outcome).contains(id) && text(&outcome).contains(path.to_str().unwrap()));
    assert!(text(&fixture.bash("jobs").await).contains("Running"));
    fixture.bash("touch go").await;
    fixture::until(|| {
        std::fs::read_to_string(&path).is_ok_and(|text| text == "inherited\nerr\n\n[exit code 4]\n")
    })
    .await;
    fixture.end().await;
}

#[tokio::test]
async fn output_that_is_too_long_is_kept_whole_and_shown_by_its_ends() {
    let fixture = Fixture::new();
    let outcome = fixture.bash("seq 1 20000; printf 'bad \\377 byte\\n'").await;
    let path = std::path::PathBuf::from(outcome.result["persistedOutputPath"].as_str().unwrap());
    let mut expected: Vec<u8> = (1..=20000)
        .flat_map(|number| format!("{number}\n").into_bytes())
        .collect();
    expected.extend_from_slice(b"bad \xff byte\n");
    assert_eq!(std::fs::read(&path).unwrap(), expected);
    assert_eq!(outcome.result["persistedOutputSize"], json!(expected.len()));
    let shown = text(&outcome);
    assert!(
        shown.len() < 3000 && shown.starts_with("1\n2\n") && shown.contains("20000\nbad \u{FFFD} byte"),
        "{shown}"
    );
    assert!(shown.contains(path.to_str().unwrap()) && shown.contains(&expected.len().to_string()));
    fixture.end().await;
}

#[tokio::test]
async fn half_a_gigabyte_of_output_takes_bounded_memory() {
    let fixture = Fixture::new();
    let before = fixture::peak_memory_kib();
    let outcome = fixture.bash("head -c 500000000 /dev/zero | tr '\\0' x").await;
    assert_eq!(
        outcome.result["persistedOutputSize"],
        json!(500_000_000),
        "{outcome:?}"
    );
    assert!(
        fixture::peak_memory_kib() - before < 64 * 1024,
        "{} KiB more",
        fixture::peak_memory_kib() - before
    );
    fixture.end().await;
}

#[tokio::test]
async fn a_full_disk_does_not_stop_commands() {
    let mut fixture = Fixture::new();
    // A directory that cannot be made stands for a disk that takes nothing.
    std::fs::write(fixture.path().join("file"), "").unwrap();
    fixture.with(|settings| settings.tool_results_dir = settings.cwd.join("file/results"));
    let outcome = fixture.bash("seq 1 20000").await;
    assert!(
        !outcome.is_error && text(&outcome).contains("could not be kept"),
        "{outcome:?}"
    );
    assert_eq!(text(&fixture.bash("echo on").await), "on");
    fixture.end().await;
}

#[tokio::test]
async fn a_timeout_beyond_the_maximum_is_the_maximum() {
    let mut fixture = Fixture::new();
    fixture.with(|settings| settings.bash_max_timeout = Duration::from_millis(200));
    let outcome = fixture
        .bash_with(json!({"command": "sleep 351", "timeout": 600_000}))
        .await;
    assert!(text(&outcome).contains("timed out after 0.2s"), "{outcome:?}");
    fixture.end().await;
}

#[tokio::test]
async fn without_bash_another_shell_does() {
    let mut fixture = Fixture::new();
    std::fs::create_dir(fixture.path().join("bin")).unwrap();
    fixture.with(|settings| {
        let shell = ("HOSTLER_SHELL".into(), "/bin/dash".into());
        settings.shell_environment.push(shell);
    });
    fixture.bash("cd bin; x=1; f() { echo f; }").await;
    assert_eq!(
        text(&fixture.bash("echo $x; f; basename \"$PWD\"; echo err >&2").await),
        "1\nf\nbin\nerr"
    );
    assert!(text(&fixture.bash("echo 'open").await).contains("Exit code 2"));
    assert!(text(&fixture.bash("set -u; echo $undefined_variable").await).contains("Exit code 2"));
    fixture.bash("set +u").await;
    let outcome = fixture
        .bash_with(json!({"command": "sleep 361; echo next", "timeout": 100}))
        .await;
    assert!(
        text(&outcome).starts_with("Exit code 143") && !text(&outcome).contains("next"),
        "{outcome:?}"
    );
    assert_eq!(text(&fixture.bash("echo $x").await), "1");
    assert!(text(&fixture.bash("exit 4").await).starts_with("Exit code 4"));
    assert_eq!(text(&fixture.bash("basename \"$PWD\"").await), "bin");
    fixture.end().await;
}

#[tokio::test]
async fn the_end_of_the_toolbox_takes_everything_with_it() {
    let fixture = Fixture::new();
    fixture
        .bash("sleep 371 & setsid -f sleep 372; (trap '' TERM INT HUP; sleep 373; sleep 373) & true")
        .await;
    fixture
        .bash_with(json!({"command": "sleep 374", "run_in_background": true}))
        .await;
    fixture.toolbox.shutdown().await;
    for number in 371..=374 {
        assert_eq!(fixture::running(&format!("sleep {number}")), 0, "{number}");
    }
    let outcome = fixture.bash("echo again").await;
    assert_eq!(text(&outcome), "again");
    fixture.end().await;
}
