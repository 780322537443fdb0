//! Generates the messages, clients and servers, the descriptor set that gRPC
//! reflection serves, and the table of who may call what. protox compiles, so
//! no protoc is needed.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

use protox::{
    Compiler,
    prost_reflect::{DescriptorPool, ExtensionDescriptor, MethodDescriptor},
};

const FILES: [&str; 5] = [
    "mongodb_osb/v1/access.proto",
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

/// What a method's option `callers` may name.
const CALLERS: [&str; 5] = [
    "gateway",
    "catalog-svc",
    "provisioner-svc",
    "binder-svc",
    "admin",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    fs::write(
        out.join("callers.rs"),
        callers(&compiler.descriptor_pool())?,
    )?;
    tonic_prost_build::configure()
        // These carry passwords or user parameters, which a derived Debug would
        // show wherever a message is logged; src/redact.rs gives them another.
        .skip_debug(SECRET)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// A Rust expression: path and callers of each method.
fn callers(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let option = pool
        .get_extension_by_name("mongodb_osb.v1.callers")
        .ok_or("no extension mongodb_osb.v1.callers")?;
    let mut table = "&[\n".to_owned();
    for service in pool.services() {
        for method in service.methods() {
            let callers = of_method(&method, &option)?;
            let (service, method) = (service.full_name(), method.name());
            writeln!(table, "    (\"/{service}/{method}\", &{callers:?}),")?;
        }
    }
    table.push(']');
    Ok(table)
}

fn of_method(
    method: &MethodDescriptor,
    option: &ExtensionDescriptor,
) -> Result<Vec<String>, Box<dyn Error>> {
    let options = method.options();
    let named = options.get_extension(option);
    let named = named.as_list().unwrap_or_default().iter();
    let callers: Vec<String> = named
        .filter_map(|caller| caller.as_str().map(str::to_owned))
        .collect();
    let name = method.full_name();
    if callers.is_empty() {
        return Err(format!("{name} has no option (callers): say who may call it").into());
    }
    match callers.iter().find(|it| !CALLERS.contains(&it.as_str())) {
        Some(unknown) => Err(format!("{name} names the caller {unknown}, not a service").into()),
        None => Ok(callers),
    }
}
