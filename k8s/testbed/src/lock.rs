//! Locks on files, so that two processes never build, sweep or hold the same thing at once.
//!
//! The kernel drops such a lock when its process ends, however it ends.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
};

use crate::{
    error::{At as _, Error, Result},
    progress,
};

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Takes the lock, waiting for whoever holds it; `purpose` says what they are doing.
pub(crate) async fn wait(path: &Path, purpose: &str) -> Result<Lock> {
    if let Some(lock) = attempt(path)? {
        return Ok(lock);
    }
    progress::say(format!("waiting for another process that is {purpose}"));
    let path = path.to_owned();
    let waiting = tokio::task::spawn_blocking(move || -> Result<Lock> {
        let file = open(&path)?;
        file.lock().at("lock", &path)?;
        Ok(Lock(file))
    });
    match waiting.await {
        Ok(lock) => lock,
        Err(_) => Err(Error::Unsupported {
            reason: "the wait for a lock was cancelled".to_owned(),
        }),
    }
}

/// Takes the lock if nobody holds it.
pub(crate) fn attempt(path: &Path) -> Result<Option<Lock>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).at("lock", path),
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).at("create", folder)?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .at("open", path)
}
