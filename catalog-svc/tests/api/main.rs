//! The service over real sockets, against a real API server.

mod api_server_away;
mod bundles;
mod catalog;
mod command;
mod faults;
mod fixture;
mod orderable;
mod sources;
mod urls;
