//! A machine in this process: a sandbox backend and a network without any isolation, that can be made to fail.

use crate::guest::Guest;
use crate::runtime::Script;
use async_trait::async_trait;
use control::{Attachment, Grant, Network, NetworkError};
use domain::{Cost, SandboxId, SessionId};
use sandbox::{Backend, ChangeReader, Created, Error, Listeners, Observation, Report, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, watch};

/// Survives the hosts that use it, as a machine does.
#[derive(Clone)]
pub struct Machine {
    inner: Arc<Inner>,
}

struct Inner {
    directory: tempfile::TempDir,
    script: Script,
    guests: Mutex<BTreeMap<SandboxId, Guest>>,
    specs: Mutex<Vec<Spec>>,
    /// Who has files: each that was built, until another goes on with them.
    files: Mutex<BTreeSet<SandboxId>>,
    destroyed: Mutex<Vec<SandboxId>>,
    files_removed: Mutex<Vec<SandboxId>>,
    grants: Mutex<Vec<Grant>>,
    budgets: Mutex<Vec<Option<Cost>>>,
    detached: AtomicU64,
    memory_kills: AtomicU64,
    create_fails: AtomicBool,
    attach_fails: AtomicBool,
    destroy_fails: AtomicBool,
    create_waits: AtomicBool,
    may_create: Notify,
    attach_waits: watch::Sender<bool>,
    destroy_waits: watch::Sender<bool>,
    destroying: AtomicBool,
}

