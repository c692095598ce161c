//! The task that owns the shell: takes one request after the other, and cleans up when it ends.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::capture::{self, Stream};
use super::dialect::{COMPLETE, CallLines};
use super::directory::{Directory, Pipes};
use super::job::{Done, Job, Questions};
use super::kept::KeptFile;
use super::processes::{self, Identity, Marks};
use super::session::Session;
use super::{Background, Failure, Ran, Request, Survival};
use crate::Settings;
use crate::place::Place;

pub(crate) type Answer = oneshot::Sender<Result<Ran, Failure>>;
pub(crate) type Requests = mpsc::Sender<(Request, Answer)>;

/// The most that the output of a background command takes on disk.
const BACKGROUND_AT_MOST: u64 = 64 << 20;
const READ_BYTES: usize = 16 * 1024;
const TERMINATE_FOR: Duration = Duration::from_millis(300);
const KILL_FOR: Duration = Duration::from_secs(3);

pub(crate) struct Owner {
    settings: Arc<Settings>,
    place: Arc<Place>,
    ending: CancellationToken,
    /// Begins the tag of each call; no other toolbox has it.
    name: String,
    /// Begins each status line. No command has it in its environment, so none answers in the shell's place.
    secret: String,
    calls: u64,
    directory: Option<Directory>,
    session: Option<Session>,
    /// Readers of pipes that background processes hold. They end with the processes, or with the owner.
    readers: JoinSet<()>,
}

