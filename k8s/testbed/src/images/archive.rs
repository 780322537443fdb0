//! Writes an image archive in the form of `docker save`: one layer, a configuration, a manifest.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use serde_json::json;
use tar::{EntryType, Header};

use super::{Content, Entry, ImageSpec};
use crate::{
    checksum::sha256,
    error::{At as _, Result},
};

/// Writes the archive beside its place, then renames it: a reader never sees half of one.
pub(super) fn write(spec: &ImageSpec, target: &Path) -> Result<()> {
    let folder = target.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).at("create", folder)?;
    let layer = tempfile(folder, "layer")?;
    let partial = tempfile(folder, "image")?;
    let result = write_layer(spec, &layer).and_then(|()| assemble(spec, &layer, &partial));
    let result = result.and_then(|()| fs::rename(&partial, target).at("create", target));
    for leftover in [&layer, &partial] {
        let _ = fs::remove_file(leftover);
    }
    result
}

fn tempfile(folder: &Path, kind: &str) -> Result<std::path::PathBuf> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".{kind}-{}-{number}", std::process::id()));
    File::create(&path).at("create", &path)?;
    Ok(path)
}

fn write_layer(spec: &ImageSpec, path: &Path) -> Result<()> {
    let file = File::create(path).at("create", path)?;
    let mut layer = tar::Builder::new(io::BufWriter::new(file));
    for entry in with_parents(&spec.entries).values() {
        append_entry(&mut layer, entry)?;
    }
    layer
        .into_inner()
        .and_then(|mut writer| writer.flush())
        .at("write", path)
}

/// The entries by path, so parents come first; a later entry replaces an earlier one.
fn with_parents(entries: &[Entry]) -> BTreeMap<String, Entry> {
    let mut all = BTreeMap::new();
    for entry in entries {
        let mut parent = entry.path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            all.entry(above.to_owned()).or_insert_with(|| Entry {
                path: above.to_owned(),
                content: Content::Folder,
                mode: 0o755,
                owner: 0,
            });
            parent = above;
        }
        all.insert(entry.path.clone(), entry.clone());
    }
    all
}

fn append_entry(layer: &mut tar::Builder<impl Write>, entry: &Entry) -> Result<()> {
    let mut header = header(entry.mode, entry.owner);
    let name = &entry.path;
    match &entry.content {
        Content::Folder => {
            header.set_entry_type(EntryType::Directory);
            layer
                .append_data(&mut header, format!("{name}/"), io::empty())
                .at("add", name)
        }
        Content::Text(text) => {
            header.set_size(text.len() as u64);
            layer
                .append_data(&mut header, name, text.as_bytes())
                .at("add", name)
        }
        Content::File(source) => {
            let file = File::open(source).at("read", source)?;
            header.set_size(file.metadata().at("read", source)?.len());
            layer.append_data(&mut header, name, file).at("add", source)
        }
    }
}

fn header(mode: u32, owner: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(owner.into());
    header.set_gid(owner.into());
    header.set_mtime(0);
    header
}

/// Puts layer, configuration and manifest together.
fn assemble(spec: &ImageSpec, layer: &Path, target: &Path) -> Result<()> {
    let mut content = File::open(layer).at("read", layer)?;
    let digest = sha256(&mut content).at("read", layer)?;
    let config = serde_json::to_vec(&json!({
        "architecture": architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Entrypoint": spec.entrypoint, "User": spec.user, "Env": spec.env, "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "testbed" }],
    }))?;
    let config_name = format!("{}.json", sha256(&mut config.as_slice()).at("read", layer)?);
    let layer_name = format!("{digest}.tar");
    let manifest = serde_json::to_vec(&json!([
        { "Config": config_name, "RepoTags": [spec.name], "Layers": [layer_name] }
    ]))?;

    let file = File::create(target).at("create", target)?;
    let mut archive = tar::Builder::new(io::BufWriter::new(file));
    append_bytes(&mut archive, &config_name, &config).at("write", target)?;
    let layer_file = File::open(layer).at("read", layer)?;
    let mut layer_header = header(0o644, 0);
    layer_header.set_size(layer_file.metadata().at("read", layer)?.len());
    archive
        .append_data(&mut layer_header, &layer_name, layer_file)
        .at("write", target)?;
    append_bytes(&mut archive, "manifest.json", &manifest).at("write", target)?;
    archive
        .into_inner()
        .and_then(|mut writer| writer.flush())
        .at("write", target)
}

fn append_bytes(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = header(0o644, 0);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes)
}

/// This machine's processor, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_what_is_in_them() {
        let spec = ImageSpec::new("x")
            .text("1", "/a/b/c")
            .folder("/a", 0o700, 7);
        let all = with_parents(&spec.entries);
        let paths: Vec<&str> = all.keys().map(String::as_str).collect();
        assert_eq!(paths, ["a", "a/b", "a/b/c"]);
        assert_eq!((all["a"].mode, all["a"].owner), (0o700, 7));
    }
}
