//! The order of isolation, as readable arrays: what is built outside, what the shell does before it is claimed, and what
//! it does to become a sandbox. Pure: no call to the kernel here.
//!
//! ```text
//! SHELL (jailer)   -> PREPARE (shell) -> [pool] -> CLAIM (jailer) -> ENTER (shell) -> guest
//! ```

use crate::machine::{Identity, Machine};
use crate::protocol::Spec;
use serde::{Deserialize, Serialize};

/// What the jailer does to make a shell. Undone from the last to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellStep {
    /// With the guest's socket and outbox.
    Directory,
    ReserveRange,
    MakeCgroup,
    CloneNamespaces,
    MapIds,
    JoinCgroup,
    StartShell,
}

/// What the jailer does to make a sandbox of a shell. Undone from the last to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimStep {
    /// The shell's directory gets it when all is done.
    FreeName,
    /// Where sandboxes outlive the jailer.
    Record,
    SetLimits,
    Disk,
    Image,
    Usr,
    Workspace,
    Runtime,
    /// The files of a destroyed sandbox, read-only, in place of a disk and a workspace.
    Changes,
    EnterSandbox,
}

/// What a shell does in its new namespaces before anybody claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrepareStep {
    DieWithJailer,
    CgroupNamespace,
    HostName,
    Loopback,
    Listeners,
    Proc,
    Devices,
}

/// What a shell does to become a sandbox. Nothing of an agent runs before the last one is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnterStep {
    AttachLayers,
    RootOverlay(Durability),
    /// The image as it is.
    AttachRoot,
    AttachUsr,
    AttachRuntime,
    WorkspaceOverlay(Durability),
    /// Paths below the workspace that are hidden.
    Mask(Vec<String>),
    AttachChanges,
    AttachKernelFiles,
    /// Shows the sandbox's memory limit as the machine's memory.
    MemoryInfo(u64),
    /// Of each process; and of processes, where no cgroup does that: the kernel counts them per user of the sandbox's
    /// user namespace.
    ResourceLimits {
        processes: Option<u32>,
    },
    EgressListeners(Vec<u16>),
    /// From here on, a jailer that is killed leaves the sandbox to the next one.
    OutliveJailer,
    PivotRoot,
    NoNewPrivileges,
    /// Readers write nothing anywhere.
    Landlock {
        writable: bool,
    },
    DropCapabilities,
    HideFromAgent,
    Seccomp,
}

/// What a program in a sandbox may expect of a file that it has synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// It is on the disk, whatever becomes of the machine.
    Synced,
    /// Nothing: the sandbox does not outlive its host.
    Volatile,
}

pub fn shell(machine: &Machine) -> Vec<ShellStep> {
    let ranges = machine.identity == Identity::Ranges;
    let mut steps = vec![ShellStep::Directory];
    steps.extend(ranges.then_some(ShellStep::ReserveRange));
    steps.extend(machine.has_cgroups.then_some(ShellStep::MakeCgroup));
    steps.extend([ShellStep::CloneNamespaces, ShellStep::MapIds]);
    steps.extend(machine.has_cgroups.then_some(ShellStep::JoinCgroup));
    steps.push(ShellStep::StartShell);
    steps
}

pub fn prepare() -> Vec<PrepareStep> {
    use PrepareStep::{CgroupNamespace, Devices, DieWithJailer, HostName, Listeners, Loopback, Proc};
    vec![
        DieWithJailer,
        CgroupNamespace,
        HostName,
        Loopback,
        Listeners,
        Proc,
        Devices,
    ]
}

/// `stays`: the sandbox outlives the jailer.
pub fn claim(machine: &Machine, spec: &Spec, stays: bool) -> Vec<ClaimStep> {
    let mut steps = vec![ClaimStep::FreeName];
    steps.extend(stays.then_some(ClaimStep::Record));
    steps.extend(machine.has_cgroups.then_some(ClaimStep::SetLimits));
    steps.extend([ClaimStep::Disk, ClaimStep::Image, ClaimStep::Usr]);
    steps.extend(spec.workspace.is_some().then_some(ClaimStep::Workspace));
    steps.extend(spec.runtime.is_some().then_some(ClaimStep::Runtime));
    steps.push(ClaimStep::EnterSandbox);
    steps
}

pub fn claim_reader() -> Vec<ClaimStep> {
    vec![
        ClaimStep::FreeName,
        ClaimStep::Image,
        ClaimStep::Changes,
        ClaimStep::EnterSandbox,
    ]
}

