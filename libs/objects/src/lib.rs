//! What the broker does with rendered objects, whoever they belong to: writes
//! them with `create` and server-side apply, asks beforehand what the API
//! server would take, waits until they are ready, deletes what is no longer
//! rendered, and finds and deletes all of them in order.
//!
//! [`Objects`] is the way in: the objects of one owner (an instance; in time a
//! binding). What to do when is decided by its caller.
//!
//! Knows nothing of records, of plans or of MongoDB.

pub mod kinds;

pub mod manifest;

pub mod inventory;

pub mod write;

mod ownership;

mod unchanged;

mod objects;

pub mod watch;

pub mod barrier;

pub mod diagnose;

pub use objects::{Objects, Scope};
