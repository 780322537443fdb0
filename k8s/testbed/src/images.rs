//! Container images made from files, without a container engine.
//!
//! An image here is one layer on nothing (`FROM scratch`), written as the archive that
//! `docker save` writes: containerd, `kind load image-archive` and `crane push` all take it. The
//! same input gives the same bytes.

mod archive;
mod stand_in;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::process::Command;

pub use stand_in::{MONGO, PAUSE, mongo, pause, service};

use crate::{
    error::{At as _, Error, Result},
    paths,
};

const LDD_LIMIT: Duration = Duration::from_secs(30);

/// What goes into an image, and how it starts.
#[derive(Debug, Clone)]
pub struct ImageSpec {
    name: String,
    entries: Vec<Entry>,
    programs: Vec<PathBuf>,
    entrypoint: Vec<String>,
    user: String,
    env: Vec<String>,
}

/// A file or folder in an image.
#[derive(Debug, Clone)]
struct Entry {
    /// Without the leading slash.
    path: String,
    content: Content,
    mode: u32,
    owner: u32,
}

#[derive(Debug, Clone)]
enum Content {
    Folder,
    Text(String),
    File(PathBuf),
}

impl ImageSpec {
    /// An empty image of that name, such as `localhost/mongodb-osb/gateway:dev`.
    pub fn new(name: impl Into<String>) -> Self {
        let env = vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()];
        let name = name.into();
        Self {
            name,
            entries: vec![],
            programs: vec![],
            entrypoint: vec![],
            user: String::new(),
            env,
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, source: impl Into<PathBuf>, path: &str, mode: u32) -> Self {
        self.entry(path, Content::File(source.into()), mode, 0)
    }

    /// Adds a file with this content.
    #[must_use]
    pub fn text(self, content: impl Into<String>, path: &str) -> Self {
        self.entry(path, Content::Text(content.into()), 0o644, 0)
    }

    /// Adds an empty folder that belongs to this user.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32, owner: u32) -> Self {
        self.entry(path, Content::Folder, mode, owner)
    }

    /// Adds a program and, where it is not statically linked, the libraries that this machine has
    /// for it.
    #[must_use]
    pub fn program(mut self, source: impl Into<PathBuf>, path: &str) -> Self {
        let source = source.into();
        self.programs.push(source.clone());
        self.file(source, path, 0o755)
    }

    /// Adds a folder with all that is below it.
    pub fn tree(mut self, source: &Path, path: &str) -> Result<Self> {
        let mut entries: Vec<_> = fs::read_dir(source)
            .and_then(Iterator::collect::<Result<_, _>>)
            .at("read", source)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        self = self.folder(path, 0o755, 0);
        for entry in entries {
            let below = format!("{path}/{}", entry.file_name().to_string_lossy());
            let source = entry.path();
            self = if source.is_dir() {
                self.tree(&source, &below)?
            } else {
                self.file(source, &below, 0o644)
            };
        }
        Ok(self)
    }

    /// What runs.
    #[must_use]
    pub fn entrypoint(mut self, words: &[&str]) -> Self {
        self.entrypoint = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The user (and group) that it runs as.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    fn entry(mut self, path: &str, content: Content, mode: u32, owner: u32) -> Self {
        let path = path.trim_matches('/').to_owned();
        self.entries.push(Entry {
            path,
            content,
            mode,
            owner,
        });
        self
    }
}

/// Builds the image, unless it was built from the very same files before, and returns the path of
/// its archive in the folder of caches.
pub async fn build(spec: &ImageSpec) -> Result<PathBuf> {
    let plain = |c: char| if matches!(c, '/' | ':') { '_' } else { c };
    let name: String = spec.name.chars().map(plain).collect();
    let folder = paths::cache().join("images");
    let target = folder.join(format!("{name}-{}.tar", fingerprint(spec)?));
    if !target.exists() {
        build_to(spec, &target).await?;
        remove_older(&folder, &name, &target);
    }
    Ok(target)
}

