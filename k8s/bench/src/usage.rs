//! What processes use, as the kernel counts it.

use std::{fs, time::Duration};

use anyhow::Context as _;

/// What a process has and has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time, its own and the kernel's for it.
    pub(crate) cpu: Duration,
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    /// The most that it has ever been.
    pub(crate) peak: u64,
    /// Open file descriptors.
    pub(crate) files: usize,
    /// Threads.
    pub(crate) threads: usize,
}

/// Of one process.
pub(crate) fn of(process: u32) -> anyhow::Result<Usage> {
    let folder = format!("/proc/{process}");
    let read = |name: &str| {
        let path = format!("{folder}/{name}");
        fs::read_to_string(&path).with_context(|| format!("read {path}"))
    };
    let entries = |name: &str| {
        let path = format!("{folder}/{name}");
        let listed = fs::read_dir(&path).with_context(|| format!("read {path}"))?;
        anyhow::Ok(listed.count())
    };
    let status = read("status")?;
    let bytes = |name: &str| {
        let mut lines = status.lines();
        let kib = lines.find_map(|line| line.strip_prefix(name));
        let kib = kib.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        anyhow::Ok(kib.with_context(|| format!("a process without {name}"))? * 1024)
    };
    Ok(Usage {
        cpu: cpu(&read("stat")?).context("read the processor time")?,
        memory: bytes("VmRSS:")?,
        peak: bytes("VmHWM:")?,
        files: entries("fd")?,
        threads: entries("task")?,
    })
}

/// Fields 14 and 15 of `/proc/<pid>/stat`, in ticks.
fn cpu(stat: &str) -> Option<Duration> {
    // The name, which may have blanks, is in parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis((user + system) * 1000 / ticks))
}

/// The process whose program ends with `name`, and whose command line has `argument`.
pub(crate) fn named(name: &str, argument: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let program = line.split(' ').next()?;
        (program.ends_with(name) && line.contains(argument)).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = of(std::process::id()).unwrap();
        assert!(usage.memory > 0 && usage.files > 0 && usage.threads > 0);
        assert!(usage.peak >= usage.memory);
        assert!(of(u32::MAX).is_err());
    }

    #[test]
    fn processor_time_is_what_follows_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 9 1 1";
        let ticks = rustix::param::clock_ticks_per_second();
        assert_eq!(cpu(stat), Some(Duration::from_millis(200_000 / ticks)));
    }
}
