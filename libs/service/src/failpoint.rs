//! Crash and stop points for tests. When it reaches the point that
//! `BROKER_CRASH_AT` names, a debug build ends itself, as `kill -9` would; at
//! the one that `BROKER_STOP_AT` names it stops itself, once, as `kill -STOP`
//! would, until it gets SIGCONT. Release builds have none.

/// Ends or stops the process if this is the point that a test names.
#[cfg(debug_assertions)]
pub fn reach(point: &str) {
    use std::sync::atomic::{AtomicBool, Ordering};

    static STOPPED: AtomicBool = AtomicBool::new(false);

    let is_named = |variable| std::env::var(variable).is_ok_and(|wanted| wanted == point);
    if is_named("BROKER_CRASH_AT") {
        eprintln!("crash point {point} reached");
        std::process::abort();
    }
    if is_named("BROKER_STOP_AT") && !STOPPED.swap(true, Ordering::SeqCst) {
        eprintln!("stop point {point} reached");
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        // Another thread may get the signal first: this one must not go on by a hair.
        std::thread::sleep(std::time::Duration::from_millis(100));
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
