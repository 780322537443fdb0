//! Process plumbing: arguments, telemetry, admin port, gRPC server, drain.
