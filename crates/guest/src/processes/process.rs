//! One process that the host started.

use super::exit::ExitCell;
use super::input::Input;
use super::kill_group;
use crate::output::Log;
use crate::refusal::Refusal;
use crate::sys;
use guest_protocol::{Exit, ProcessState, Signal, TerminalSize};
use rustix::fd::OwnedFd;
use rustix::process::Pid;
use rustix::termios::Winsize;
use std::cell::{Ref, RefCell, RefMut};
use std::rc::Rc;
use tokio::task::AbortHandle;

pub(crate) struct Process {
    id: String,
    pid: Pid,
    request: u64,
    log: Rc<RefCell<Log>>,
    exit: Rc<ExitCell>,
    input: Input,
    terminal: Option<OwnedFd>,
    pump: AbortHandle,
}

impl Process {
    pub(super) fn new(
        id: String,
        (pid, request): (Pid, u64),
        log: Rc<RefCell<Log>>,
        exit: Rc<ExitCell>,
        (input, terminal, pump): (Input, Option<OwnedFd>, AbortHandle),
    ) -> Self {
        Self {
            id,
            pid,
            request,
            log,
            exit,
            input,
            terminal,
            pump,
        }
    }

    pub(crate) fn describe(&self) -> guest_protocol::Process {
        guest_protocol::Process {
            id: self.id.clone(),
            pid: self.pid.as_raw_pid().unsigned_abs(),
            state: self
                .exit
                .get()
                .map_or(ProcessState::Running, ProcessState::Exited),
            next_seq: self.log.borrow().next_seq(),
            next_input_seq: self.input.next_seq(),
        }
    }

    pub(super) fn request(&self) -> u64 {
        self.request
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.get()
    }

    pub(super) fn ended(&self, exit: Exit) {
        self.exit.set(exit);
    }

    pub(crate) fn input(&self) -> &Input {
        &self.input
    }

    pub(crate) fn log(&self) -> Ref<'_, Log> {
        self.log.borrow()
    }

    pub(crate) fn log_mut(&self) -> RefMut<'_, Log> {
        self.log.borrow_mut()
    }

    /// A group may outlive its leader, so only a signal to the process itself needs it to run.
    pub(crate) fn signal(&self, Signal { signal, group }: Signal) -> Result<(), Refusal> {
        if !(1..=64).contains(&signal) {
            return Err(Refusal::invalid("a signal is a number of 1 to 64"));
        }
        if group {
            return kill_group(self.pid, signal);
        }
        if self.exit.get().is_some() {
            return Err(Refusal::conflict("the process has exited"));
        }
        sys::kill(self.pid, signal, false).map_err(|error| Refusal::of_system("signal the process", &error))
    }

    pub(super) fn kill_group(&self, signal: i32) -> Result<(), Refusal> {
        kill_group(self.pid, signal)
    }

    pub(crate) fn resize(&self, size: TerminalSize) -> Result<(), Refusal> {
        let Some(terminal) = &self.terminal else {
            return Err(Refusal::invalid("the process has no terminal"));
        };
        rustix::termios::tcsetwinsize(terminal, window(size))
            .map_err(|error| Refusal::of_system("resize the terminal", &error.into()))
    }

    /// Stops reading and forgets the output; followers find its end.
    pub(super) fn close(&self) {
        self.pump.abort();
        self.log.borrow_mut().close();
    }
}

pub(super) fn window(size: TerminalSize) -> Winsize {
    Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
