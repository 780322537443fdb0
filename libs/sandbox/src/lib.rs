//! What plans say is evaluated in a process of its own: the template engine counts its steps, but
//! a value of a few bytes can hold a million others, which no count of steps sees. So the process
//! is what is bounded, by the kernel: memory, processor time, and time by the clock.
//!
//! A service starts its own program again, as `sandbox`, and talks to it over pipes. The process
//! keeps the plans that it was sent, so that an evaluation costs a message each way. One that is
//! ended by a limit takes nothing with it but the answer to the question that it was at.

mod args;
mod error;
mod frame;
mod limits;
mod pool;
mod process;
mod protocol;
mod worker;

pub use args::{Program, SandboxArgs};
pub use error::Error;
pub use pool::Sandbox;
pub use worker::asked_for;
