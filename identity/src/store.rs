//! The Secrets: what they hold, and one conditional write at a time.

use cluster::error::{call, optional};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use crate::{
    args::{Args, Lives},
    authority::{Data, Stored},
    leaf, names,
    step::{Observed, Step},
};

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server.
    #[error("{action} Secret {namespace}/{name}")]
    Cluster {
        action: &'static str,
        namespace: String,
        name: String,
        #[source]
        source: cluster::Error,
    },
    /// The authority's Secret was changed by somebody else.
    #[error(
        "read Secret {namespace}/{name}: it holds no authority; restore it, or delete it to have a \
         new one made (services without the new one refuse each other for some minutes)"
    )]
    Malformed { namespace: String, name: String },
    /// From rcgen.
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
}

impl Error {
    /// Somebody else was faster: look again.
    pub(crate) fn is_conflict(&self) -> bool {
        let source = match self {
            Self::Cluster { source, .. } => source,
            Self::Malformed { .. } | Self::Make(_) => return false,
        };
        matches!(
            source,
            cluster::Error::Conflict | cluster::Error::AlreadyExists | cluster::Error::NotFound
        )
    }
}

/// The Secrets of both namespaces.
pub(crate) struct Store {
    authority: Place,
    leaves: Place,
    lives: Lives,
}

struct Place {
    api: Api<Secret>,
    namespace: String,
}

/// All that is stored, as it was read.
pub(crate) struct Seen {
    pub(crate) observed: Observed,
    /// Callers whose Secret is not there.
    pub(crate) missing: Vec<&'static str>,
    authority: Option<(Secret, Stored)>,
    leaves: Vec<(&'static str, Secret)>,
}

impl Place {
    fn new(client: Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        }
    }

    fn failed(&self, action: &'static str, name: &str) -> impl FnOnce(cluster::Error) -> Error {
        let (namespace, name) = (self.namespace.clone(), name.to_owned());
        move |source| Error::Cluster {
            action,
            namespace,
            name,
            source,
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Secret>, Error> {
        optional(call(self.api.get(name)).await).map_err(self.failed("read", name))
    }

    /// Writes over exactly what was read.
    async fn replace(&self, name: &str, mut secret: Secret, data: Data) -> Result<(), Error> {
        secret.data = Some(data);
        let written = call(self.api.replace(name, &PostParams::default(), &secret)).await;
        written.map(drop).map_err(self.failed("write", name))
    }
}

impl Store {
    pub(crate) fn new(client: Client, args: &Args) -> Self {
        Self {
            authority: Place::new(client.clone(), &args.authority_namespace),
            leaves: Place::new(client, &args.namespace),
            lives: args.lives,
        }
    }

    pub(crate) async fn observe(&self) -> Result<Seen, Error> {
        let mut seen = Seen {
            observed: Observed::default(),
            missing: Vec::new(),
            authority: None,
            leaves: Vec::new(),
        };
        let Some(secret) = self.authority.get(names::AUTHORITY).await? else {
            return Ok(seen);
        };
        let stored = Stored::read(&secret.data.clone().unwrap_or_default());
        let stored = stored.ok_or_else(|| Error::Malformed {
            namespace: self.authority.namespace.clone(),
            name: names::AUTHORITY.to_owned(),
        })?;
        seen.observed.authority = stored.observed();
        for caller in names::CALLERS {
            let Some(secret) = self.leaves.get(&names::secret(caller)).await? else {
                seen.missing.push(caller);
                continue;
            };
            let data = secret.data.clone().unwrap_or_default();
            let observed = leaf::observed(caller, &data, &stored);
            seen.observed.leaves.push(observed);
            seen.leaves.push((caller, secret));
        }
        seen.observed.complete = seen.missing.is_empty();
        seen.authority = Some((secret, stored));
        Ok(seen)
    }

    /// Takes a step that was decided on what was `seen`.
    pub(crate) async fn take(&self, step: &Step, seen: Seen, now: Timestamp) -> Result<(), Error> {
        let Some((secret, stored)) = seen.authority else {
            return match step {
                Step::MakeAuthority => self.create(now).await,
                _ => Ok(()),
            };
        };
        let next = match step {
            Step::MakeAuthority | Step::Wait(_) => return Ok(()),
            Step::Sign(caller) | Step::Publish(caller) => {
                let mut leaves = seen.leaves.into_iter();
                let Some((_, secret)) = leaves.find(|(found, _)| found == caller) else {
                    return Ok(());
                };
                let data = if matches!(step, Step::Sign(_)) {
                    leaf::signed(stored.sign(caller, &self.lives, now)?, &stored)
                } else {
                    leaf::published(secret.data.clone().unwrap_or_default(), &stored)
                };
                let name = names::secret(caller);
                return self.leaves.replace(&name, secret, data).await;
            }
            Step::MakeNext => stored.with_next(&self.lives, now)?,
            Step::NotePublished => stored.published(now),
            Step::Promote => stored.promoted(now),
            Step::Forget => stored.forgotten(),
        };
        let data = next.data();
        self.authority.replace(names::AUTHORITY, secret, data).await
    }

    /// The first authority; the name is the gate for those who try at once.
    async fn create(&self, now: Timestamp) -> Result<(), Error> {
        let name = names::AUTHORITY;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some(Stored::make(&self.lives, now)?.data()),
            ..Secret::default()
        };
        let created = call(self.authority.api.create(&PostParams::default(), &secret)).await;
        created
            .map(drop)
            .map_err(self.authority.failed("create", name))
    }
}
