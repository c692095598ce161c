//! What the guest says of itself and of the sandbox's disk.

use guest_protocol::Stats;
use std::time::Instant;

pub(crate) fn stats(processes: u32, started: Instant) -> Stats {
    let disk = rustix::fs::statvfs("/").ok();
    let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
    Stats {
        processes,
        guest_resident_bytes: resident().unwrap_or_default(),
        disk_total_bytes: disk
            .as_ref()
            .map_or(0, |disk| bytes(disk.f_blocks, disk.f_frsize)),
        disk_free_bytes: disk
            .as_ref()
            .map_or(0, |disk| bytes(disk.f_bavail, disk.f_frsize)),
        uptime_ms: started.elapsed().as_millis() as u64,
    }
}

/// Nothing without `/proc`.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}
