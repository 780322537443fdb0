//! The service over real sockets: a real API server, a real mongod, and the
//! other services of the broker as fakes.

mod crash;
mod fake;
mod instances;
mod lifecycle;
mod logs;
mod outage;
mod users;
mod world;
