//! Ends the process right after a step, as `kill -9` would, or stops it, as
//! `kill -STOP` would, before or after one: tests name the step, another process
//! must then finish the work. Not in release builds.

use crate::step::Step;

/// The step after which to end, if any.
#[cfg(feature = "failpoints")]
const VARIABLE: &str = "BROKER_CRASH_AFTER";

/// A step is about to be done.
#[cfg(feature = "failpoints")]
pub(crate) fn before(step: Step) {
    service::failpoint::approach(step.name());
}

/// A step is about to be done.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn before(_: Step) {}

/// A step was done.
#[cfg(feature = "failpoints")]
pub(crate) fn after(step: Step) {
    service::failpoint::reach(step.name());
    if std::env::var(VARIABLE).is_ok_and(|name| name == step.name()) {
        std::process::abort();
    }
}

/// A step was done.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn after(_: Step) {}
