//! Failpoints for tests. When it reaches the point that `BROKER_CRASH_AT`
//! names, a debug build ends itself, as `kill -9` would; at the one that
//! `BROKER_STOP_AT` names it stops itself, once, as `kill -STOP` would, until
//! it gets SIGCONT; at the one that `BROKER_PANIC_AT` names the task panics. It
//! appends the name of each that it reaches to the file that
//! `BROKER_POINTS_FILE` names. Release builds have none.

/// The environment variables that name failpoints.
pub(crate) const VARIABLES: [&str; 4] = [
    "BROKER_CRASH_AT",
    "BROKER_STOP_AT",
    "BROKER_PANIC_AT",
    "BROKER_POINTS_FILE",
];

/// Ends or stops the process, or panics, if this is the point that a test names.
///
/// # Panics
/// If the test says so.
#[cfg(debug_assertions)]
pub fn reach(point: &str) {
    use std::sync::atomic::{AtomicBool, Ordering};

    static STOPPED: AtomicBool = AtomicBool::new(false);

    if let Some(path) = std::env::var_os("BROKER_POINTS_FILE") {
        note(path.as_ref(), point);
    }
    let is_named = |variable| std::env::var(variable).is_ok_and(|wanted| wanted == point);
    if is_named("BROKER_CRASH_AT") {
        eprintln!("crash point {point} reached");
        std::process::abort();
    }
    if is_named("BROKER_STOP_AT") && !STOPPED.swap(true, Ordering::SeqCst) {
        eprintln!("stop point {point} reached");
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        // Another thread may get the signal first: this one must not run on
        // until the stop arrives.
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(!is_named("BROKER_PANIC_AT"), "panic point {point} reached");
}

#[cfg(debug_assertions)]
fn note(path: &std::path::Path, point: &str) {
    use std::io::Write as _;

    // One write: threads that reach points at the same time do not mix their lines.
    let written = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(format!("{point}\n").as_bytes()));
    if let Err(error) = written {
        eprintln!("write {}: {error}", path.display());
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
pub fn reach(_point: &str) {}

/// The point before something is done, named `before-<point>`: what was decided
/// by then is done later, when it may no longer be right.
#[cfg(debug_assertions)]
pub fn approach(point: &str) {
    reach(&format!("before-{point}"));
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
pub fn approach(_point: &str) {}
