//! `init`: copies files of a mounted Secret with the permissions that mongod requires.
//!
//! A Secret's files belong to root and are readable for the pod's group, which mongod refuses for
//! a keyfile ("permissions are too open"). The copies belong to the user that runs this, the same
//! that mongod runs as. A copy is made whole or not at all, and replaces an older one.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::args::Copy;

/// A file that could not be copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum InitError {
    /// The source cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The source is empty: mongod's own message would be misleading.
    #[error("{path} is empty")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The copy cannot be written.
    #[error("write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes all copies.
pub(super) fn copy_all(copies: &[Copy]) -> Result<(), InitError> {
    for copy in copies {
        copy_file(copy)?;
        tracing::info!(from = %copy.from.display(), to = %copy.to.display(), "copied");
    }
    Ok(())
}

fn copy_file(copy: &Copy) -> Result<(), InitError> {
    let content = std::fs::read(&copy.from).map_err(|source| InitError::Read {
        path: copy.from.clone(),
        source,
    })?;
    if content.is_empty() {
        return Err(InitError::Empty {
            path: copy.from.clone(),
        });
    }
    write(&copy.to, &content).map_err(|source| InitError::Write {
        path: copy.to.clone(),
        source,
    })
}

/// Writes another file and renames it, so that a process that is killed leaves no partial file under
/// the name that mongod opens.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn copy(folder: &Path) -> Copy {
        Copy {
            from: folder.join("from"),
            to: folder.join("to"),
        }
    }

    #[test]
    fn a_copy_is_readable_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("from"), "key").unwrap();
        copy_all(&[copy(folder.path())]).unwrap();
        let to = folder.path().join("to");
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "key");
        assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o400);
    }

    #[test]
    fn a_copy_is_replaced_and_what_a_killed_run_left_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("to.new"), "half").unwrap();
        for content in ["one", "two"] {
            std::fs::write(folder.path().join("from"), content).unwrap();
            copy_all(&[copy(folder.path())]).unwrap();
            assert_eq!(
                std::fs::read_to_string(folder.path().join("to")).unwrap(),
                content
            );
        }
        assert!(!folder.path().join("to.new").exists());
    }

    #[test]
    fn a_source_that_is_empty_or_absent_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = copy_all(&[copy(folder.path())]).unwrap_err();
        assert!(matches!(missing, InitError::Read { .. }), "{missing}");
        std::fs::write(folder.path().join("from"), "").unwrap();
        let empty = copy_all(&[copy(folder.path())]).unwrap_err();
        assert!(matches!(empty, InitError::Empty { .. }), "{empty}");
    }
}
