//! `hostler run`: one session from prompt to changes. Every way out ends the sandbox and leaves the change set for
//! later, unless it was applied.

mod elsewhere;

use crate::arguments::{RunArguments, RuntimeName};
use crate::check::{check_model, choose_upstream, data_directory, open_workspace, read_prompt};
use crate::commands::runtimes::refused;
use crate::commands::{end, start};
use crate::conversation::{Ended, follow};
use crate::outcome::{ErrorRecord, Outcome};
use crate::reach::flags;
use crate::render::{changes, facts};
use crate::review::{Review, discard, recover};
use crate::services::{How, Running, Services, StartOptions, Upstream};
use crate::{trouble, versions};
use change_set::Allowed;
use configuration::Tuning;
use control::{Input, Lifetime, NewSession, Runtime};
use domain::{Limits, PriceTable, SessionId};
use policy::Rules;
use runtimes::Runtimes;
use sandbox::Workspace;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use terminal::{Answer, Environment, Exit, Failure, Signals, Terminal, text};
use wire::ContentBlock;

/// A session that was asked for, checked.
struct Plan {
    session: NewSession,
    prompt: String,
    start: StartOptions,
    allowed: Allowed,
    apply: bool,
    /// That lead another command to it.
    flags: String,
    /// The answer goes into the object, and nowhere else.
    json: bool,
    simulated: bool,
    notices: Vec<String>,
}

