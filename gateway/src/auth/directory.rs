//! Reads logins from mounted Secrets: `username`, `password` and `platform` in
//! the directory itself, or in sub-directories of it, one for each login.
//! `platform` names the platform that the login belongs to. It has no default:
//! were it the user name, a platform would lose its instances with it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret as _, SecretString};

use super::pairs::{Login, Pairs};

/// Most characters of a user name or a platform's name: each record keeps those
/// of its last 20 operations.
const MAX_NAME: usize = 128;

/// Why the logins cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("read broker credentials from {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "no broker credentials in {}: mount a Secret with `username`, `password` and `platform` there, or one for each platform below it (BROKER_CREDENTIALS)",
        path.display()
    )]
    None { path: PathBuf },
    #[error("broker credentials: {} is missing or empty", path.display())]
    Empty { path: PathBuf },
    #[error(
        "broker credentials: {} is missing: the name of the platform that this login belongs to, which stays when the login changes",
        path.display()
    )]
    NoPlatform { path: PathBuf },
    #[error("broker credentials: {} holds a colon, which HTTP Basic cannot carry", path.display())]
    Colon { path: PathBuf },
    #[error(
        "broker credentials: {} is not a name: it needs 1 to {MAX_NAME} characters, no blanks at its ends and no control characters",
        path.display()
    )]
    Name { path: PathBuf },
    #[error(
        "broker credentials in {}: the login of user {user} is there twice, for two platforms; give each platform its own password",
        path.display()
    )]
    Ambiguous { path: PathBuf, user: String },
}

/// All logins of a directory, in the order of their names.
pub(super) fn read(directory: &Path) -> Result<Pairs, Fault> {
    let mut logins = Vec::new();
    for folder in folders(directory)? {
        logins.extend(login(&folder)?);
    }
    if logins.is_empty() {
        return Err(Fault::None {
            path: directory.to_owned(),
        });
    }
    let pairs = Pairs::new(logins);
    match pairs.ambiguous() {
        Some(user) => Err(Fault::Ambiguous {
            path: directory.to_owned(),
            user: user.to_owned(),
        }),
        None => Ok(pairs),
    }
}

/// The directory and its sub-directories, without the `..data` and the like
/// through which the kubelet swaps a mount's content.
fn folders(directory: &Path) -> Result<Vec<PathBuf>, Fault> {
    let failed = |source| Fault::Read {
        path: directory.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    found.insert(0, directory.to_owned());
    Ok(found)
}

/// The login of one folder; nothing if neither file is there.
fn login(folder: &Path) -> Result<Option<(Login, SecretString)>, Fault> {
    let (user_file, password_file) = (folder.join("username"), folder.join("password"));
    match (text(&user_file)?, text(&password_file)?) {
        (None, None) => Ok(None),
        (Some(username), Some(password)) => {
            if username.expose_secret().contains(':') {
                return Err(Fault::Colon { path: user_file });
            }
            let platform_file = folder.join("platform");
            let Some(platform) = text(&platform_file)? else {
                return Err(Fault::NoPlatform {
                    path: platform_file,
                });
            };
            let login = Login {
                user: name(&username, user_file)?,
                platform: name(&platform, platform_file)?,
            };
            Ok(Some((login, password)))
        }
        (None, Some(_)) => Err(Fault::Empty { path: user_file }),
        (Some(_), None) => Err(Fault::Empty {
            path: password_file,
        }),
    }
}

/// What stands in records, log lines and Events.
fn name(text: &SecretString, path: PathBuf) -> Result<String, Fault> {
    let name = text.expose_secret();
    if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) || name.trim() != name
    {
        return Err(Fault::Name { path });
    }
    Ok(name.to_owned())
}

/// A file's text without the line break that editors add.
fn text(path: &Path) -> Result<Option<SecretString>, Fault> {
    let text = match fs::read_to_string(path) {
        Ok(text) => SecretString::from(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(Fault::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let line = text.expose_secret().trim_end_matches(['\n', '\r']);
    if line.is_empty() {
        return Err(Fault::Empty {
            path: path.to_owned(),
        });
    }
    Ok(Some(SecretString::from(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn a_directory_holds_one_login_or_one_in_each_sub_directory() {
        let flat = folder(&[
            ("username", "u\n"),
            ("password", "p\r\n"),
            ("platform", "f\n"),
        ]);
        assert_eq!(read(flat.path()).unwrap().platforms(), ["f"].into());
        let nested = folder(&[
            ("cf/username", "cf-2"),
            ("cf/password", "p"),
            ("cf/platform", "cf"),
            ("k8s/username", "k8s"),
            ("k8s/password", "p"),
            ("k8s/platform", "clusters\n"),
            ("..2026_01/username", "hidden"),
            ("unrelated/file", "x"),
        ]);
        let pairs = read(nested.path()).unwrap();
        assert_eq!(pairs.len(), 2);
        assert_eq!(pairs.platforms(), ["cf", "clusters"].into());
    }

    #[test]
    fn a_faulty_directory_is_refused_by_the_name_of_the_file() {
        let long = "x".repeat(MAX_NAME + 1);
        let cases: [(&[(&str, &str)], &str); 11] = [
            (&[], "no broker credentials in"),
            (&[("username", "u")], "password is missing or empty"),
            (&[("password", "p")], "username is missing or empty"),
            (
                &[("username", "\n"), ("password", "p")],
                "username is missing",
            ),
            (&[("username", "a:b"), ("password", "p")], "holds a colon"),
            (
                &[("username", "a"), ("password", "p"), ("platform", "")],
                "platform is missing or empty",
            ),
            (
                &[("username", "a"), ("password", "p")],
                "platform is missing: the name of",
            ),
            (
                &[("username", &long), ("password", "p"), ("platform", "f")],
                "username is not a name",
            ),
            (
                &[("username", "a"), ("password", "p"), ("platform", "a\nb")],
                "platform is not a name",
            ),
            (
                &[("username", "a"), ("password", "p"), ("platform", "f ")],
                "platform is not a name",
            ),
            (
                &[
                    ("one/username", "a"),
                    ("one/password", "p"),
                    ("one/platform", "a"),
                    ("two/username", "a"),
                    ("two/password", "p"),
                    ("two/platform", "other"),
                ],
                "the login of user a is there twice",
            ),
        ];
        for (files, expected) in cases {
            let folder = folder(files);
            let fault = read(folder.path()).unwrap_err().to_string();
            assert!(fault.contains(expected), "{fault}");
        }
        assert!(matches!(
            read(Path::new("/nowhere/at/all")),
            Err(Fault::Read { .. })
        ));
    }
}
