//! `hostler runtimes`: which versions of `claude` are there for sessions, and which one new sessions get.
//!
//! It works on the data directory itself, also while a server runs on it: that one looks anew for each session. What may
//! not be removed, it is asked.

mod holders;
mod list;
mod progress;
mod refusal;

use crate::arguments::{InstallArguments, PinArguments, RuntimesCommand, UpgradeArguments};
use crate::check::data_directory;
use crate::reach::flags;
use crate::render::facts::size;
use progress::attended;
pub(crate) use refusal::refused;
use runtimes::{
    ChoiceError, How, Installation, Limits, NpmConfiguration, Progress, Registry, RolledBack, Runtimes,
    RuntimesError, Trial, Upgraded, Version, Wanted,
};
use std::path::Path;
use store::{Instance, InstanceError};
use terminal::text::one_line;
use terminal::{Environment, Failure, Signals, Terminal};

/// What a command works on.
struct Place {
    runtimes: Runtimes,
    /// That lead another command to it.
    flags: String,
}

pub(crate) async fn runtimes(
    command: &RuntimesCommand,
    environment: &Environment,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let data = data_directory(command.data(), environment)?;
    let place = Place {
        runtimes: Runtimes::new(&data),
        flags: flags(command.data(), None),
    };
    prepare(&data, command, &place.flags)?;
    match command {
        RuntimesCommand::List { json, .. } => {
            let holders = holders::find(&data, environment, signals).await?;
            let listed = blocking(&place, move |runtimes| runtimes.list(&holders)).await?;
            let channel = blocking(&place, Runtimes::channel).await?;
            list::print(&listed, channel.pin(), *json, &place.flags, terminal);
            Ok(())
        }
        RuntimesCommand::Install(arguments) => install(arguments, &place, terminal, signals).await,
        RuntimesCommand::Pin(arguments) => pin(arguments, &place, terminal).await,
        RuntimesCommand::Upgrade(arguments) => upgrade(arguments, &place, terminal, signals).await,
        RuntimesCommand::Rollback { .. } => {
            let RolledBack { from, to } = blocking(&place, Runtimes::roll_back).await?;
            terminal.line(&format!("claude {from} is out of use; new sessions get {to}"));
            Ok(())
        }
        RuntimesCommand::Rm { version, .. } => {
            let holders = holders::find(&data, environment, signals).await?;
            let removed = version.clone();
            blocking(&place, move |runtimes| runtimes.remove(&removed, &holders)).await?;
            terminal.line(&format!("claude {version} is removed"));
            Ok(())
        }
    }
}

/// A data directory is made as every command makes it, where there is something to put into it.
fn prepare(data: &Path, command: &RuntimesCommand, flags: &str) -> Result<(), Failure> {
    if data.exists() {
        return Ok(());
    }
    match command {
        RuntimesCommand::List { .. } => Ok(()),
        RuntimesCommand::Install(_) | RuntimesCommand::Upgrade(_) => match Instance::open(data) {
            // A server that came first has made it.
            Ok(_) | Err(InstanceError::Taken { .. }) => Ok(()),
            Err(error) => Err(Failure::failed("start", error).hint("use another data directory: --data DIR")),
        },
        RuntimesCommand::Pin(_) | RuntimesCommand::Rollback { .. } | RuntimesCommand::Rm { .. } => {
            let error = RuntimesError::Choice(ChoiceError::NothingInstalled);
            Err(refused(&error, flags))
        }
    }
}

/// Small work on files, away from the event loop.
async fn blocking<T: Send + 'static, E: refusal::Refusal + Send + 'static>(
    place: &Place,
    work: impl FnOnce(&Runtimes) -> Result<T, E> + Send + 'static,
) -> Result<T, Failure> {
    let runtimes = place.runtimes.clone();
    let done = tokio::task::spawn_blocking(move || work(&runtimes)).await;
    let done = done.map_err(|error| Failure::failed("runtimes", error))?;
    done.map_err(|error| refused(&error, &place.flags))
}

