//! The service over real sockets: a real API server, a real mongod, and the
//! other services of the broker as fakes.

#![expect(
    clippy::unwrap_used,
    reason = "what a helper cannot do fails the test that called it"
)]

mod asynchronous;
mod attack;
mod budget;
mod crash;
mod fake;
mod instances;
mod lifecycle;
mod orphans;
mod outage;
mod paused;
mod platforms;
mod replicas;
mod revocations;
mod rights;
mod sleepers;
mod speed;
mod tasks;
mod users;
mod world;
