//! The broker's services as processes of their own, on a real API server that
//! has everything of k8s/base but the pods: accounts, rights and admission
//! policies are the shipped ones.

mod base;
pub mod certificates;
mod files;
mod replica;

pub use self::{
    base::{NAMESPACE, control_plane},
    files::put,
    replica::{Launch, Replica},
};
