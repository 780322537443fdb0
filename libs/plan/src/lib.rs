//! The plan format: descriptor, validation, digest, rendering. Pure.
