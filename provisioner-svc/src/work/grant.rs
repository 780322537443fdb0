//! The instance's own namespace, and the rights in it. In namespaces of
//! others a person makes the RoleBindings.

use cluster::{
    error::{Obstacle, call},
    gate::{self, Gate},
    names,
    orphan::{self, Found, Mark},
};
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use plan::{Bundle, descriptor::PodSecurity, rbac::PLANS_ROLE};
use tokio::time::Instant;

use super::{Done, Failure, Halt, Job, refuse};
use crate::{place, resource::Kind};

/// What the binder needs.
pub(crate) const BINDER_ROLE: &str = "mongodb-osb-binder";
/// What mongo-bootstrap needs.
pub(crate) const BOOTSTRAP_ROLE: &str = "mongodb-osb-mongo-bootstrap";

/// Pod Security of an instance's own namespace, since whoever may write a plan would
/// else own the nodes. The admission policies in `k8s/base/access` demand the version
/// of `enforce`, and an administrator's exception for every level but `restricted`.
/// `warn` shows what is refused where the workload is applied, not only in events.
fn pod_security(level: PodSecurity) -> [(&'static str, &'static str); 3] {
    [
        ("pod-security.kubernetes.io/enforce", level.label()),
        ("pod-security.kubernetes.io/enforce-version", "latest"),
        ("pod-security.kubernetes.io/warn", level.label()),
    ]
}

/// What an admission policy refuses of a namespace with more than `restricted` is
/// that level, in all likelihood.
fn not_excepted(error: cluster::Error, bundle: &Bundle) -> Halt {
    let level = bundle.pod_security();
    match error {
        cluster::Error::Forbidden(denial)
            if !level.is_restricted() && denial.obstacle() == Obstacle::Policy =>
        {
            tracing::warn!(reason = %denial, "the namespace is refused");
            Halt::Fail(Failure {
                message: format!(
                    "The plan {provider}/{plan} needs Pod Security's level {level}, which the cluster's \
                     administrator has not allowed: {provider}.{plan} in the ConfigMap pod-security-exceptions.",
                    provider = bundle.provider(),
                    plan = bundle.name(),
                    level = level.label(),
                ),
                repeatable: true,
            })
        }
        error => error.into(),
    }
}

impl Job {
    pub(super) async fn make_namespace(&mut self) -> Done {
        let name = self.namespace().to_owned();
        if self.record.state.applied.is_some() {
            return self.find_namespace().await;
        }
        let inputs = self.inputs().await?;
        let bundle = inputs.loaded.bundle();
        let extra = [
            (
                names::BROKER.to_owned(),
                self.context.args.broker.namespace.clone(),
            ),
            (names::PROVIDER.to_owned(), label_value(bundle.provider())),
            (names::PLAN_NAME.to_owned(), label_value(bundle.name())),
        ];
        let pod_security = pod_security(bundle.pod_security())
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let gate = gate::namespace(
            &self.context.client(),
            &name,
            &self.record.labels(),
            &extra.into_iter().chain(pod_security).collect(),
        )
        .await
        .map_err(|error| not_excepted(error, bundle))?;
        self.namespace = Some(gate.clone());
        match gate {
            // Alone with the record all the time: nobody can have ended it.
            Gate::Created if self.turn.is_over() => self.confirm_namespace().await,
            Gate::Created | Gate::Ours => Ok(()),
            Gate::Terminating => Err(Halt::Wait(
                "waiting for the instance's namespace to go".to_owned(),
            )),
            Gate::Foreign => {
                tracing::warn!(namespace = name, "the namespace is not this instance's");
                Err(Halt::Wait(
                    "waiting for the deletion of a namespace of the same name that is not this instance's"
                        .to_owned(),
                ))
            }
        }
    }

    /// The namespace of an instance that was applied before holds its data:
    /// an empty one in its place would stand in the way of a restore.
    async fn find_namespace(&mut self) -> Done {
        let found = orphan::mark_namespace(
            &self.context.client(),
            self.namespace(),
            &self.record.labels(),
            Mark::Owned,
        )
        .await?;
        match found {
            Found::Ours => {
                self.namespace = Some(Gate::Ours);
                Ok(())
            }
            Found::Terminating | Found::Missing => Err(Halt::Fail(Failure {
                message:
                    "The instance has lost its namespace; the broker's operator must restore it."
                        .to_owned(),
                repeatable: true,
            })),
        }
    }

    /// A replica that was paused before it made the namespace may have made
    /// it after its instance's end: then it goes again. (Paused once more, it
    /// leaves that to the sweep.)
    async fn confirm_namespace(&self) -> Done {
        let current = self.context.read(&self.record.name()).await?;
        let spec = &self.record.resource.spec;
        let lives = current.is_some_and(|current| {
            current.resource.spec.incarnation == spec.incarnation
                && !current.is_tombstone()
                && !current.is_deleted_by_hand()
                && current.operation().kind != Kind::Delete
        });
        if lives {
            return Ok(());
        }
        let client = self.context.client();
        let _ = gate::delete_namespace(&client, self.namespace(), &self.record.labels()).await?;
        Err(Halt::Stale)
    }

    pub(super) async fn grant(&mut self) -> Done {
        if !self.record.resource.spec.own_namespace {
            // It may have become an instance's since the request.
            let broker = &self.context.args.broker;
            let checked = place::check(self.context.client(), self.namespace(), broker).await?;
            checked.map_err(|refusal| refuse(refusal.to_string()))?;
        }
        if self.record.resource.spec.own_namespace {
            let args = &self.context.args.broker;
            let broker = |account: &str| subject(account, &args.namespace);
            let mut wanted = vec![
                self.binding(PLANS_ROLE, broker(&args.provisioner_account)),
                self.binding(BINDER_ROLE, broker(&args.binder_account)),
            ];
            if let Some(bootstrap) = self.inputs().await?.loaded.bundle().bootstrap() {
                let pods = subject(&bootstrap.service_account, self.namespace());
                wanted.push(self.binding(BOOTSTRAP_ROLE, pods));
            }
            let api: Api<RoleBinding> = Api::namespaced(self.context.client(), self.namespace());
            let params = PostParams::default();
            let calls =
                wanted.iter().map(
                    async |binding| match call(api.create(&params, binding)).await {
                        Ok(_) | Err(cluster::Error::AlreadyExists) => Ok(()),
                        Err(error) => Err(error),
                    },
                );
            futures::future::try_join_all(calls).await?;
            self.granted_at = Some(Instant::now());
        }
        Ok(())
    }

    fn binding(&self, role: &str, subject: Subject) -> RoleBinding {
        RoleBinding {
            metadata: ObjectMeta {
                name: Some(role.to_owned()),
                labels: Some(self.record.labels()),
                ..ObjectMeta::default()
            },
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "ClusterRole".to_owned(),
                name: role.to_owned(),
            },
            subjects: Some(vec![subject]),
        }
    }
}

fn subject(account: &str, namespace: &str) -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        name: account.to_owned(),
        namespace: Some(namespace.to_owned()),
        ..Subject::default()
    }
}

/// A plan's name as a label value: what a label cannot hold becomes `_`.
fn label_value(name: &str) -> String {
    let text: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(63)
        .collect();
    text.trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

/// The name of the Secret with the generated values.
pub(crate) fn generated_secret(incarnation: &str) -> String {
    format!("osb-generated-{incarnation}")
}

/// Labels of Secrets with generated values, beside the instance's.
pub(crate) fn generated_purpose() -> (String, String) {
    (names::PURPOSE.to_owned(), "generated".to_owned())
}
