//! `hostler bench`: puts together what is measured, for the bench crate to measure.

mod gateway;
mod sessions;

use crate::command_line::fail;
use anyhow::Context as _;
use bench::{Arguments, Contender, Program, Report, What};
use domain::{InstanceId, Limits};
use sandbox_linux::{LinuxBackend, Options};
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Shells that the warm contender keeps ready.
const POOL: u32 = 8;

/// Prints the table and writes the JSON. A goal that was not reached is said, and is not a failure of the command.
pub(crate) async fn run(arguments: &Arguments) -> ExitCode {
    let report = match measure(arguments).await {
        Ok(report) => report,
        Err(error) => return fail(&format!("{error:#}")),
    };
    let written = std::io::stdout().write_all(report.render().as_bytes());
    let path = arguments.json_path();
    match (written, report.write_json(&path)) {
        (Ok(()), Ok(())) => ExitCode::SUCCESS,
        (Err(error), _) => fail(&format!("cannot write to standard output: {error}")),
        (_, Err(error)) => fail(&format!("cannot write {}: {error}", path.display())),
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let options = &arguments.options;
    match arguments.what {
        What::Sandbox => sandboxes(options).await,
        What::Session => sessions::first_request(options).await,
        What::Runtime => {
            let program = std::env::current_exe().context("this program cannot find its own file")?;
            sessions::runtime(Program::native(program, vec!["agent".to_owned()]), options).await
        }
        What::Gateway => gateway::added(options).await,
    }
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
        program: std::env::current_exe().context("this program cannot find its own file")?,
        data: data.canonicalize()?,
        instance: InstanceId::random(),
        shells,
        disks: POOL,
        limits: Limits::default(),
        starts_jailer: true,
    };
    Ok(tokio::task::spawn_blocking(move || LinuxBackend::start(&options)).await??)
}
