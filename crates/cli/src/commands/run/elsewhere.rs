//! `hostler run` with `HOSTLER_URL`: the session is that server's. Its agent and its environment are made for it alone, and
//! are archived with it.

use super::{CallError, limits, refuse_missing, rules};
use crate::arguments::{RunArguments, RuntimeName};
use crate::check::read_prompt;
use crate::commands::sessions::{OnSignal, Rested, follow, unread};
use crate::entry::Entry;
use crate::outcome::Outcome;
use crate::reach::{Reach, Server};
use crate::render::facts::{self, used};
use crate::session::Session;
use crate::trouble;
use domain::{Cost, SessionId};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use terminal::{Environment, Failure, Signals, Terminal, text};
use wire::{Body, ContentBlock, StopReason};

/// What is made for a session is called so.
const NAME: &str = "hostler run";

/// What the session is made from.
struct Plan {
    agent: Value,
    environment: Value,
    budget: Option<Value>,
    prompt: String,
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

/// A data directory that is named by a flag is nearer than the environment.
pub(super) fn is_meant(arguments: &RunArguments, environment: &Environment) -> bool {
    environment.server_url.is_some() && arguments.data.data.is_none()
}

pub(super) async fn run(
    arguments: &RunArguments,
    environment: &Environment,
    outcome: &mut Outcome,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    refuse(arguments)?;
    let Reach::Server(server) = Reach::find(&arguments.data, None, environment)? else {
        let message = "HOSTLER_URL names a server that is not asked";
        return Err(Failure::said("start", message).hint("unset it to run on this machine"));
    };
    let plan = plan(arguments, signals).await?;
    let line = facts::sandbox_line(&limits(arguments)?, &rules(arguments)?);
    let line = terminal.style().dim(&line);
    terminal.line(&line);
    terminal.status("starting");
    let (mut made, mut session) = (Vec::new(), None);
    let began = tokio::select! {
        began = begin(&server, &plan, &mut made, &mut session) => began,
        _ = signals.next() => Err(Failure::said("interrupted", "interrupted before the agent began")),
    };
    let ended = match (began, &session) {
        (Ok(after), Some(id)) => {
            outcome.session_id = Some(id.clone());
            let clock = Instant::now();
            let ended = attend(&server, (id, after), arguments.json, outcome, terminal, signals).await;
            outcome.duration_ms = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
            ended
        }
        (began, _) => began.map(drop),
    };
    let goes_on = ended.as_ref().is_err_and(|failure| failure.kind == "left");
    if !goes_on {
        // With the session its sandbox ends.
        made.extend(session.map(|id| format!("/v1/sessions/{id}")));
    }
    terminal.status("clearing up");
    tokio::select! {
        () = archive(&server, &made) => {}
        _ = signals.next() => {}
    }
    ended
}

/// What only works here.
fn refuse(arguments: &RunArguments) -> Result<(), Failure> {
    refuse_missing(arguments)?;
    let allow = &arguments.allow;
    let applies = arguments.apply || allow.apply_git || allow.apply_symlinks || allow.apply_executables;
    for (is_there, flag) in [
        (arguments.workspace.is_some(), "--workspace"),
        (applies, "--apply"),
        (arguments.simulate.is_some(), "--simulate"),
    ] {
        if is_there {
            return Err(Failure::usage(CallError::Elsewhere { flag })
                .hint("unset HOSTLER_URL to run it on this machine"));
        }
    }
    Ok(())
}

async fn plan(arguments: &RunArguments, signals: &mut Signals) -> Result<Plan, Failure> {
    let limits = limits(arguments)?;
    rules(arguments)?;
    let budget = arguments.max_budget.map(cents).transpose()?;
    let prompt = read_prompt(&arguments.prompt, signals).await?;
    let hosts = &arguments.allow_host;
    let runtime = match arguments.runtime {
        RuntimeName::Native => "native",
        RuntimeName::Claude => "claude",
    };
    Ok(Plan {
        agent: json!({
            "name": NAME,
            "model": arguments.model,
            // What a search asks leaves through the model API, whatever the network's rules are.
            "tools": [{
                "type": "agent_toolset_20260401",
                "configs": [{"name": "web_search", "enabled": false}],
            }],
            "hostler": {"max_turns": arguments.max_turns},
        }),
        environment: json!({
            "name": NAME,
            "config": {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": hosts}},
            "hostler": {
                "cpus": f64::from(limits.cpu_millis) / 1000.0,
                "memory": limits.memory_bytes,
                "disk": limits.disk_bytes,
                "runtime": runtime,
            },
        }),
        budget,
        prompt,
    })
}

/// A server keeps budgets in whole cents.
fn cents(budget: Cost) -> Result<Value, Failure> {
    let cents = budget.nano_usd / Cost::CENT.nano_usd;
    if cents == 0 {
        return Err(Failure::usage(CallError::SmallBudget).hint("give it a cent or more: --max-budget 0.01"));
    }
    let amount = json!({"amount": cents.to_string(), "currency": "USD"});
    Ok(json!({"type": "limit", "max_list_cost": amount}))
}

/// Makes the session and says what it shall do; answers the event to follow it from. `made` and `session` have what is
/// there, also where the rest fails.
async fn begin(
    server: &Server,
    plan: &Plan,
    made: &mut Vec<String>,
    session: &mut Option<SessionId>,
) -> Result<Option<domain::EventId>, Failure> {
    let client = &server.client;
    let failed = |error| server.explain(error);
    let agent: Made = client.post("/v1/agents", &plan.agent).await.map_err(failed)?;
    made.push(format!("/v1/agents/{}", agent.id));
    let environment: Made = client
        .post("/v1/environments", &plan.environment)
        .await
        .map_err(failed)?;
    made.push(format!("/v1/environments/{}", environment.id));
    let mut create = json!({
        "agent": agent.id,
        "environment_id": environment.id,
        "title": text::one_line(&plan.prompt, 80),
    });
    if let Some(budget) = &plan.budget {
        create["budget"] = budget.clone();
    }
    let raw = client.post("/v1/sessions", &create).await.map_err(failed)?;
    let id = Session::read(&raw).map_err(|error| unread(server, &error))?.id;
    *session = Some(id.clone());
    let message = Body::UserMessage {
        content: vec![ContentBlock::text(plan.prompt.clone())],
    };
    let sent = client.send(&id, &[message]).await.map_err(failed)?;
    let last = sent.last().and_then(|raw| Entry::of_json(raw.get()).ok());
    Ok(last.and_then(|entry| entry.id))
}

/// From the first event to what it came to.
async fn attend(
    server: &Server,
    (id, after): (&SessionId, Option<domain::EventId>),
    json: bool,
    outcome: &mut Outcome,
    terminal: &mut Terminal,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let server = Box::new(server.clone());
    let rested = follow(
        server.clone(),
        id,
        after,
        (OnSignal::Interrupt, false),
        (terminal, signals),
    )
    .await;
    let Rested {
        idle,
        words,
        interrupted,
    } = rested.inspect_err(|_| terminal.quiet())?;
    outcome.result.clone_from(&words);
    terminal.quiet();
    if !json {
        terminal.answer(words.as_deref());
    }
    // Who cannot tell the cost now has told the answer.
    let raw = tokio::select! {
        raw = server.client.session(id) => raw.ok(),
        _ = signals.next() => None,
    };
    if let Some(raw) = raw
        && let Ok(session) = Session::read(&raw)
    {
        outcome.set_usage(&session.usage);
        let line = terminal
            .style()
            .dim(&format!("session {id}: {}", used(&session.usage)));
        terminal.line(&line);
    }
    if interrupted {
        return Err(
            Failure::said("interrupted", "the agent was interrupted").hint(trouble::look(id.as_str()))
        );
    }
    if let Some(StopReason::RequiresAction { .. }) = idle.stop_reason {
        // No tool of this agent asks.
        return trouble::of_idle(&idle, id.as_str()).map_or(Ok(()), Err);
    }
    trouble::of_hosted(&idle, id.as_str()).map_or(Ok(()), Err)
}

/// Newest first: what a session uses after the session. Whatever stays can be archived by hand.
async fn archive(server: &Server, made: &[String]) {
    const PATIENCE: Duration = Duration::from_secs(30);
    let nothing = json!({});
    for path in made.iter().rev() {
        let path = format!("{path}/archive");
        let archived = server.client.post::<_, client::Raw>(&path, &nothing);
        if !matches!(tokio::time::timeout(PATIENCE, archived).await, Ok(Ok(_))) {
            tracing::warn!(path, "it could not be archived");
        }
    }
}
