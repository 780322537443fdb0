//! Owns ServiceBinding: database users and credentials.
