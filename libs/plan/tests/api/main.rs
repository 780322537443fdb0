//! The crate from outside: folders in, catalogs and manifests out.

mod catalog;
mod faults;
mod lifecycle;
mod rendering;
mod support;
