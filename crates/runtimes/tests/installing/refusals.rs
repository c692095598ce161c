//! What a registry does not give, and what is said of it; where credentials go.

use crate::registry::{
    ARCHIVE, Answer, Npm, PACKAGE, answer, brisk, client, file, integrity, native, path, script,
};
use runtimes::{Limits, Platform, Runtimes, Wanted};
use serde_json::json;
use std::time::Duration;

async fn refused(npm: &Npm, wanted: &str, limits: Limits) -> String {
    let data = tempfile::tempdir().unwrap();
    let (runtimes, registry) = (Runtimes::new(data.path()), client(npm, "", limits).await);
    let wanted: Wanted = wanted.parse().unwrap();
    let error = runtimes.install(&registry, &wanted, &()).await.unwrap_err();
    assert!(runtimes.installed().unwrap().is_empty());
    error.to_string()
}

#[tokio::test]
async fn each_refusal_says_what_to_do() {
    for (status, reason) in [
        (
            "401 Unauthorized",
            "wants to know who asks (401): put the token into ~/.npmrc",
        ),
        (
            "403 Forbidden",
            "is refused (403): the token of ~/.npmrc may not read it",
        ),
        (
            "404 Not Found",
            "does not exist (404): this registry does not carry it",
        ),
        (
            "500 Internal Server Error",
            "fails (500 Internal Server Error): the registry is in trouble",
        ),
        ("429 Too Many Requests", "fails (429 Too Many Requests)"),
        ("418 I'm a teapot", "is it an npm registry?"),
    ] {
        let npm = Npm::start().await;
        npm.route(&path(PACKAGE), move |_| Answer::of(status, "", b"no"));
        let error = refused(&npm, "latest", brisk()).await;
        assert!(error.contains(reason) && error.contains(&npm.base), "{error}");
        let npm = Npm::with(&["2.1.5"], b"").await;
        npm.route(ARCHIVE, move |_| Answer::of(status, "", b"no"));
        let error = refused(&npm, "latest", brisk()).await;
        assert!(error.contains(reason) && error.contains(ARCHIVE), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_description_of_a_package_is_told() {
    let limits = Limits {
        metadata_bytes: 4096,
        ..brisk()
    };
    for (body, reason) in [
        (
            answer("200 OK", "", 4, b"<p/>"),
            "is not what an npm registry says of a package",
        ),
        (answer("200 OK", "", 100, b"{}"), "broke off"),
        (
            answer("200 OK", "", 5000, &[b' '; 5000]),
            "is larger than 4096 bytes",
        ),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), "was not reached"),
    ] {
        let npm = Npm::start().await;
        npm.route(&path(PACKAGE), move |_| Answer::Bytes(body.clone()));
        let error = refused(&npm, "latest", limits).await;
        assert!(error.contains(reason), "{error}");
    }
    let npm = Npm::start().await;
    npm.route(&path(PACKAGE), |_| {
        Answer::Silent(b"HTTP/1.1 200 OK\r\n".to_vec())
    });
    let error = refused(&npm, "latest", limits).await;
    assert!(error.contains("said nothing for 0.3 s"), "{error}");
    let hasty = Limits {
        metadata: Duration::from_millis(100),
        ..limits
    };
    let error = refused(&npm, "latest", hasty).await;
    assert!(error.contains("was not here whole within 0.1 s"), "{error}");
    let mut npm = npm;
    "http://127.0.0.1:1".clone_into(&mut npm.base);
    let error = refused(&npm, "latest", limits).await;
    assert!(
        error.contains("http://127.0.0.1:1/@anthropic-ai%2fclaude-code was not reached"),
        "{error}"
    );
}

#[tokio::test]
async fn versions_that_are_not_there_are_told_with_those_that_are() {
    let npm = Npm::with(&["2.1.1", "2.1.3", "2.1.4", "2.2.0"], b"").await;
    for (wanted, reason) in [
        ("2.1.2", "has no version 2.1.2 at"),
        ("2.1.2", "the nearest are 2.1.1, 2.1.3, 2.1.4"),
        ("^3", "no version of @anthropic-ai/claude-code at"),
        ("^3", "is ^3; the newest are 2.1.4, 2.2.0"),
        ("beta", "has no tag beta at"),
        ("beta", "it has latest"),
    ] {
        let error = refused(&npm, wanted, brisk()).await;
        assert!(error.contains(reason), "{error}");
    }
    let dist = json!({"dist": {"tarball": npm.base, "integrity": ""}});
    let whole = json!({"versions": {"2.1.3": dist, "2.1.4": {"dist": 7}, "x": dist}, "time": {"2.1.2": "2026-05-01T10:00:00Z"}});
    npm.route(&path(PACKAGE), move |_| Answer::json(&whole));
    let error = refused(&npm, "2.1.2", brisk()).await;
    assert!(
        error.contains("2.1.2 was published on 2026-05-01 and taken back"),
        "{error}"
    );
    assert!(error.contains("the nearest are 2.1.3"), "{error}");
}

#[tokio::test]
async fn a_version_without_an_executable_or_a_sum_is_told() {
    let npm = Npm::with(&["2.1.5"], b"").await;
    let native = format!("{PACKAGE}-{}", Platform::of_this_machine().unwrap());
    let dist = json!({"tarball": npm.base, "integrity": ""});
    let wrapper = json!({"versions": {
        "1.0.0": {"dist": dist},
        "2.1.5": {"dist": dist, "optionalDependencies": {&native: "2.1.5"}},
    }});
    npm.route(&path(PACKAGE), move |_| Answer::json(&wrapper));
    let error = refused(&npm, "1.0.0", brisk()).await;
    assert!(error.contains("1.0.0 has no executable for linux-"), "{error}");
    assert!(error.contains("the first that has one is 2.1.5"), "{error}");
    let unsummed = json!({"versions": {"2.1.5": {"dist": {"tarball": npm.base, "integrity": "sha1-x"}}}});
    npm.route(&path(&native), move |_| Answer::json(&unsummed));
    let error = refused(&npm, "2.1.5", brisk()).await;
    assert!(error.contains("gives no sha512 of"), "{error}");
}

#[tokio::test]
async fn credentials_stay_with_their_registry() {
    let archive = native("2.1.5", &script(1000));
    let (npm, elsewhere) = (Npm::with(&["2.1.5"], &archive).await, Npm::start().await);
    let to = format!("location: {}/kept.tgz?signature=s3cret\r\n", elsewhere.base);
    npm.route(ARCHIVE, move |_| Answer::of("302 Found", &to, b""));
    elsewhere.route("/kept.tgz?signature=s3cret", move |asked| file(asked, &archive));
    let host = npm.base.strip_prefix("http:").unwrap();
    let data = tempfile::tempdir().unwrap();
    let registry = client(&npm, &format!("{host}/:_authToken=word"), brisk()).await;
    let installed = Runtimes::new(data.path())
        .install(&registry, &Wanted::latest(), &())
        .await
        .unwrap();
    for path in [path(PACKAGE).as_str(), ARCHIVE] {
        let asked = npm.asked(path);
        assert!(asked[0].contains("authorization: Bearer word"), "{}", asked[0]);
    }
    let asked = elsewhere.asked("/kept.tgz?signature=s3cret");
    assert!(!asked[0].contains("authorization"), "{}", asked[0]);
    assert!(!format!("{installed:?}").contains("s3cret"));

    elsewhere.route("/kept.tgz?signature=s3cret", |_| {
        Answer::of("403 Forbidden", "", b"")
    });
    let error = refused(&npm, "latest", brisk()).await;
    assert!(
        error.contains("/kept.tgz is refused") && !error.contains("s3cret"),
        "{error}"
    );
}

#[tokio::test]
async fn redirects_end_somewhere() {
    let npm = Npm::with(&["2.1.5"], b"").await;
    for (location, reason) in [
        (ARCHIVE, "more than 5 in a row"),
        ("file:///etc/passwd", "neither http nor https"),
        ("http://[", "its location is no URL"),
    ] {
        npm.route(ARCHIVE, move |_| {
            Answer::of("302 Found", &format!("location: {location}\r\n"), b"")
        });
        let error = refused(&npm, "latest", brisk()).await;
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_mirror_has_what_the_addresses_of_another_registry_name() {
    let archive = native("2.1.5", &script(1000));
    let npm = Npm::with(&["2.1.5"], &archive).await;
    let native = format!("{PACKAGE}-{}", Platform::of_this_machine().unwrap());
    let tarball = "http://127.0.0.1:1/public/native.tgz";
    let description =
        json!({"versions": {"2.1.5": {"dist": {"tarball": tarball, "integrity": integrity(&archive)}}}});
    npm.route(&path(&native), move |_| Answer::json(&description));
    npm.route("/public/native.tgz", move |asked| file(asked, &archive));
    let data = tempfile::tempdir().unwrap();
    let registry = client(&npm, "", brisk()).await;
    Runtimes::new(data.path())
        .install(&registry, &Wanted::latest(), &())
        .await
        .unwrap();
    npm.route("/public/native.tgz", |_| Answer::of("404 Not Found", "", b""));
    let error = refused(&npm, "latest", brisk()).await;
    assert!(
        error.contains("http://127.0.0.1:1/public/native.tgz was not reached"),
        "{error}"
    );
}
