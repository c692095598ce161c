//! `hostler bench`: puts together what is measured, for the bench crate to measure, and what is killed.

mod chaos;
mod gateway;
mod progress;
mod sessions;

use crate::command_line::fail;
use anyhow::Context as _;
use bench::{Contender, Program, Report};
use clap::{Args, Subcommand};
use domain::{InstanceId, Limits};
use sandbox_linux::{LinuxBackend, Options};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// What to measure
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    #[command(flatten)]
    Measure(bench::What),
    /// A server under load that is killed again and again: nothing is lost, nothing is doubled
    Chaos(::chaos::Arguments),
}

/// Shells that the warm contender keeps ready.
const POOL: u32 = 8;

pub(crate) async fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.what {
        What::Measure(what) => match measure(what).await {
            Ok(report) => tell(&report, &what.json_path()),
            Err(error) => fail(&format!("{error:#}")),
        },
        What::Chaos(arguments) => chaos::run(arguments).await,
    }
}

/// Prints the table and writes the JSON. A goal that was not reached is said, and is not a failure of the command.
fn tell(report: &Report, path: &Path) -> ExitCode {
    let written = std::io::stdout().write_all(report.render().as_bytes());
    match (written, report.write_json(path)) {
        (Ok(()), Ok(())) => ExitCode::SUCCESS,
        (Err(error), _) => fail(&format!("cannot write to standard output: {error}")),
        (_, Err(error)) => fail(&format!("cannot write {}: {error}", path.display())),
    }
}

async fn measure(what: &bench::What) -> anyhow::Result<Report> {
    match what {
        bench::What::Sandbox(options) => sandboxes(options).await,
        bench::What::Session(options) => sessions::first_request(options).await,
        bench::What::Runtime(options) => {
            sessions::runtime(Program::native(program()?, vec!["agent".to_owned()]), options).await
        }
        bench::What::Gateway(options) => gateway::added(options).await,
        bench::What::Serve(options) => Ok(bench::serve(&program()?, options, &*progress::of_process()).await),
    }
}

fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program cannot find its own file")
}

async fn sandboxes(options: &bench::Options) -> anyhow::Result<Report> {
    let (cold_data, warm_data) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let cold = backend(cold_data.path(), 0).await?;
    let warm = backend(warm_data.path(), POOL).await?;
    let contenders = [
        Contender::cold(Arc::new(cold.clone())),
        Contender::warm(Arc::new(warm.clone())),
    ];
    let report = bench::sandbox(&contenders, options).await;
    tokio::task::spawn_blocking(move || {
        cold.stop();
        warm.stop();
    })
    .await?;
    Ok(report)
}

/// Disks are made ahead of demand for both: what is measured is making the sandbox, not formatting its file system.
async fn backend(data: &Path, shells: u32) -> anyhow::Result<LinuxBackend> {
    let options = Options {
        program: program()?,
        data: data.canonicalize()?,
        instance: InstanceId::random(),
        shells,
        disks: POOL,
        limits: Limits::default(),
        starts_jailer: true,
    };
    Ok(tokio::task::spawn_blocking(move || LinuxBackend::start(&options)).await??)
}
