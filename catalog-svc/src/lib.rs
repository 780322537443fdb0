//! Discovers plan folders, validates them and serves the catalog.
