//! A real Kubernetes cluster on a bare machine, for tests and the demo.
