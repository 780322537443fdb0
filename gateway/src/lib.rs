//! The OSB REST endpoint: HTTP in, gRPC out.
