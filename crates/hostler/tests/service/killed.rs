//! The jailer is killed, again and again, and nobody who was told of a sandbox loses it.

use crate::left::{Left, entries};
use crate::place::{DEADLINE, Place, Sandbox, is_root, until};
use domain::SandboxId;
use sandbox::{Aspect, Backend as _, Error};
use sandbox_linux::LinuxBackend;
use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::time::Duration;

const KILLS: u64 = 50;
const SANDBOXES: usize = 10;
/// About as long as what is asked for in one round takes.
const LONGEST_MICROS: u64 = 120_000;

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(below) % below
}

#[tokio::test]
async fn a_jailer_that_was_killed_is_started_again_and_knows_its_sandboxes() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let sandbox = place.create(&backend).await;
    let first = place.jailer().unwrap();
    assert!(place.kill_jailer());

    // What only looks is asked again, and answered by the next one.
    assert!(backend.observe(&sandbox.id).await.unwrap().alive);
    assert_ne!(place.jailer().unwrap(), first);
    let sandbox = sandbox.proven().await;
    let another = place.create(&backend).await.proven().await;
    if backend.report().await.unwrap().enforces(Aspect::Freeze) {
        backend.freeze(&sandbox.id).await.unwrap();
        assert!(place.kill_jailer());
        assert!(backend.observe(&sandbox.id).await.unwrap().frozen);
        backend.thaw(&sandbox.id).await.unwrap();
    }

    // The jailer has lost the first one's listeners, and its server leaves: they are bound anew.
    backend.leave();
    drop((backend, sandbox.listeners, another.listeners));
    let (backend, there) = place.connect().await;
    assert_eq!(there.len(), 2);
    for id in [&sandbox.id, &another.id] {
        let attached = backend.attach(id).await.unwrap();
        Sandbox::of(id, attached).await.proven().await;
    }
}

#[tokio::test]
async fn a_sandbox_that_was_told_of_goes_on_however_soon_the_jailer_is_killed() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    for round in 0..20 {
        let spec = place.spec();
        let created = backend.create(&spec).await.unwrap();
        assert!(place.kill_jailer());
        let sandbox = Sandbox::of(&spec.id, created).await;
        assert_eq!(
            backend.survivors().await.unwrap(),
            std::slice::from_ref(&spec.id),
            "{round}"
        );
        assert_eq!(sandbox.sh("echo here").await, "here\n", "{round}");
        backend.destroy(&spec.id).await.unwrap();
    }
}

#[tokio::test]
async fn server_and_jailer_may_both_be_gone() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let sandbox = place.create(&backend).await.proven().await;
    backend.leave();
    drop((backend, sandbox.listeners));
    assert!(place.kill_jailer());
    let (backend, there) = place.connect().await;
    assert_eq!(there, std::slice::from_ref(&sandbox.id));
    let attached = backend.attach(&sandbox.id).await.unwrap();
    let again = Sandbox::of(&sandbox.id, attached).await.proven().await;
    backend.destroy(&again.id).await.unwrap();
    assert!(again.client.health().await.is_err());
}

#[tokio::test]
async fn a_watcher_that_is_not_quite_gone_keeps_nobody_from_starting_a_jailer() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    backend.stop();
    until("all are gone", || {
        place.jailer().is_none() && place.watchers().is_empty()
    })
    .await;
    // As a killed process does until it is torn down.
    let disks = std::fs::File::open(place.path().join("disks")).unwrap();
    disks.lock().unwrap();
    let dying = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(disks);
    });
    let (backend, _) = place.connect().await;
    dying.join().unwrap();
    place.create(&backend).await.proven().await;
}

#[tokio::test]
async fn a_sandbox_that_died_with_its_jailer_is_gone_and_its_files_are_not() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let sandbox = place.create(&backend).await;
    sandbox.sh("echo kept > /workspace/file").await;
    backend.leave();
    let processes = of_sandboxes(&place);
    assert!(!processes.is_empty());
    // Its watcher first, so that nobody is there to start the jailer again.
    for pid in place
        .watchers()
        .into_iter()
        .chain(place.jailer())
        .chain(processes)
    {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        // The processes of a sandbox end with its first.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
    until("all are gone", || {
        place.jailer().is_none() && of_sandboxes(&place).is_empty()
    })
    .await;
    let (backend, there) = place.connect().await;
    assert_eq!(there, []);
    assert!(matches!(
        backend.observe(&sandbox.id).await,
        Err(Error::NotFound { .. })
    ));
    drop(backend.read_changes(&sandbox.id).await.unwrap());
}

/// The first processes of the sandboxes that live, as the jailer wrote them down.
fn of_sandboxes(place: &Place) -> Vec<i32> {
    let pid = |path: PathBuf| -> Option<i32> {
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        i32::try_from(record["pid"].as_i64()?).ok()
    };
    // One that has ended may wait for somebody to take note of it.
    let lives = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    };
    entries(&place.records()).filter_map(pid).filter(lives).collect()
}

