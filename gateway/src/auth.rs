//! Who may call: HTTP Basic against the logins in a mounted directory.

mod directory;
mod pairs;
mod slowdown;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::http::HeaderMap;
use tokio_util::sync::CancellationToken;

use self::pairs::Pairs;
pub(crate) use self::{directory::Fault, pairs::Login, slowdown::Slowdown};

/// The logins, as last read without a fault.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    directory: PathBuf,
    current: Arc<RwLock<Arc<Pairs>>>,
}

impl Credentials {
    /// Reads the logins of `directory`; there must be at least one.
    pub(crate) fn load(directory: PathBuf) -> Result<Self, Fault> {
        let pairs = directory::read(&directory)?;
        tracing::info!(
            logins = pairs.len(),
            platforms = ?pairs.platforms(),
            directory = %directory.display(),
            "broker credentials loaded"
        );
        Ok(Self {
            directory,
            current: Arc::new(RwLock::new(Arc::new(pairs))),
        })
    }

    /// The login that the headers prove; nothing if they prove none.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Option<Arc<Login>> {
        let pairs = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        pairs.authenticate(headers)
    }

    /// Reads the directory again and again until `stop`. While it cannot be
    /// read, or holds no login, the last good logins stay: half a rotation
    /// must not lock every platform out.
    pub(crate) async fn follow(self, every: Duration, stop: CancellationToken) {
        let mut reported = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = stop.cancelled() => return,
            }
            match self.reload().await {
                Ok(()) => {
                    if reported.take().is_some() {
                        tracing::info!("broker credentials can be read again");
                    }
                }
                Err(fault) => {
                    let text = fault.to_string();
                    if reported.as_ref() != Some(&text) {
                        tracing::error!(
                            error = %text,
                            "broker credentials could not be read again; the last good ones stay"
                        );
                        reported = Some(text);
                    }
                }
            }
        }
    }

    async fn reload(&self) -> Result<(), Fault> {
        let directory = self.directory.clone();
        // A mounted Secret is memory, but the mount may be anything.
        let Ok(read) = tokio::task::spawn_blocking(move || directory::read(&directory)).await
        else {
            return Ok(());
        };
        let pairs = read?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if **current != pairs {
            tracing::info!(
                logins = pairs.len(),
                platforms = ?pairs.platforms(),
                "broker credentials changed"
            );
            *current = Arc::new(pairs);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;

    use super::*;

    fn basic(user: &str, password: &str) -> HeaderMap {
        use base64::Engine as _;
        let encoded =
            base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Basic {encoded}").parse().unwrap());
        headers
    }

    fn write(directory: &std::path::Path, user: &str, password: &str) {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join("username"), user).unwrap();
        std::fs::write(directory.join("password"), password).unwrap();
        std::fs::write(directory.join("platform"), user).unwrap();
    }

    #[tokio::test]
    async fn logins_are_read_again_and_a_faulty_directory_keeps_the_last_good_ones() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("cf"), "cf", "old");
        let credentials = Credentials::load(folder.path().to_owned()).unwrap();
        let login = credentials.authenticate(&basic("cf", "old")).unwrap();
        assert_eq!((&*login.user, &*login.platform), ("cf", "cf"));

        write(&folder.path().join("cf"), "cf", "new");
        write(&folder.path().join("k8s"), "k8s", "p");
        credentials.reload().await.unwrap();
        assert!(credentials.authenticate(&basic("cf", "old")).is_none());
        assert!(credentials.authenticate(&basic("cf", "new")).is_some());
        assert!(credentials.authenticate(&basic("k8s", "p")).is_some());

        std::fs::remove_file(folder.path().join("cf/password")).unwrap();
        assert!(credentials.reload().await.is_err());
        assert!(credentials.authenticate(&basic("cf", "new")).is_some());
    }
}
