//! A real Kubernetes cluster on a bare machine, for tests and the demo.
//!
//! Nothing here is a double: etcd, the API server, the controllers, the kubelet and mongod are the
//! real programs, built or fetched once a machine at versions that this crate pins.
//!
//! - [`ControlPlane`]: etcd, the API server and, if asked, the controllers, on free loopback ports
//!   in a temporary folder. Any number run side by side; dropping one ends it.
//! - [`Mongod`]: a real mongod on a free loopback port with a temporary data folder.
//! - [`Cluster`]: the same with a node, so that pods run. It has a name, outlives the process that
//!   starts it, and there is one a machine.
//! - [`images`]: container images made from files, without a container engine.
//!
//! ```no_run
//! # async fn example() -> testbed::Result<()> {
//! use k8s_openapi::api::core::v1::Namespace;
//! use kube::{Api, api::ListParams};
//!
//! let control_plane = testbed::ControlPlane::start().await?;
//! let namespaces: Api<Namespace> = Api::all(control_plane.client());
//! assert!(namespaces.list(&ListParams::default()).await.is_ok());
//! # Ok(())
//! # }
//! ```

mod api_server;
pub mod binaries;
mod checksum;
pub mod cluster;
mod command;
mod control_plane;
mod error;
mod folder;
mod identity;
pub mod images;
mod lock;
pub mod logs;
mod mongod;
mod paths;
mod pki;
mod port;
mod process;
mod progress;
pub mod requests;
mod wait;

pub use api_server::Controllers;
pub use cluster::Cluster;
pub use control_plane::{Builder, ControlPlane};
pub use error::{Error, Result};
pub use identity::Identity;
pub use mongod::{Mongod, MongodOptions};
pub use port::Port;