/// What happens to one of ten sandboxes in one round. What there is of it afterwards.
async fn something(
    place: &Place,
    backend: &LinuxBackend,
    now: Option<Sandbox>,
    freezes: bool,
) -> Option<Sandbox> {
    let Some(sandbox) = now else {
        let spec = place.spec();
        return match backend.create(&spec).await {
            Ok(created) => Some(Sandbox::of(&spec.id, created).await),
            Err(Error::BackendLost { .. }) => None,
            Err(error) => panic!("{error}"),
        };
    };
    match random(3) {
        0 if freezes => {
            backend.freeze(&sandbox.id).await.unwrap();
            backend.thaw(&sandbox.id).await.unwrap();
            Some(sandbox)
        }
        1 => {
            backend.destroy(&sandbox.id).await.unwrap();
            backend.remove_files(&sandbox.id).await.unwrap();
            None
        }
        _ => {
            assert!(backend.observe(&sandbox.id).await.unwrap().alive);
            Some(sandbox)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_keeps_what_it_told_of_and_nothing_else() {
    let place = Place::new();
    let (backend, _) = place.connect().await;
    let freezes = backend.report().await.unwrap().enforces(Aspect::Freeze);
    let mut slots: Vec<Option<Sandbox>> = (0..SANDBOXES).map(|_| None).collect();
    for slot in &mut slots {
        *slot = Some(place.create(&backend).await);
    }
    for kill in 0..KILLS {
        let micros = random(LONGEST_MICROS);
        let context = format!("kill {kill} after {micros} us");
        let working = slots
            .drain(..)
            .map(|slot| something(&place, &backend, slot, freezes));
        let killing = async {
            tokio::time::sleep(Duration::from_micros(micros)).await;
            until(&format!("{context}: a jailer"), || place.kill_jailer()).await;
        };
        let (mut now, ()) = tokio::join!(futures_util::future::join_all(working), killing);
        slots.append(&mut now);
        let there: BTreeSet<SandboxId> = backend.survivors().await.unwrap().into_iter().collect();
        let told: BTreeSet<_> = slots.iter().flatten().map(|one| one.id.clone()).collect();
        assert_eq!(there, told, "{context}");
        for sandbox in slots.iter().flatten() {
            tokio::time::timeout(DEADLINE, sandbox.client.health())
                .await
                .expect(&context)
                .expect(&context);
        }
        until(
            &format!("{context}: nothing too much: {:?}", Kept::of(&place)),
            || Kept::of(&place).is_of(&told),
        )
        .await;
    }
    drop(
        slots
            .drain(..)
            .flatten()
            .map(|one| one.listeners)
            .collect::<Vec<_>>(),
    );
    // All that is there can be given out to another server.
    let there = backend.survivors().await.unwrap();
    backend.leave();
    drop(backend);
    let (backend, again) = place.connect().await;
    assert_eq!(again, there);
    for id in &there {
        let attached = backend.attach(id).await.unwrap();
        Sandbox::of(id, attached).await.proven().await;
    }
    let stopping = backend.clone();
    tokio::task::spawn_blocking(move || stopping.stop())
        .await
        .unwrap();
    let data = place.path();
    until("nothing is left", || {
        Left::of(&data, &[place.instance()]) == Left::default()
    })
    .await;
}

/// What a jailer keeps for its sandboxes.
#[derive(Debug)]
struct Kept {
    directories: BTreeSet<String>,
    records: BTreeSet<String>,
    /// Groups in each hierarchy.
    groups: Vec<usize>,
    ranges: usize,
    loop_devices: usize,
    spares: usize,
}

impl Kept {
    fn of(place: &Place) -> Self {
        let (data, instance) = (place.path(), place.instance());
        let names = |path: PathBuf| -> BTreeSet<String> {
            let names = entries(&path).map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
            names.collect()
        };
        let left = Left::of(&data, std::slice::from_ref(&instance));
        let groups = |base: &PathBuf| entries(base).filter(|path| path.is_dir()).count();
        let spares = names(data.join("disks"))
            .into_iter()
            .filter(|name| name.strip_suffix(".spare").is_some())
            .count();
        Self {
            directories: names(data.join("sandboxes")),
            records: names(place.records()),
            groups: left.cgroups.iter().map(groups).collect(),
            ranges: left.ranges.iter().filter(|path| is_number(path)).count(),
            loop_devices: left.loop_devices.len(),
            spares,
        }
    }

    /// Just what these sandboxes need, and the pool of one.
    fn is_of(&self, sandboxes: &BTreeSet<SandboxId>) -> bool {
        let ids: BTreeSet<_> = sandboxes.iter().map(SandboxId::to_string).collect();
        let (shells, named): (BTreeSet<_>, BTreeSet<_>) = self
            .directories
            .iter()
            .cloned()
            .partition(|name| name.starts_with("shell_"));
        let count = ids.len()..=ids.len() + 1;
        let root = is_root();
        named == ids
            && shells.len() <= 1
            && self.records == ids
            && self.groups.iter().all(|groups| count.contains(groups))
            && (!root || count.contains(&self.ranges))
            && (!root || count.contains(&self.loop_devices))
            && self.spares <= 1
    }
}

fn is_number(path: &std::path::Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str()?.parse::<u32>().ok())
        .is_some()
}