impl Owner {
    pub(crate) fn new(settings: Arc<Settings>, place: Arc<Place>, ending: CancellationToken) -> Self {
        let [name, secret] = [(); 2].map(|()| format!("{:016x}", random()));
        Self {
            settings,
            place,
            ending,
            name,
            secret,
            calls: 0,
            directory: None,
            session: None,
            readers: JoinSet::new(),
        }
    }

    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<(Request, Answer)>) {
        loop {
            tokio::select! {
                biased;
                () = self.ending.cancelled() => break,
                request = requests.recv() => match request {
                    Some((request, answer)) => self.answer(request, answer).await,
                    None => break,
                },
                Some(_) = self.readers.join_next() => {}
            }
        }
        self.end().await;
    }

    /// A caller that has gone away, and the end of the owner, interrupt the command as its own cancellation does.
    async fn answer(&mut self, request: Request, mut answer: Answer) {
        let stop = request.cancel.child_token();
        let ending = self.ending.clone();
        let ran = {
            let run = self.serve(request, stop.clone());
            tokio::pin!(run);
            tokio::select! {
                biased;
                ran = &mut run => ran,
                () = ending.cancelled() => { stop.cancel(); run.await }
                () = answer.closed() => { stop.cancel(); run.await }
            }
        };
        if answer.send(ran).is_err() {
            tracing::debug!("nobody waits for the command any more");
        }
    }

    async fn serve(&mut self, request: Request, cancel: CancellationToken) -> Result<Ran, Failure> {
        let mut notes = Vec::new();
        self.make_ready(&mut notes).await?;
        self.calls += 1;
        let id = format!("bash-{}-{}", &self.name[..8], self.calls);
        let tag = format!("{}-{}", self.name, self.calls);
        let marker = format!("{}-{}", self.secret, self.calls);
        let (Some(directory), Some(mut session)) = (&mut self.directory, self.session.take()) else {
            return Err(Failure::Ended);
        };
        let root = directory.path().to_owned();
        let Pipes {
            paths,
            readers: [stdout, stderr],
            held,
        } = directory.pipes().map_err(|source| Failure::Pipes {
            directory: root,
            source,
        })?;
        let lines = CallLines {
            command: &request.command,
            tag: &tag,
            marker: &marker,
            stdout: &paths[0],
            stderr: &paths[1],
            in_background: request.in_background,
        };
        let marks = Marks {
            shell: Some(session.identity.pid),
            earlier: processes::children(session.identity.pid),
            since: processes::now(),
            tag: tag.clone(),
            pipes: paths.to_vec(),
            any_call: false,
        };
        let dialect = session.dialect;
        session.send(&dialect.call(&lines));
        let kept = self.settings.tool_results_dir.join(format!("{id}.txt"));
        // A character takes at most four bytes: what exceeds this is certainly too long to show.
        let limit = self.settings.bash_max_output.saturating_mul(4);
        let job = Job {
            session: &mut session,
            stdout: Stream::new(stdout, limit, kept.clone()),
            stderr: Stream::new(stderr, limit, kept.with_extension("stderr.txt")),
            marks,
            marker: &marker,
            timeout: request.timeout,
            cancel,
            in_background: request.in_background,
            questions: Questions::of(dialect),
        };
        let done = job.run(held).await;
        let call = Call {
            id,
            paths,
            kept,
            notes,
            in_background: request.in_background,
        };
        Ok(self.conclude(session, done, call).await)
    }

    /// Puts the shell back or a new one in its place, and keeps reading what background processes write.
    async fn conclude(&mut self, session: Session, done: Done, mut call: Call) -> Ran {
        let survival = if done.shell_ended {
            session.kill().await;
            self.replace(&mut call.notes).await
        } else {
            if let Some(directory) = session.directory() {
                self.place.move_to(directory);
            }
            self.session = Some(session);
            Survival::Lives
        };
        let still_open = done.stdout.is_open() || done.stderr.is_open();
        if let Some(directory) = &mut self.directory {
            directory.give_back(call.paths.clone(), !still_open);
        }
        let (stdout, out) = done.stdout.into_receiver();
        let (stderr, err) = done.stderr.into_receiver();
        let mut captured = capture::conclude(out, err, self.settings.bash_max_output, &call.kept).await;
        call.notes.append(&mut captured.notes);
        let later = still_open.then(|| self.settings.tool_results_dir.join(format!("{}.output", call.id)));
        if let Some(path) = &later {
            // Both streams go into one file: a background command has one, and of others the order is what matters.
            self.readers
                .spawn(read_on([stdout, stderr], path.clone(), call.in_background));
        }
        let (later, background) = match later {
            Some(output) if call.in_background => (None, Some(Background { id: call.id, output })),
            later => (later, None),
        };
        Ran {
            end: done.end,
            survival,
            stdout: captured.stdout,
            stderr: captured.stderr,
            kept: captured.kept,
            later,
            background,
            notes: call.notes,
        }
    }

    /// A shell in the place of one that has ended, with its state if it left it whole.
    async fn replace(&mut self, notes: &mut Vec<String>) -> Survival {
        let left = self
            .directory
            .as_ref()
            .is_some_and(|directory| is_complete(&directory.state()));
        if self.ending.is_cancelled() {
            return Survival::Lost;
        }
        if let Err(failure) = self.start(left, notes).await {
            tracing::warn!(%failure, "no shell could take the place of the one that ended");
            return Survival::Lost;
        }
        if left { Survival::Replaced } else { Survival::Lost }
    }

    async fn make_ready(&mut self, notes: &mut Vec<String>) -> Result<(), Failure> {
        if self.directory.is_none() {
            let made = Directory::new(&self.settings.tool_results_dir);
            let directory = std::env::temp_dir();
            self.directory = Some(made.map_err(|source| Failure::Pipes { directory, source })?);
        }
        if let Some(session) = &mut self.session
            && session.has_ended()
        {
            self.session = None;
            notes.push(
                "The shell had ended between two commands; a new one was started, without its state."
                    .to_owned(),
            );
        }
        if self.session.is_some() {
            Ok(())
        } else {
            self.start(false, notes).await
        }
    }

    async fn start(&mut self, restore: bool, notes: &mut Vec<String>) -> Result<(), Failure> {
        let Some(directory) = &self.directory else {
            return Err(Failure::Ended);
        };
        let state = directory.state();
        let wanted = self.place.current();
        let existing = wanted.ancestors().find(|directory| directory.is_dir());
        let existing = existing.ok_or_else(|| Failure::NoDirectory {
            directory: wanted.clone(),
        })?;
        if existing != wanted {
            notes.push(format!(
                "{} does not exist any more; the shell is in {}",
                wanted.display(),
                existing.display()
            ));
        }
        let session = Session::start(&self.settings, existing, &state, restore).await;
        if let Err(error) = std::fs::remove_file(&state)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "the state of the shell stays behind");
        }
        let session = session?;
        self.place
            .move_to(session.directory().unwrap_or_else(|| existing.to_owned()));
        self.session = Some(session);
        Ok(())
    }

    /// Ends the shell and everything that bears the mark of any call, politely first.
    async fn end(mut self) {
        let Some(directory) = self.directory.take() else {
            return;
        };
        let mut marks = Marks {
            shell: None,
            earlier: HashSet::new(),
            since: 0,
            tag: self.name.clone(),
            pipes: vec![directory.path().to_owned()],
            any_call: true,
        };
        let mut session = self.session.take();
        if let Some(session) = &mut session {
            marks.shell = Some(session.identity.pid);
            processes::signal(session.identity, Signal::TERM);
            session.close_input();
        }
        let began = Instant::now();
        let mut told = HashSet::new();
        loop {
            let left = left_of(&marks).await;
            let elapsed = began.elapsed();
            let shell_ended = session.as_mut().is_none_or(Session::has_ended);
            if (left.is_empty() && shell_ended) || elapsed > KILL_FOR {
                break;
            }
            let kills = elapsed > TERMINATE_FOR;
            if kills && let Some(session) = &session {
                processes::signal(session.identity, Signal::KILL);
            }
            for process in left {
                if kills {
                    processes::signal(process, Signal::KILL);
                } else if told.insert(process) {
                    processes::signal(process, Signal::TERM);
                }
            }
            tokio::time::sleep(super::stop::STEP).await;
        }
        if let Some(session) = session {
            session.kill().await;
        }
        self.readers.shutdown().await;
    }
}