/// Stands for everything that goes into an image, without reading the files' content.
fn fingerprint(spec: &ImageSpec) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{spec:?}"));
    for entry in &spec.entries {
        if let Content::File(path) = &entry.content {
            let file = path.metadata().at("read", path)?;
            let modified = file.modified().at("read", path)?;
            hash.update(format!("{} {modified:?}", file.len()));
        }
    }
    let digest = data_encoding::HEXLOWER.encode(&hash.finalize());
    Ok(digest[..16].to_owned())
}

/// Removes the archives of the same image from other files.
fn remove_older(folder: &Path, name: &str, newest: &Path) {
    let is_fingerprint =
        |rest: &str| rest.len() == 16 && rest.chars().all(|c| c.is_ascii_hexdigit());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let file = file.to_string_lossy();
        let rest = file
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".tar"));
        if rest.is_some_and(is_fingerprint) && entry.path() != newest {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Builds the image into that file.
pub async fn build_to(spec: &ImageSpec, target: &Path) -> Result<()> {
    let mut spec = spec.clone();
    let mut libraries = vec![];
    for program in &spec.programs {
        libraries.extend(shared_libraries(program).await?);
    }
    for library in libraries {
        let path = library.display().to_string();
        spec = spec.file(library, &path, 0o755);
    }
    let target = target.to_owned();
    let writing = tokio::task::spawn_blocking(move || archive::write(&spec, &target));
    writing.await.unwrap_or_else(|_| {
        Err(Error::Unsupported {
            reason: "writing an image was cancelled".to_owned(),
        })
    })
}

/// The shared libraries of a program, and the loader that it names; none if it is static.
async fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    program.metadata().at("read", program)?;
    // ldd fails on a static program, which is no failure here.
    let mut ldd = Command::new("ldd");
    ldd.arg(program).kill_on_drop(true);
    let listed = tokio::time::timeout(LDD_LIMIT, ldd.output()).await;
    let listed = listed.map_err(|_| Error::Stuck {
        program: "ldd".to_owned(),
        limit: LDD_LIMIT,
    })?;
    let listed = listed.map_err(|source| Error::Start {
        program: "ldd".to_owned(),
        source,
    })?;
    libraries_of(&String::from_utf8_lossy(&listed.stdout), program)
}

/// Reads the list that ldd writes.
fn libraries_of(listing: &str, program: &Path) -> Result<Vec<PathBuf>> {
    if let Some(line) = listing.lines().find(|line| line.contains("not found")) {
        let reason = format!("{} lacks a library: {}", program.display(), line.trim());
        return Err(Error::Unsupported { reason });
    }
    let path = |line: &str| {
        line.split_whitespace()
            .find(|word| word.starts_with('/'))
            .map(PathBuf::from)
    };
    Ok(listing.lines().filter_map(path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn libraries_and_the_loader_are_read_from_ldd() {
        let listing = "\tlinux-vdso.so.1 (0x1)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x2)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let found = libraries_of(listing, Path::new("x")).unwrap();
        let expected = [
            "/lib/x86_64-linux-gnu/libm.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        assert!(
            libraries_of("\tstatically linked\n", Path::new("x"))
                .unwrap()
                .is_empty()
        );
        assert!(libraries_of("\tlibx.so => not found\n", Path::new("x")).is_err());
    }

    #[tokio::test]
    async fn the_same_input_gives_the_same_bytes() {
        let folder = Folder::create("test").unwrap();
        let spec = ImageSpec::new("localhost/x:1")
            .text("hello", "/etc/greeting")
            .folder("/tmp", 0o1777, 0)
            .entrypoint(&["/x"])
            .user("65532:65532");
        let (one, two) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
        build_to(&spec, &one).await.unwrap();
        build_to(&spec, &two).await.unwrap();
        assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    }
}
