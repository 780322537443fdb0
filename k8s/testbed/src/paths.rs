//! Where things are kept: binaries that are made once a machine, the state of named clusters, and
//! the temporary folders of tests.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Our folder inside the folders of cache and state.
const OURS: &str = "mongodb-osb/testbed";

/// The cache of binaries and images.
pub(crate) fn cache() -> PathBuf {
    absolute_env("XDG_CACHE_HOME")
        .or_else(|| absolute_env("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join(OURS)
}

/// The folder of named clusters.
///
/// Not below the home folder by default: it holds the pods' volumes, which other users' processes
/// have to reach.
pub(crate) fn state() -> PathBuf {
    absolute_env("XDG_STATE_HOME")
        .unwrap_or_else(|| PathBuf::from("/var/tmp"))
        .join(OURS)
}

/// The parent of all temporary folders of this user.
pub(crate) fn temporary() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    env::temp_dir().join(format!("mongodb-osb-testbed-{user}"))
}

/// The first program of that name on the PATH, or in the folders of the administrator's programs,
/// which ordinary PATHs leave out.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| is_executable(candidate))
}

/// Whether there is a file that can be run.
pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// A variable that names an absolute path; anything else is ignored, as the XDG rules ask.
fn absolute_env(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
