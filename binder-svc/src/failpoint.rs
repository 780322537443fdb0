//! Ends the process right after a step, as `kill -9` would: tests name the
//! step, another process must then finish the work. Not in release builds.

use crate::step::Step;

/// The step after which to end, if any.
#[cfg(feature = "failpoints")]
const VARIABLE: &str = "BROKER_CRASH_AFTER";

/// A step was done.
#[cfg(feature = "failpoints")]
pub(crate) fn after(step: Step) {
    if std::env::var(VARIABLE).is_ok_and(|name| name == step.name()) {
        std::process::abort();
    }
}

/// A step was done.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn after(_: Step) {}
