//! The endpoints of the guest API: which one a request means, and what it answers.

mod answer;
mod query;
mod receive;

pub(crate) use answer::Answer;

use crate::agent_user::AgentUser;
use crate::changes::Walk;
use crate::files::Files;
use crate::output::Cursor;
use crate::processes::{Process, Processes};
use crate::refusal::Refusal;
use crate::stats;
use guest_protocol::{Ack, ErrorKind, Health, InputAck, Signal, Spawn, TerminalSize, VERSION};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use query::Query;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

/// The longest input of one number.
const MAX_INPUT_BYTES: u64 = 64 << 20;

/// The longest file that is taken.
const MAX_FILE_BYTES: u64 = 16 << 30;

/// What the endpoints act on.
pub(crate) struct Guest {
    pub(crate) started: Instant,
    pub(crate) user: AgentUser,
    pub(crate) files: Files,
    pub(crate) role: Role,
}

pub(crate) enum Role {
    Sandbox(Processes),
    Reader { root: PathBuf },
}

/// Answers every request, with an error if it must.
pub(crate) async fn answer(guest: Rc<Guest>, request: Request<Incoming>) -> Response<Answer> {
    let (head, mut body) = request.into_parts();
    match route(&guest, &head, &mut body).await {
        Ok(response) => response,
        Err(refusal) => {
            receive::rest(&mut body).await;
            answer::refusal(&refusal)
        }
    }
}

async fn route(guest: &Guest, head: &Parts, body: &mut Incoming) -> Result<Response<Answer>, Refusal> {
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let path: Vec<&str> = head.uri.path().split('/').skip(1).collect();
    match (&head.method, path.as_slice()) {
        (&Method::GET, ["v1", "health"]) => {
            query.end()?;
            answer::json(&Health {
                version: VERSION,
                processes: guest.running(),
            })
        }
        (&Method::GET, ["v1", "stats"]) => {
            query.end()?;
            answer::json(&stats::stats(guest.running(), guest.started))
        }
        (method, ["v1", "processes", rest @ ..]) => {
            processes(guest.processes()?, method, (rest, query, body)).await
        }
        (method, ["v1", "files", rest @ ..]) => files(guest, method, (rest, query, body)).await,
        (&Method::GET, ["v1", "changes"]) => {
            query.end()?;
            let Role::Reader { root } = &guest.role else {
                return Err(Refusal::not_found(
                    "only a reader of a dead sandbox's files has changes",
                ));
            };
            Ok(answer::stream(Answer::Changes(Walk::new(guest.user, root)?)))
        }
        _ => Err(unknown()),
    }
}

async fn processes(
    processes: &Processes,
    method: &Method,
    (path, mut query, body): (&[&str], Query, &mut Incoming),
) -> Result<Response<Answer>, Refusal> {
    match (method, path) {
        (&Method::POST, []) => {
            query.end()?;
            let spawn: Spawn = receive::json(body).await?;
            answer::json(&processes.spawn(&spawn)?.describe())
        }
        (&Method::GET, []) => {
            query.end()?;
            answer::json(&processes.all())
        }
        (&Method::GET, [id]) => {
            query.end()?;
            answer::json(&processes.find(id)?.describe())
        }
        (&Method::DELETE, [id]) => {
            query.end()?;
            processes.remove(id)?;
            Ok(answer::done())
        }
        (&Method::POST, [id, "input"]) => {
            let process = processes.find(id)?;
            input(&process, query, body).await
        }
        (&Method::GET, [id, "output"]) => {
            let (after, follow) = (query.number("after")?.unwrap_or(0), query.flag("follow")?);
            query.end()?;
            output(processes.find(id)?, after, follow)
        }
        (&Method::POST, [id, action]) => {
            query.end()?;
            let process = processes.find(id)?;
            match *action {
                "signal" => process.signal(receive::json::<Signal>(body).await?)?,
                "resize" => process.resize(receive::json::<TerminalSize>(body).await?)?,
                "ack" => ack(&process, receive::json::<Ack>(body).await?.seq)?,
                _ => return Err(unknown()),
            }
            Ok(answer::done())
        }
        _ => Err(unknown()),
    }
}