/// `masked` is relative to the workspace.
pub fn enter(machine: &Machine, spec: &Spec, (masked, stays): (Vec<String>, bool)) -> Vec<EnterStep> {
    let durability = if stays {
        Durability::Synced
    } else {
        Durability::Volatile
    };
    let mut steps = vec![
        EnterStep::AttachLayers,
        EnterStep::RootOverlay(durability),
        EnterStep::AttachUsr,
    ];
    steps.extend(spec.runtime.is_some().then_some(EnterStep::AttachRuntime));
    let workspace = EnterStep::WorkspaceOverlay(durability);
    steps.extend(spec.workspace.is_some().then_some(workspace));
    steps.extend((!masked.is_empty()).then_some(EnterStep::Mask(masked)));
    steps.extend([
        EnterStep::AttachKernelFiles,
        EnterStep::MemoryInfo(spec.limits.memory_bytes),
    ]);
    if !spec.egress_ports.is_empty() {
        steps.push(EnterStep::EgressListeners(spec.egress_ports.clone()));
    }
    let processes = (!machine.limits_pids).then_some(spec.limits.pids);
    steps.push(EnterStep::ResourceLimits { processes });
    steps.extend(stays.then_some(EnterStep::OutliveJailer));
    steps.extend(confine(true));
    steps
}

pub fn enter_reader() -> Vec<EnterStep> {
    let mut steps = vec![
        EnterStep::AttachRoot,
        EnterStep::AttachChanges,
        EnterStep::AttachKernelFiles,
    ];
    steps.extend(confine(false));
    steps
}

/// The final restrictions. Landlock makes later mounts fail, so they come after the root is in place.
fn confine(writable: bool) -> [EnterStep; 6] {
    [
        EnterStep::PivotRoot,
        EnterStep::NoNewPrivileges,
        EnterStep::Landlock { writable },
        EnterStep::DropCapabilities,
        EnterStep::HideFromAgent,
        EnterStep::Seccomp,
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::{Limits, Workspace};

    fn spec() -> Spec {
        Spec {
            id: "sbx_1".to_owned(),
            limits: Limits {
                cpu_millis: 1000,
                memory_bytes: 1 << 30,
                disk_bytes: 5 << 30,
                pids: 512,
            },
            workspace: Some(Workspace {
                path: "/work".into(),
                masked: Vec::new(),
            }),
            egress_ports: Vec::new(),
            files_from: None,
            runtime: None,
        }
    }

    fn position(steps: &[EnterStep], wanted: &EnterStep) -> usize {
        steps.iter().position(|step| step == wanted).unwrap()
    }

    #[test]
    fn nothing_is_mounted_after_the_pivot_and_the_filter_comes_last() {
        for steps in [
            enter(
                &Machine::for_tests(),
                &spec(),
                (vec![".hostler".to_owned()], true),
            ),
            enter_reader(),
        ] {
            let pivot = position(&steps, &EnterStep::PivotRoot);
            for step in &steps[pivot..] {
                let name = format!("{step:?}");
                assert!(
                    !name.starts_with("Attach") && !name.ends_with("Overlay"),
                    "{name}"
                );
            }
            assert_eq!(steps.last(), Some(&EnterStep::Seccomp));
            assert!(
                position(&steps, &EnterStep::NoNewPrivileges)
                    < position(&steps, &EnterStep::DropCapabilities)
            );
        }
    }

    #[test]
    fn a_reader_sees_neither_usr_nor_workspace() {
        let steps = enter_reader();
        assert!(!steps.contains(&EnterStep::AttachUsr));
        assert!(
            !steps
                .iter()
                .any(|step| matches!(step, EnterStep::WorkspaceOverlay(_)))
        );
        assert!(steps.contains(&EnterStep::Landlock { writable: false }));
    }

    #[test]
    fn a_machine_without_cgroups_skips_what_needs_them() {
        let machine = Machine {
            has_cgroups: false,
            limits_pids: false,
            identity: Identity::Single,
            ..Machine::for_tests()
        };
        assert!(!shell(&machine).contains(&ShellStep::JoinCgroup));
        assert!(!claim(&machine, &spec(), false).contains(&ClaimStep::SetLimits));
        assert!(
            enter(&machine, &spec(), (Vec::new(), false))
                .contains(&EnterStep::ResourceLimits { processes: Some(512) })
        );
    }

    #[test]
    fn what_outlives_the_jailer_is_written_down_before_it_has_anything() {
        let (machine, spec) = (Machine::for_tests(), spec());
        let steps = claim(&machine, &spec, true);
        let at = |wanted| steps.iter().position(|step| *step == wanted).unwrap();
        assert!(at(ClaimStep::Record) < at(ClaimStep::Disk));
        assert!(at(ClaimStep::Record) < at(ClaimStep::EnterSandbox));
        assert!(enter(&machine, &spec, (Vec::new(), true)).contains(&EnterStep::OutliveJailer));
        assert!(!enter(&machine, &spec, (Vec::new(), false)).contains(&EnterStep::OutliveJailer));
        assert!(!enter_reader().contains(&EnterStep::OutliveJailer));
    }

    #[test]
    fn ids_are_mapped_before_anything_runs_in_the_namespace() {
        let steps = shell(&Machine::for_tests());
        let at = |wanted| steps.iter().position(|step| *step == wanted).unwrap();
        assert!(at(ShellStep::MapIds) < at(ShellStep::StartShell));
        assert!(at(ShellStep::JoinCgroup) < at(ShellStep::StartShell));
    }
}
