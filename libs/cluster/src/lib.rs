//! Kubernetes: apply, inventory, ordered delete, watches, work sharing.