async fn registry(place: &Place, terminal: &mut Terminal) -> Result<Registry, Failure> {
    let npm = NpmConfiguration::of_this_machine().await;
    let npm = npm.map_err(|error| refused(&error, &place.flags))?;
    terminal.line(&format!(
        "registry {}",
        one_line(npm.registry().as_str(), terminal.width())
    ));
    Ok(Registry::new(npm, Limits::default()))
}

async fn install(
    arguments: &InstallArguments,
    place: &Place,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let installation = if let Some(path) = &arguments.file {
        let (path, version) = (path.clone(), arguments.version.clone());
        let work = async |progress: &dyn Progress| {
            let limits = Limits::default();
            let done = place
                .runtimes
                .install_file(&path, version, limits, progress)
                .await;
            done.map_err(|error| refused(&error, &place.flags))
        };
        attended(work, place, terminal, signals).await?
    } else {
        let wanted = arguments.asked.as_ref().and_then(|asked| asked.wanted.clone());
        let wanted = wanted.unwrap_or_else(Wanted::latest);
        let registry = registry(place, terminal).await?;
        let work = async |progress: &dyn Progress| {
            let done = place.runtimes.install(&registry, &wanted, progress).await;
            done.map_err(|error| refused(&error, &place.flags))
        };
        attended(work, place, terminal, signals).await?
    };
    let Installation { about, is_new } = installation;
    let verb = if is_new {
        "is installed"
    } else {
        "was installed already"
    };
    terminal.line(&format!("claude {} {verb}: {}", about.version, size(about.size)));
    let default = blocking(place, Runtimes::channel)
        .await?
        .default_version()
        .cloned();
    terminal.line(&match default {
        Some(default) if default == about.version => "new sessions get it".to_owned(),
        Some(default) => format!(
            "new sessions get {default}; hostler runtimes pin claude@{}{} lets them have this one",
            about.version, place.flags
        ),
        None => format!(
            "no version is the default: hostler runtimes pin claude@{}{}",
            about.version, place.flags
        ),
    });
    Ok(())
}

async fn pin(arguments: &PinArguments, place: &Place, terminal: &mut Terminal) -> Result<(), Failure> {
    let wanted = arguments.wanted.clone();
    let default: Option<Version> = blocking(place, move |runtimes| runtimes.pin(wanted)).await?;
    let lifted = arguments.wanted.is_none();
    terminal.line(&match default {
        Some(version) if lifted => format!("nothing is pinned; new sessions get claude {version}"),
        Some(version) => format!("new sessions get claude {version}"),
        None => "nothing is pinned, and nothing is installed".to_owned(),
    });
    Ok(())
}

async fn upgrade(
    arguments: &UpgradeArguments,
    place: &Place,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let how = if arguments.now {
        How::Now
    } else {
        let usual = Trial::default();
        How::Canary(Trial {
            share_percent: arguments.share.unwrap_or(usual.share_percent),
            ..usual
        })
    };
    let registry = registry(place, terminal).await?;
    let wanted = arguments.asked.wanted.as_ref();
    let work = async |progress: &dyn Progress| {
        let done = place.runtimes.upgrade(&registry, wanted, how, progress).await;
        done.map_err(|error| refused(&error, &place.flags))
    };
    let upgraded = attended(work, place, terminal, signals).await?;
    terminal.line(&match upgraded {
        Upgraded::Already { version } => format!("claude {version} is the default already: there is nothing newer"),
        Upgraded::Default { version } => format!("new sessions get claude {version}"),
        Upgraded::Canary(canary) => format!(
            "{} % of new sessions get claude {version}: hostler runtimes pin claude@{version}{flags} lets all have it, \
             hostler runtimes rollback claude{flags} ends the trial",
            canary.trial.share_percent,
            version = canary.version,
            flags = place.flags
        ),
    });
    Ok(())
}
