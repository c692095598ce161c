//! `hostler runtimes`, as clap reads it.

use super::DataArgument;
use clap::{Args, Subcommand};
use runtimes::{Version, Wanted};
use std::path::PathBuf;

/// The only program that is installed.
const CLAUDE: &str = "claude";

#[derive(Debug, Subcommand)]
pub enum RuntimesCommand {
    /// The versions that are installed, the newest first
    List {
        /// One JSON object for each version
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: DataArgument,
    },
    /// Install a version from this machine's npm registry, or from a file
    Install(InstallArguments),
    /// Hold the default of new sessions to an installed version or range
    Pin(PinArguments),
    /// Install a newer version and try it on some of the new sessions, or make it the default at once
    Upgrade(UpgradeArguments),
    /// Take back what was taken last: the version on trial, else the default
    Rollback {
        #[arg(value_name = "RUNTIME", value_parser = name)]
        runtime: Name,
        #[command(flatten)]
        data: DataArgument,
    },
    /// Remove a version that nothing needs
    Rm {
        /// Like claude@2.1.330
        #[arg(value_name = "RUNTIME@VERSION", value_parser = exact)]
        version: Version,
        #[command(flatten)]
        data: DataArgument,
    },
}

#[derive(Debug, Args)]
pub struct InstallArguments {
    /// Like claude, which is the newest, claude@2.1.330 or 'claude@^2.1'
    #[arg(value_name = "RUNTIME[@VERSION]", value_parser = asked, required_unless_present = "file", conflicts_with = "file")]
    pub asked: Option<Asked>,
    /// An archive of npm, or the program itself
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Which version the file is, where it does not say so itself
    #[arg(long, value_name = "VERSION", conflicts_with = "asked")]
    pub version: Option<Version>,
    #[command(flatten)]
    pub data: DataArgument,
}

#[derive(Debug, Args)]
pub struct PinArguments {
    /// Like claude@2.1.330 or 'claude@^2.1'
    #[arg(value_name = "RUNTIME@VERSION", value_parser = named, required_unless_present = "none", conflicts_with = "none")]
    pub wanted: Option<Wanted>,
    /// Lift the pin; the default stays where it is
    #[arg(long)]
    pub none: bool,
    #[command(flatten)]
    pub data: DataArgument,
}

#[derive(Debug, Args)]
pub struct UpgradeArguments {
    /// Like claude, which is the newest of the pin or the major version in use, or 'claude@^2.1'
    #[arg(value_name = "RUNTIME[@VERSION]", value_parser = asked)]
    pub asked: Asked,
    /// Make it the default of new sessions at once
    #[arg(long)]
    pub now: bool,
    /// Of new sessions, how many try it [default: 5]
    #[arg(long, value_name = "PERCENT", conflicts_with = "now", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub share: Option<u8>,
    #[command(flatten)]
    pub data: DataArgument,
}

/// A runtime, and which version of it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Nothing where none was named.
    pub wanted: Option<Wanted>,
}

/// The name of a runtime alone.
#[derive(Debug, Clone, Copy)]
pub struct Name;

impl RuntimesCommand {
    pub(crate) fn data(&self) -> &DataArgument {
        match self {
            Self::List { data, .. }
            | Self::Rollback { data, .. }
            | Self::Rm { data, .. }
            | Self::Install(InstallArguments { data, .. })
            | Self::Pin(PinArguments { data, .. })
            | Self::Upgrade(UpgradeArguments { data, .. }) => data,
        }
    }
}

fn asked(text: &str) -> Result<Asked, String> {
    let (program, version) = match text.split_once('@') {
        Some((program, version)) => (program, Some(version)),
        None => (text, None),
    };
    if program != CLAUDE {
        return Err(format!(
            "claude is the only runtime that is installed; hostler's own is in this program: use {CLAUDE} or \
             {CLAUDE}@VERSION"
        ));
    }
    let wanted = version.map(|version| {
        version
            .parse()
            .map_err(|error: runtimes::BadVersion| error.to_string())
    });
    Ok(Asked {
        wanted: wanted.transpose()?,
    })
}

fn named(text: &str) -> Result<Wanted, String> {
    let missing = || format!("name a version, like {CLAUDE}@2.1.330 or '{CLAUDE}@^2.1'");
    asked(text)?.wanted.ok_or_else(missing)
}

fn exact(text: &str) -> Result<Version, String> {
    match named(text)? {
        Wanted::Exact(version) => Ok(version),
        _ => Err(format!(
            "name one version, like {CLAUDE}@2.1.330: `hostler runtimes list` has them"
        )),
    }
}

fn name(text: &str) -> Result<Name, String> {
    match asked(text)?.wanted {
        None => Ok(Name),
        Some(_) => Err(format!(
            "use {CLAUDE} alone; `hostler runtimes pin {text}` makes a version of your choice the default"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::arguments::Command;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn parsed(words: &[&str]) -> Result<Command, String> {
        let line = ["hostler", "runtimes"].iter().chain(words);
        let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        Ok(line.command)
    }

    #[test]
    fn a_version_is_asked_for_as_npm_writes_it() {
        for good in [
            &["install", "claude"][..],
            &["install", "claude@^2.1"],
            &["install", "claude@latest"],
            &["install", "--file", "/f", "--version", "2.1.330"],
            &["pin", "claude@>=2.1 <3"],
            &["pin", "--none"],
            &["upgrade", "claude", "--share", "20"],
            &["upgrade", "claude@2", "--now"],
            &["rollback", "claude"],
            &["rm", "claude@2.1.330"],
            &["list", "--json", "--data", "/d"],
        ] {
            parsed(good).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        for (wrong, reason) in [
            (&["install"][..], "RUNTIME[@VERSION]"),
            (&["install", "node@20"], "claude is the only runtime"),
            (&["install", "claude@a b"], "no version, range or tag"),
            (&["install", "claude", "--file", "/f"], "cannot be used with"),
            (
                &["install", "claude", "--version", "2.1.330"],
                "cannot be used with",
            ),
            (&["install", "--version", "2.1.330"], "RUNTIME[@VERSION]"),
            (&["pin", "claude"], "name a version"),
            (&["pin"], "RUNTIME@VERSION"),
            (&["pin", "claude@2", "--none"], "cannot be used with"),
            (&["upgrade", "claude", "--share", "0"], "0 is not in"),
            (
                &["upgrade", "claude", "--share", "5", "--now"],
                "cannot be used with",
            ),
            (&["rollback", "claude@2.1.330"], "hostler runtimes pin"),
            (&["rm", "claude@^2.1"], "name one version"),
        ] {
            let error = parsed(wrong).unwrap_err();
            assert!(error.contains(reason), "{wrong:?}: {error}");
        }
    }
}