/// Answers with the number that is due afterwards: the same one if the process did not read in time.
async fn input(
    process: &Process,
    mut query: Query,
    body: &mut Incoming,
) -> Result<Response<Answer>, Refusal> {
    let seq = query
        .number("seq")?
        .ok_or_else(|| Refusal::invalid("input needs its number, seq"))?;
    let eof = query.flag("eof")?;
    query.end()?;
    if let Some(mut piece) = process.input().begin(seq).await? {
        let mut left = MAX_INPUT_BYTES;
        let mut taken = true;
        while taken && let Some(bytes) = receive::next(body, &mut left).await? {
            taken = piece.write(bytes).await?;
        }
        if taken {
            piece.end(eof).await?;
        }
    }
    answer::json(&InputAck {
        next_input_seq: process.input().next_seq(),
    })
}

fn output(process: Rc<Process>, after: u64, follow: bool) -> Result<Response<Answer>, Refusal> {
    let (acked, next) = (process.log().acked(), process.log().next_seq());
    if after < acked {
        return Err(Refusal::conflict(format!(
            "output up to {acked} was acknowledged and is gone"
        )));
    }
    if after >= next {
        return Err(Refusal::invalid(format!(
            "there is no output {after} yet: the next is {next}"
        )));
    }
    Ok(answer::stream(Answer::Output {
        process,
        cursor: Cursor::after(after),
        follow,
    }))
}

fn ack(process: &Process, seq: u64) -> Result<(), Refusal> {
    let next = process.log().next_seq();
    if seq >= next {
        return Err(Refusal::invalid(format!(
            "there is no output {seq} yet: the next is {next}"
        )));
    }
    process.log_mut().ack(seq);
    Ok(())
}

async fn files(
    guest: &Guest,
    method: &Method,
    (path, mut query, body): (&[&str], Query, &mut Incoming),
) -> Result<Response<Answer>, Refusal> {
    let named = query
        .bytes("path")
        .ok_or_else(|| Refusal::invalid("which file? path is missing"))?;
    match (method, path) {
        (&Method::GET, []) => {
            let (offset, limit) = (query.number("offset")?, query.number("limit")?);
            query.end()?;
            let download = guest
                .files
                .download(&named, offset.unwrap_or(0), limit.unwrap_or(u64::MAX))?;
            Ok(answer::stream(Answer::Download(download)))
        }
        (&Method::PUT, []) => {
            let mode = query.octal("mode")?.unwrap_or(0o644);
            query.end()?;
            let mut upload = guest.files.upload(&named, mode)?;
            let mut left = MAX_FILE_BYTES;
            while let Some(bytes) = receive::next(body, &mut left).await? {
                upload.write(&bytes)?;
            }
            upload.finish()?;
            Ok(answer::done())
        }
        (&Method::DELETE, []) => {
            query.end()?;
            guest.files.delete(&named)?;
            Ok(answer::done())
        }
        (&Method::GET, ["list"]) => {
            query.end()?;
            answer::json(&guest.files.list(&named)?)
        }
        _ => Err(unknown()),
    }
}

impl Guest {
    /// Children of the guest may have ended.
    pub(crate) fn reap(&self) {
        if let Role::Sandbox(processes) = &self.role {
            processes.reap();
        }
    }

    fn processes(&self) -> Result<&Processes, Refusal> {
        match &self.role {
            Role::Sandbox(processes) => Ok(processes),
            Role::Reader { .. } => {
                let message = "a reader of a dead sandbox's files starts nothing";
                Err(Refusal::new(ErrorKind::Denied, message))
            }
        }
    }

    fn running(&self) -> u32 {
        match &self.role {
            Role::Sandbox(processes) => processes.running(),
            Role::Reader { .. } => 0,
        }
    }
}

fn unknown() -> Refusal {
    Refusal::not_found("no such endpoint")
}
