//! The limits that a process sets itself before it reads anything.

use std::{fs, io, time::Duration};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

/// The size of a page where it is smallest; a larger one errs towards an early end.
const PAGE: u64 = 4096;

fn lower(resource: Resource, to: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    let limit = Rlimit {
        current: Some(maximum.map_or(to, |most| most.min(to))),
        maximum,
    };
    Ok(setrlimit(resource, limit)?)
}

/// Memory for all data from now on, and no dump of it: it may hold secrets.
pub(crate) fn bound_memory(mebibytes: u64) -> io::Result<()> {
    let core = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, core)?;
    lower(Resource::Data, mebibytes << 20)
}

/// Processor time from now on; the kernel ends the process after it.
pub(crate) fn bound_time(time: Duration) -> io::Result<()> {
    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec;
    // Whole seconds: what is begun counts as used.
    let end = u64::try_from(used).unwrap_or(0) + 1 + time.as_secs();
    lower(Resource::Cpu, end)
}

/// Whether more than half of the memory is in use, by what was done before.
pub(crate) fn is_worn(mebibytes: u64) -> bool {
    let Ok(sizes) = fs::read_to_string("/proc/self/statm") else {
        return false;
    };
    let data = sizes.split(' ').nth(5).and_then(|pages| pages.parse().ok());
    data.is_some_and(|pages: u64| pages * PAGE > mebibytes << 19)
}