struct Call {
    id: String,
    paths: [PathBuf; 2],
    kept: PathBuf,
    notes: Vec<String>,
    in_background: bool,
}

async fn left_of(marks: &Marks) -> Vec<Identity> {
    let marks = marks.clone();
    tokio::task::spawn_blocking(move || marks.processes())
        .await
        .unwrap_or_default()
}

/// Reads until nobody holds the pipes any more. The file is bounded; what is beyond it is read and dropped, so that
/// the writers go on. `at_once` makes the file before there is anything to write.
async fn read_on(receivers: [pipe::Receiver; 2], path: PathBuf, at_once: bool) {
    let [mut stdout, mut stderr] = receivers;
    let mut file = if at_once { begin(&path).await } else { None };
    let (mut out, mut err) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
    let (mut out_open, mut err_open, mut begun) = (true, true, at_once);
    while out_open || err_open {
        let bytes = tokio::select! {
            read = stdout.read(&mut out), if out_open => { let length = read.unwrap_or(0); out_open = length > 0; &out[..length] }
            read = stderr.read(&mut err), if err_open => { let length = read.unwrap_or(0); err_open = length > 0; &err[..length] }
        };
        if !begun && !bytes.is_empty() {
            begun = true;
            file = begin(&path).await;
        }
        if let Some(kept) = &mut file
            && let Err(error) = kept.append(bytes).await
        {
            tracing::warn!(%error, path = %path.display(), "background output is not kept any more");
            file = None;
        }
    }
    if let Some(file) = file
        && let Err(error) = file.finish().await
    {
        tracing::warn!(%error, path = %path.display(), "background output was not kept whole");
    }
}

async fn begin(path: &Path) -> Option<KeptFile> {
    KeptFile::create(path, BACKGROUND_AT_MOST)
        .await
        .inspect_err(|error| tracing::warn!(%error, path = %path.display(), "background output is not kept"))
        .ok()
}

fn is_complete(state: &Path) -> bool {
    std::fs::read(state).is_ok_and(|text| text.trim_ascii_end().ends_with(COMPLETE.as_bytes()))
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    if rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).is_err() {
        return u64::from(std::process::id()) << 32 | processes::now();
    }
    u64::from_ne_bytes(bytes)
}
