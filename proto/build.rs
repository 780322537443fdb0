//! Generates the messages, clients and servers, and the descriptor set that
//! gRPC reflection serves. protox compiles, so no protoc is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 4] = [
    "mongodb_osb/v1/common.proto",
    "mongodb_osb/v1/catalog.proto",
    "mongodb_osb/v1/provisioner.proto",
    "mongodb_osb/v1/binder.proto",
];

const SECRET: [&str; 8] = [
    ".mongodb_osb.v1.Requester",
    ".mongodb_osb.v1.ProvisionRequest",
    ".mongodb_osb.v1.UpdateRequest",
    ".mongodb_osb.v1.FetchInstanceResponse",
    ".mongodb_osb.v1.Instance",
    ".mongodb_osb.v1.BindRequest",
    ".mongodb_osb.v1.BindResponse",
    ".mongodb_osb.v1.Binding",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // These carry passwords or user parameters, which a derived Debug would
        // show wherever a message is logged; src/redact.rs gives them another.
        .skip_debug(SECRET)
        .compile_fds(descriptors)?;
    Ok(())
}
