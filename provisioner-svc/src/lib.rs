//! Owns ServiceInstance: renders, applies, watches, updates and deletes deployments.
