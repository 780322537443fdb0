//! Temporary folders that do not outlive their owners.
//!
//! A folder goes when its [`Folder`] is dropped. What a killed process could not remove is removed
//! by the next one: every folder carries a lock that only a living owner holds.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    error::{At as _, Result},
    lock::{self, Lock},
    paths,
};

/// Marks a folder as owned; see [`lock`].
const OWNER: &str = "owner.lock";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A temporary folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _owner: Lock,
}

impl Folder {
    /// Makes a new, empty folder that only this user can read.
    pub(crate) fn create(purpose: &str) -> Result<Self> {
        let base = paths::temporary();
        // Between making a folder and owning it, a sweep would take it for abandoned.
        let sweeping = base.join("sweep.lock");
        let guard = loop {
            if let Some(guard) = lock::attempt(&sweeping)? {
                break guard;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        sweep(&base);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("{purpose}-{}-{number}", process::id()));
        fs::create_dir_all(&path).at("create", &path)?;
        private(&base)?;
        let owner = lock::attempt(&path.join(OWNER))?;
        drop(guard);
        match owner {
            Some(owner) => Ok(Self {
                path,
                _owner: owner,
            }),
            // Only a process with our number in another PID namespace can hold it: take the next.
            None => Self::create(purpose),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sweep.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders whose owners are gone.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let owner = entry.path().join(OWNER);
        if owner.exists() && matches!(lock::attempt(&owner), Ok(Some(_))) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).at("protect", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner_and_an_abandoned_one_at_the_next_chance() {
        let kept = Folder::create("test").unwrap();
        let dropped = Folder::create("test").unwrap().path().to_owned();
        assert!(!dropped.exists());

        let abandoned = paths::temporary().join("test-abandoned");
        fs::create_dir_all(&abandoned).unwrap();
        fs::write(abandoned.join(OWNER), "").unwrap();
        let _other = Folder::create("test").unwrap();
        assert!(!abandoned.exists());
        assert!(kept.path().exists());
    }
}
