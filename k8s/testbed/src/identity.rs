//! Who calls the API server: a kubeconfig file and a client for one user or service account.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
    NamedContext,
};

use crate::{
    error::Result,
    pki::{self, Authority, Pair},
};

/// One user or service account of a cluster.
#[derive(Clone)]
pub struct Identity {
    kubeconfig: PathBuf,
    config: kube::Config,
    client: kube::Client,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("kubeconfig", &self.kubeconfig)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// A kubeconfig file with everything in it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client that calls as this identity.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The client's configuration, to build another client from.
    pub fn config(&self) -> kube::Config {
        self.config.clone()
    }
}

/// How an API server is reached.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// The name of cluster and context in kubeconfig files.
    pub(crate) name: String,
    /// `https://…`
    pub(crate) url: String,
    /// Who signed its certificate.
    pub(crate) authority: Authority,
    /// Where kubeconfig files are written.
    pub(crate) folder: PathBuf,
}

impl Server {
    /// A user with these groups, known by a certificate.
    pub(crate) async fn user(&self, user: &str, groups: &[&str]) -> Result<Identity> {
        let path = self.user_kubeconfig(user, groups)?;
        self.identity(path).await
    }

    /// The kubeconfig file of a user with these groups.
    pub(crate) fn user_kubeconfig(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let Pair { certificate, key } = self.authority.client(user, groups)?;
        let auth = AuthInfo {
            client_certificate_data: Some(BASE64.encode(certificate.as_bytes())),
            client_key_data: Some(BASE64.encode(key.as_bytes()).into()),
            ..AuthInfo::default()
        };
        self.write(user, auth)
    }

    /// Somebody known by a bearer token.
    pub(crate) async fn bearer(&self, user: &str, token: String) -> Result<Identity> {
        let auth = AuthInfo {
            token: Some(token.into()),
            ..AuthInfo::default()
        };
        let path = self.write(user, auth)?;
        self.identity(path).await
    }

    /// The identity that a kubeconfig file describes.
    pub(crate) async fn identity(&self, kubeconfig: PathBuf) -> Result<Identity> {
        let read = Kubeconfig::read_from(&kubeconfig)?;
        let config =
            kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let client = kube::Client::try_from(config.clone())?;
        Ok(Identity {
            kubeconfig,
            config,
            client,
        })
    }

    fn write(&self, user: &str, auth: AuthInfo) -> Result<PathBuf> {
        let authority = self.authority.certificate()?;
        let cluster = Cluster {
            server: Some(self.url.clone()),
            certificate_authority_data: Some(BASE64.encode(authority.as_bytes())),
            ..Cluster::default()
        };
        let context = Context {
            cluster: self.name.clone(),
            user: Some(user.to_owned()),
            ..Context::default()
        };
        let kubeconfig = Kubeconfig {
            kind: Some("Config".to_owned()),
            api_version: Some("v1".to_owned()),
            current_context: Some(self.name.clone()),
            clusters: vec![NamedCluster {
                name: self.name.clone(),
                cluster: Some(cluster),
                ..NamedCluster::default()
            }],
            contexts: vec![NamedContext {
                name: self.name.clone(),
                context: Some(context),
                ..NamedContext::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: user.to_owned(),
                auth_info: Some(auth),
                ..NamedAuthInfo::default()
            }],
            ..Kubeconfig::default()
        };
        let path = self.folder.join(format!("{}.kubeconfig", file_name(user)));
        // JSON is YAML.
        pki::write(&path, &serde_json::to_string_pretty(&kubeconfig)?)?;
        Ok(path)
    }
}

/// A user's name without what file names cannot hold.
fn file_name(user: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    user.chars()
        .map(|c| if safe(c) { c } else { '-' })
        .collect()
}