/// A call that cannot be.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("images are not there yet")]
    Image,
    #[error("--apply needs a --workspace to apply to")]
    NoWorkspace,
    #[error(
        "{flag} does not work with HOSTLER_URL: that server is another program, and may be another machine"
    )]
    Elsewhere { flag: &'static str },
    #[error("a server keeps budgets in whole cents")]
    SmallBudget,
    #[error(transparent)]
    Limits(#[from] domain::LimitError),
    #[error(transparent)]
    Rules(#[from] policy::RulesError),
}

pub(crate) async fn run(
    arguments: &RunArguments,
    environment: &Environment,
    services: &dyn Services,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut outcome = Outcome::default();
    let ended = if elsewhere::is_meant(arguments, environment) {
        elsewhere::run(arguments, environment, &mut outcome, terminal, signals).await
    } else {
        match plan(arguments, environment, signals).await {
            Ok(plan) => perform(plan, services, &mut outcome, terminal, signals).await,
            Err(failure) => Err(failure),
        }
    };
    terminal.quiet();
    if arguments.json {
        outcome.error = ended.as_ref().err().map(ErrorRecord::from);
        terminal.output(&outcome.to_line());
    }
    ended
}

async fn plan(
    arguments: &RunArguments,
    environment: &Environment,
    signals: &mut Signals,
) -> Result<Plan, Failure> {
    refuse_missing(arguments)?;
    let data = data_directory(&arguments.data, environment)?;
    let workspace = arguments
        .workspace
        .as_deref()
        .map(|path| open_workspace(path, &data))
        .transpose()?;
    if arguments.apply && workspace.is_none() {
        return Err(Failure::usage(CallError::NoWorkspace).hint("name the directory with --workspace DIR"));
    }
    let limits = limits(arguments)?;
    let rules = rules(arguments)?;
    let root = workspace.as_ref().map(|workspace| workspace.path.as_path());
    let (upstream, notice) = choose_upstream(arguments.simulate.as_deref(), root, environment)?;
    let own_server = matches!(
        upstream,
        Upstream::Model {
            base_url: Some(_),
            ..
        }
    );
    let simulated = matches!(upstream, Upstream::Simulated { .. });
    let warning = check_model(
        &arguments.model,
        own_server,
        arguments.max_budget,
        PriceTable::built_in(),
    )?;
    let runtime = runtime(arguments, &data).await?;
    let prompt = read_prompt(&arguments.prompt, signals).await?;
    Ok(Plan {
        session: new_session(arguments, workspace, (limits, rules), runtime, &prompt),
        prompt,
        start: StartOptions {
            data,
            upstream,
            pool: 0,
            lifetime: Lifetime::Host,
            tuning: Tuning::default(),
        },
        allowed: arguments.allow.into(),
        apply: arguments.apply,
        flags: flags(&arguments.data, None),
        json: arguments.json,
        simulated,
        notices: [notice, warning].into_iter().flatten().collect(),
    })
}

fn limits(arguments: &RunArguments) -> Result<Limits, Failure> {
    let default = Limits::default();
    let limits = Limits {
        cpu_millis: arguments.cpus.map_or(default.cpu_millis, |cpus| cpus.millis),
        memory_bytes: arguments.memory.map_or(default.memory_bytes, |size| size.0),
        disk_bytes: arguments.disk.map_or(default.disk_bytes, |size| size.0),
        ..default
    };
    limits
        .validate()
        .map_err(|error| Failure::usage(CallError::from(error)))?;
    Ok(limits)
}

/// The program that plays the agent, in the version that new sessions get.
async fn runtime(arguments: &RunArguments, data: &Path) -> Result<Runtime, Failure> {
    match arguments.runtime {
        RuntimeName::Native => Ok(Runtime::Native),
        RuntimeName::Claude => {
            let chosen = versions::choose(Runtimes::new(data), None).await;
            let version = chosen.map_err(|error| refused(&error, &flags(&arguments.data, None)))?;
            Ok(Runtime::Claude { version })
        }
    }
}

fn new_session(
    arguments: &RunArguments,
    workspace: Option<Workspace>,
    (limits, rules): (Limits, Rules),
    runtime: Runtime,
    prompt: &str,
) -> NewSession {
    NewSession {
        workspace,
        model: arguments.model.clone(),
        limits,
        rules,
        max_turns: arguments.max_turns,
        max_cost: arguments.max_budget,
        system_prompt: None,
        title: Some(text::one_line(prompt, 80)),
        runtime,
        tools: None,
        environment: BTreeMap::new(),
        effort: None,
        hosting: None,
    }
}

async fn perform(
    plan: Plan,
    services: &dyn Services,
    outcome: &mut Outcome,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    for notice in &plan.notices {
        let line = terminal.style().yellow(&text::safe(notice));
        terminal.line(&line);
    }
    terminal.status("starting");
    let running = start(services, &plan.start, signals).await?;
    recover(&running.data, terminal);
    let ended = session(&running, plan, outcome, terminal, signals).await;
    terminal.status("clearing up");
    end(running, How::End, signals).await;
    ended
}

/// The session itself, from its row to the review of its changes.
async fn session(
    running: &Running,
    plan: Plan,
    outcome: &mut Outcome,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let style = terminal.style();
    terminal.line(&style.dim(&facts::sandbox_line(&plan.session.limits, &plan.session.rules)));
    if let Runtime::Claude { version } = &plan.session.runtime {
        terminal.line(&style.dim(&format!("runtime: claude {version}")));
    }
    if let Some(line) = facts::missing_line(&running.report) {
        terminal.line(&style.yellow(&line));
    }
    let began = Instant::now();
    let content = vec![ContentBlock::text(plan.prompt)];
    let inputs = vec![Input::Message { content }];
    let started = running.control.begin(plan.session, inputs).await;
    let (id, _) = started.map_err(|error| Failure::failed("session", error))?;
    outcome.session_id = Some(id.clone());
    let named = format!("{id}{}", plan.flags);
    let ended = follow(&running.control, &id, terminal, signals).await;
    let took = began.elapsed();
    terminal.status("ending the sandbox");
    let stopped = stop(running, (&id, &named), signals).await;
    let failure = match ended {
        Err(failure) => Some(failure),
        Ok(Ended::Stopped) => Some(stopped_failure(&named)),
        Ok(Ended::Idle {
            interrupted: true, ..
        }) => Some(
            Failure::said("interrupted", "the agent was interrupted")
                .hint(format!("hostler sessions diff {named}")),
        ),
        Ok(Ended::Idle { idle, .. }) => trouble::of_idle(&idle, &named),
    };
    let summary = running
        .control
        .summary(&id)
        .await
        .map_err(|error| Failure::failed("session", error))?;
    outcome.set_summary(&summary, took);
    terminal.quiet();
    if !plan.json {
        terminal.answer(summary.result_text.as_deref());
    }
    terminal.line(&style.dim(&facts::cost_line(&summary, plan.simulated)));
    if failure.as_ref().is_some_and(|failure| failure.kind == "stopped") {
        return failure.map_or(Ok(()), Err);
    }
    stopped?;
    let done = failure.is_none();
    let wish = Wish {
        apply: plan.apply && done,
        refused: plan.apply && !done,
        allowed: plan.allowed,
    };
    let reviewed = review(running, (&id, &named), wish, outcome, terminal, signals).await;
    failure.map_or(reviewed, Err)
}

/// What is not there yet, wherever it is asked for.
fn refuse_missing(arguments: &RunArguments) -> Result<(), Failure> {
    if arguments.image.is_some() {
        return Err(
            Failure::usage(CallError::Image).hint("leave --image out: the sandbox shows this machine's /usr")
        );
    }
    Ok(())
}

fn rules(arguments: &RunArguments) -> Result<Rules, Failure> {
    Rules::parse(&arguments.allow_host).map_err(|error| {
        Failure::usage(CallError::from(error)).hint("use api.example.com, *.example.com or host:port")
    })
}

fn stopped_failure(named: &str) -> Failure {
    Failure::said("stopped", "stopped").hint(format!(
        "hostler sessions diff {named} shows what the agent changed"
    ))
}

/// Ends the sandbox, so that its files lie still. A user who will not wait leaves that to the next start.
async fn stop(
    running: &Running,
    (id, named): (&SessionId, &str),
    signals: &mut Signals,
) -> Result<(), Failure> {
    tokio::select! {
        stopped = running.control.stop(id) => stopped.map_err(|error| Failure::failed("session", error)),
        _ = signals.next() => Err(stopped_failure(named)),
    }
}

/// What shall become of the changes.
struct Wish {
    /// The user said so on the command line, and the agent is done.
    apply: bool,
    /// The user said so, but the agent is not done: a half-done change set is looked at first.
    refused: bool,
    allowed: Allowed,
}

async fn review(
    running: &Running,
    (id, named): (&SessionId, &str),
    wish: Wish,
    outcome: &mut Outcome,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    terminal.status("looking at the changes");
    let row = running
        .control
        .session(id)
        .await
        .map_err(|error| Failure::failed("session", error))?;
    let opened = tokio::select! {
        opened = Review::open(&*running.backend, &row, &running.data) => opened?,
        _ = signals.next() => return Err(stopped_failure(named)),
    };
    terminal.quiet();
    let Some(review) = opened else { return Ok(()) };
    outcome.set_changes(&review.set, wish.allowed, false);
    if review.set.is_empty() && review.set.refused.count == 0 {
        terminal.line("no changes");
        drop(review);
        return discard(&*running.backend, &row).await;
    }
    terminal.lines(&changes::summary(&review.set, wish.allowed, terminal.style()));
    let settled = decide(&review, named, &wish, terminal, signals).await?;
    if !settled {
        return Ok(());
    }
    let applied = review.apply(wish.allowed, signals).await?;
    outcome.set_changes(&review.set, wish.allowed, true);
    let line = changes::applied_line(applied.paths.len(), terminal.style());
    terminal.line(&line);
    if let Some(leftover) = &applied.leftover {
        terminal.line(&format!("left behind: {}", leftover.display()));
    }
    if review.set.select(wish.allowed).withheld.is_empty() {
        drop(review);
        return discard(&*running.backend, &row).await;
    }
    terminal.line(&format!(
        "hint: hostler sessions apply {named} with the flags above applies the rest"
    ));
    Ok(())
}

/// Whether to apply: said on the command line, or asked.
async fn decide(
    review: &Review,
    named: &str,
    wish: &Wish,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<bool, Failure> {
    let selection = review.set.select(wish.allowed);
    if wish.apply {
        return Ok(true);
    }
    let later = format!(
        "hint: hostler sessions apply {named} applies them, hostler sessions rm {named} discards them"
    );
    if selection.chosen.is_empty() || !selection.conflicts().is_empty() || !terminal.can_ask() {
        if wish.refused {
            terminal.line("not applied, since the agent did not finish");
        }
        terminal.line(&later);
        return Ok(false);
    }
    match terminal.ask("Apply these changes?", signals).await {
        Answer::Yes => Ok(true),
        Answer::No => {
            terminal.line(&later);
            Ok(false)
        }
        Answer::Interrupted => Err(Failure {
            kind: "interrupted",
            message: "nothing was applied".to_owned(),
            hint: Some(later.trim_start_matches("hint: ").to_owned()),
            exit: Exit::Failed,
        }),
    }
}
