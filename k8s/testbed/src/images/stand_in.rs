//! The images that a testbed brings, since registries may be out of reach: the pods' sandbox, a
//! real mongod under the official image's name, and the shape of our own services.

use std::path::{Path, PathBuf};

use super::{ImageSpec, build};
use crate::{
    binaries::{self, Binary},
    error::{Error, Result},
};

/// The sandbox of every pod.
pub const PAUSE: &str = "localhost/pause:1";
/// A real mongod. There is nothing else in it: no shell, no mongosh, no entrypoint script.
pub const MONGO: &str = "docker.io/library/mongo:6.0";

/// The user that the official mongo image runs as.
const MONGO_USER: u32 = 999;
/// The user of our services.
const SERVICE_USER: u32 = 65532;
/// Where Debian keeps the certificates of the public authorities.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Names are looked up in /etc/hosts, then by DNS.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// Builds [`PAUSE`].
pub async fn pause() -> Result<PathBuf> {
    let program = binaries::provide(Binary::Pause).await?;
    let spec = ImageSpec::new(PAUSE)
        .program(program, "/pause")
        .entrypoint(&["/pause"]);
    build(&spec.user("65535:65535")).await
}

/// Builds [`MONGO`].
pub async fn mongo() -> Result<PathBuf> {
    let program = binaries::mongod().await?;
    let users = format!("root:x:0:0::/:\nmongodb:x:{MONGO_USER}:{MONGO_USER}::/data/db:\n");
    let groups = format!("root:x:0:\nmongodb:x:{MONGO_USER}:\n");
    let spec = ImageSpec::new(MONGO)
        .program(program, "/usr/bin/mongod")
        .text(users, "/etc/passwd")
        .text(groups, "/etc/group")
        .text(NSSWITCH, "/etc/nsswitch.conf")
        .folder("/tmp", 0o1777, 0)
        .folder("/data/db", 0o755, MONGO_USER)
        .folder("/data/configdb", 0o755, MONGO_USER)
        .entrypoint(&["/usr/bin/mongod"]);
    build(&spec).await
}

/// What an image of one of our services looks like: the program at `/<its file name>`, the public
/// authorities' certificates, and a user without rights. More files can be added.
pub fn service(name: &str, program: &Path) -> Result<ImageSpec> {
    let Some(file) = program.file_name().and_then(|file| file.to_str()) else {
        return Err(Error::Unsupported {
            reason: format!("{} is not a program", program.display()),
        });
    };
    let place = format!("/{file}");
    let spec = ImageSpec::new(name)
        .program(program, &place)
        .text(
            format!("nonroot:x:{SERVICE_USER}:{SERVICE_USER}::/:\n"),
            "/etc/passwd",
        )
        .text(format!("nonroot:x:{SERVICE_USER}:\n"), "/etc/group")
        .text(NSSWITCH, "/etc/nsswitch.conf")
        .folder("/tmp", 0o1777, 0)
        .entrypoint(&[&place])
        .user(format!("{SERVICE_USER}:{SERVICE_USER}"));
    if Path::new(AUTHORITIES).exists() {
        return Ok(spec.file(AUTHORITIES, AUTHORITIES, 0o644));
    }
    Ok(spec)
}
