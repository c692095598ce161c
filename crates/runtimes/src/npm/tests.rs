//! Where the registry is looked for, in npm's order.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

struct Machine {
    directory: TempDir,
    surroundings: Surroundings,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().display().to_string();
        Self {
            surroundings: Surroundings {
                variables: BTreeMap::from([("HOME".to_owned(), home)]),
                global_files: vec![directory.path().join("missing"), directory.path().join("global")],
            },
            directory,
        }
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.directory.path().join(name), text).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.surroundings
            .variables
            .insert(name.to_owned(), value.to_owned());
        self
    }

    /// A program named npm that does this.
    fn npm(self, script: &str) -> Self {
        let machine = self.file("npm", &format!("#!/bin/sh\n{script}\n"));
        let program = machine.directory.path().join("npm");
        std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = machine.directory.path().display().to_string();
        machine.variable("PATH", &path)
    }

    async fn registry(&self) -> Result<String, String> {
        NpmConfiguration::read(&self.surroundings)
            .await
            .map(|found| found.registry().to_string())
            .map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn the_nearest_configuration_wins() {
    let machine = Machine::new().npm("echo http://npm.test");
    assert_eq!(machine.registry().await.unwrap(), "http://npm.test/");
    let machine = machine.file("global", "registry=http://global.test/a");
    assert_eq!(machine.registry().await.unwrap(), "http://global.test/a/");
    let machine = machine.file(".npmrc", "registry=http://user.test/");
    assert_eq!(machine.registry().await.unwrap(), "http://user.test/");
    let machine = machine.variable("NPM_CONFIG_REGISTRY", "http://variable.test");
    assert_eq!(machine.registry().await.unwrap(), "http://variable.test/");
    let machine = machine.file("global", "@anthropic-ai:registry=http://scope.test/");
    assert_eq!(machine.registry().await.unwrap(), "http://scope.test/");
}

#[tokio::test]
async fn files_may_be_named_by_the_environment() {
    let machine = Machine::new().file("mine", "registry=http://mine.test/");
    let mine = machine.directory.path().join("mine").display().to_string();
    let machine = machine.variable("npm_config_userconfig", &mine);
    assert_eq!(machine.registry().await.unwrap(), "http://mine.test/");
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_with_its_place() {
    let none = Machine::new().registry().await.unwrap_err();
    assert!(none.contains("set npm_config_registry"), "{none}");
    let undefined = Machine::new().npm("echo undefined").registry().await.unwrap_err();
    assert!(undefined.contains("no npm registry is configured"), "{undefined}");
    let failing = Machine::new().npm("exit 3").registry().await.unwrap_err();
    assert!(failing.contains("exit status: 3"), "{failing}");
    let bad = Machine::new()
        .file(".npmrc", "registry=ftp://name:word@r.test/")
        .registry()
        .await
        .unwrap_err();
    assert!(bad.contains("/.npmrc names the registry \"r.test/\""), "{bad}");
    let proxy = Machine::new()
        .file(".npmrc", "registry=http://r.test/\nhttps-proxy=socks5://p.test")
        .registry()
        .await
        .unwrap_err();
    assert!(proxy.contains("only http:// proxies"), "{proxy}");
}

#[tokio::test]
async fn credentials_in_an_address_are_taken_out_of_it() {
    let machine = Machine::new().variable("npm_config_registry", "http://name:word@r.test/x");
    let found = NpmConfiguration::read(&machine.surroundings).await.unwrap();
    assert_eq!(found.registry().as_str(), "http://r.test/x/");
    let sent = found
        .credentials
        .of(&Url::parse("http://r.test/x/y").unwrap())
        .unwrap();
    assert_eq!(sent.to_str().unwrap(), "Basic bmFtZTp3b3Jk");
    assert!(!format!("{found:?}").contains("bmFt"));
}
