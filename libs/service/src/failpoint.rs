//! Crash points for tests: a debug build ends itself, as `kill -9` would, when
//! it reaches the point that `BROKER_CRASH_AT` names. Release builds have none.

/// Ends the process at once if `BROKER_CRASH_AT` is `point`.
#[cfg(debug_assertions)]
pub fn reach(point: &str) {
    if std::env::var("BROKER_CRASH_AT").is_ok_and(|wanted| wanted == point) {
        eprintln!("crash point {point} reached");
        std::process::abort();
    }
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
pub fn reach(_point: &str) {}