impl Machine {
    pub fn new(script: Script) -> Self {
        let inner = Inner {
            directory: tempfile::tempdir().unwrap(),
            script,
            guests: Mutex::default(),
            specs: Mutex::default(),
            files: Mutex::default(),
            destroyed: Mutex::default(),
            files_removed: Mutex::default(),
            grants: Mutex::default(),
            budgets: Mutex::default(),
            detached: AtomicU64::new(0),
            memory_kills: AtomicU64::new(0),
            create_fails: AtomicBool::new(false),
            attach_fails: AtomicBool::new(false),
            destroy_fails: AtomicBool::new(false),
            create_waits: AtomicBool::new(false),
            may_create: Notify::new(),
            attach_waits: watch::Sender::new(false),
            destroy_waits: watch::Sender::new(false),
            destroying: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The guest of the newest sandbox.
    pub fn guest(&self) -> Guest {
        let id = self.specs().last().unwrap().id.clone();
        self.inner.guests.lock().unwrap()[&id].clone()
    }

    pub fn specs(&self) -> Vec<Spec> {
        self.inner.specs.lock().unwrap().clone()
    }

    pub fn grants(&self) -> Vec<Grant> {
        self.inner.grants.lock().unwrap().clone()
    }

    /// As they were changed.
    pub fn budgets(&self) -> Vec<Option<Cost>> {
        self.inner.budgets.lock().unwrap().clone()
    }

    pub fn destroyed(&self) -> Vec<SandboxId> {
        self.inner.destroyed.lock().unwrap().clone()
    }

    pub fn files_removed(&self) -> Vec<SandboxId> {
        self.inner.files_removed.lock().unwrap().clone()
    }

    pub fn detached(&self) -> u64 {
        self.inner.detached.load(Ordering::SeqCst)
    }

    /// Sandboxes that live.
    pub fn alive(&self) -> usize {
        self.inner.guests.lock().unwrap().len()
    }

    pub fn out_of_memory(&self, kills: u64) {
        self.inner.memory_kills.fetch_add(kills, Ordering::SeqCst);
    }

    pub fn fail_create(&self, fails: bool) {
        self.inner.create_fails.store(fails, Ordering::SeqCst);
    }

    pub fn fail_attach(&self, fails: bool) {
        self.inner.attach_fails.store(fails, Ordering::SeqCst);
    }

    pub fn fail_destroy(&self, fails: bool) {
        self.inner.destroy_fails.store(fails, Ordering::SeqCst);
    }

    /// Every sandbox is gone, with no word to anybody; files stay.
    pub fn power_cut(&self) {
        for (_, guest) in std::mem::take(&mut *self.inner.guests.lock().unwrap()) {
            guest.kill();
        }
    }

    /// Creating takes until [`let_create`](Self::let_create).
    pub fn hold_create(&self) {
        self.inner.create_waits.store(true, Ordering::SeqCst);
    }

    pub fn let_create(&self) {
        self.inner.create_waits.store(false, Ordering::SeqCst);
        self.inner.may_create.notify_waiters();
    }

    /// Finding a sandbox again takes as long as it is held.
    pub fn hold_attach(&self, held: bool) {
        self.inner.attach_waits.send_replace(held);
    }

    /// The same of destroying.
    pub fn hold_destroy(&self, held: bool) {
        self.inner.destroy_waits.send_replace(held);
    }

    /// Whether any sandbox was to be destroyed yet.
    pub fn is_destroying(&self) -> bool {
        self.inner.destroying.load(Ordering::SeqCst)
    }

    fn socket(&self, id: &SandboxId) -> PathBuf {
        self.inner.directory.path().join(&id.as_str()[20..])
    }
}

async fn passed(held: &watch::Sender<bool>) {
    held.subscribe().wait_for(|held| !held).await.unwrap();
}

fn descriptor() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

fn listeners() -> Listeners {
    Listeners {
        gateway: descriptor(),
        proxy: descriptor(),
        dns_udp: descriptor(),
        dns_tcp: descriptor(),
        transparent: Vec::new(),
    }
}

#[async_trait]
impl Backend for Machine {
    async fn report(&self) -> Result<Report, Error> {
        Ok(Report::default())
    }

    async fn create(&self, spec: &Spec) -> Result<Created, Error> {
        self.inner.specs.lock().unwrap().push(spec.clone());
        while self.inner.create_waits.load(Ordering::SeqCst) {
            self.inner.may_create.notified().await;
        }
        if self.inner.create_fails.load(Ordering::SeqCst) {
            let (step, reason) = ("overlay".to_owned(), "no such file system".to_owned());
            return Err(Error::Build {
                id: spec.id.clone(),
                step,
                reason,
            });
        }
        let mut files = self.inner.files.lock().unwrap();
        if let Some(old) = &spec.files_from
            && !files.remove(old)
        {
            return Err(Error::NotFound { id: old.clone() });
        }
        files.insert(spec.id.clone());
        let socket = self.socket(&spec.id);
        let guest = Guest::start(&socket, self.inner.script.clone());
        self.inner.guests.lock().unwrap().insert(spec.id.clone(), guest);
        Ok(Created {
            guest_socket: socket,
            listeners: listeners(),
        })
    }

    async fn observe(&self, id: &SandboxId) -> Result<Observation, Error> {
        let alive = self.inner.guests.lock().unwrap().contains_key(id);
        let memory_kills = Some(self.inner.memory_kills.load(Ordering::SeqCst));
        Ok(Observation {
            alive,
            memory_kills,
            ..Observation::default()
        })
    }

    async fn freeze(&self, _: &SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn thaw(&self, _: &SandboxId) -> Result<(), Error> {
        Ok(())
    }

    async fn destroy(&self, id: &SandboxId) -> Result<(), Error> {
        self.inner.destroying.store(true, Ordering::SeqCst);
        passed(&self.inner.destroy_waits).await;
        if self.inner.destroy_fails.load(Ordering::SeqCst) {
            let (operation, reason) = ("destroy", "the cgroup is busy".to_owned());
            return Err(Error::Operation {
                id: id.clone(),
                operation,
                reason,
            });
        }
        if let Some(guest) = self.inner.guests.lock().unwrap().remove(id) {
            guest.kill();
        }
        self.inner.destroyed.lock().unwrap().push(id.clone());
        Ok(())
    }

    async fn read_changes(&self, id: &SandboxId) -> Result<ChangeReader, Error> {
        Err(Error::NotFound { id: id.clone() })
    }

    async fn remove_files(&self, id: &SandboxId) -> Result<(), Error> {
        self.inner.files_removed.lock().unwrap().push(id.clone());
        Ok(())
    }

    async fn attach(&self, id: &SandboxId) -> Result<Created, Error> {
        passed(&self.inner.attach_waits).await;
        if !self.inner.guests.lock().unwrap().contains_key(id) {
            return Err(Error::NotFound { id: id.clone() });
        }
        Ok(Created {
            guest_socket: self.socket(id),
            listeners: listeners(),
        })
    }

    async fn survivors(&self) -> Result<Vec<SandboxId>, Error> {
        Ok(self.inner.guests.lock().unwrap().keys().cloned().collect())
    }
}

struct Served(Arc<Inner>);

#[async_trait]
impl Attachment for Served {
    fn set_budget(&self, budget: Option<Cost>) {
        self.0.budgets.lock().unwrap().push(budget);
    }

    fn wait_since(&self, _: std::time::Instant) {}

    fn set_web_search(&self, _: bool) {}

    async fn detach(self: Box<Self>) {
        self.0.detached.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Network for Machine {
    async fn attach(
        &self,
        _: &SessionId,
        grant: Grant,
        _: Listeners,
    ) -> Result<Box<dyn Attachment>, NetworkError> {
        if self.inner.attach_fails.load(Ordering::SeqCst) {
            return Err(NetworkError {
                reason: "no upstream".into(),
            });
        }
        self.inner.grants.lock().unwrap().push(grant);
        Ok(Box::new(Served(self.inner.clone())))
    }
}

impl Machine {
    /// The guest of the first sandbox, once it is built.
    pub async fn guest_when_there(&self) -> Guest {
        crate::stage::until("a sandbox is built", || self.alive() > 0).await;
        self.guest()
    }
}
