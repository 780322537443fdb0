//! The way to a database that gives the broker no connection: the ConfigMap `mdb-revocations` in the
//! instance's namespace, which mongo-bootstrap reads beside the server ([`mongo::revocation`]). A
//! plan that has none has no such way.

use broker_proto::v1::Instance;
use cluster::{
    error::{call, optional},
    names,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};
use mongo::revocation::{ANSWERS, Answer, Answers, OBJECT, Request};
use serde_json::{Value, json};

use crate::error::Error;

/// Not the one that renders the ConfigMap: what the binder adds is its own.
const FIELD_MANAGER: &str = "mongodb-osb-binder";

/// Asks mongo-bootstrap to revoke logins.
#[derive(Clone)]
pub struct Reserve {
    client: Client,
}

impl std::fmt::Debug for Reserve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserve").finish_non_exhaustive()
    }
}

impl Reserve {
    /// With the rights of `client` to get and patch that ConfigMap in instance namespaces.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The request of this binding record that is there from now on: this one, or one that asks
    /// for the same already, whose answer is on its way or was given in the same operation. An
    /// older answer proves nothing: somebody who slept may have made the user after it. Never that
    /// of the id `judged`, whose answer is known. `None`: there is no such way to the instance's
    /// database.
    pub async fn ask(
        &self,
        instance: &Instance,
        record: &str,
        request: Request,
        judged: Option<&str>,
    ) -> Result<Option<Request>, Error> {
        let Some(object) = self.object(instance).await? else {
            return Ok(None);
        };
        let standing: Option<Request> =
            data(&object, record).and_then(|text| serde_json::from_str(text).ok());
        let stands = |it: &Request| {
            it.asks_the_same(&request)
                && judged != Some(it.id.as_str())
                && (it.operation == request.operation || answer(&object, record, it).is_none())
        };
        if let Some(standing) = standing.filter(stands) {
            return Ok(Some(standing));
        }
        let text = serde_json::to_string(&request).unwrap_or_default();
        self.put(instance, &object, record, json!(text)).await?;
        Ok(Some(request))
    }

    /// The answer to this very request, if there is one.
    pub async fn answer(
        &self,
        instance: &Instance,
        record: &str,
        request: &Request,
    ) -> Result<Option<Answer>, Error> {
        let object = self.object(instance).await?;
        Ok(object.and_then(|object| answer(&object, record, request)))
    }

    /// Takes the request of this binding record away, whoever made it.
    pub async fn withdraw(&self, instance: &Instance, record: &str) -> Result<(), Error> {
        match self.object(instance).await? {
            Some(object) if data(&object, record).is_some() => {
                self.put(instance, &object, record, Value::Null).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The instance's ConfigMap. One of the same name in a namespace that instances share may be of
    /// another one, whose mongo-bootstrap would find the users gone.
    async fn object(&self, instance: &Instance) -> Result<Option<ConfigMap>, Error> {
        match optional(call(self.api(instance).get(OBJECT)).await) {
            Ok(found) => Ok(found.filter(|object| is_of(object, instance))),
            // A cluster whose roles are older than the broker.
            Err(cluster::Error::Forbidden(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn put(
        &self,
        instance: &Instance,
        object: &ConfigMap,
        record: &str,
        value: Value,
    ) -> Result<(), Error> {
        let patch = json!({
            "metadata": { "uid": object.metadata.uid },
            "data": { record: value },
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.api(instance);
        call(api.patch(OBJECT, &params, &Patch::Merge(patch))).await?;
        Ok(())
    }

    fn api(&self, instance: &Instance) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &instance.namespace)
    }
}

fn answer(object: &ConfigMap, record: &str, request: &Request) -> Option<Answer> {
    let text = object.annotations().get(ANSWERS)?;
    let mut answers: Answers = serde_json::from_str(text).ok()?;
    let answer = answers.remove(record);
    answer.filter(|answer| answer.id == request.id)
}

fn data<'a>(object: &'a ConfigMap, record: &str) -> Option<&'a String> {
    object.data.as_ref()?.get(record)
}

fn is_of(object: &ConfigMap, instance: &Instance) -> bool {
    let record = names::instance_record(&instance.instance_id);
    let expected = names::instance_labels(&record, &instance.incarnation);
    let labels = object.labels();
    [names::INSTANCE, names::INCARNATION]
        .iter()
        .all(|key| labels.get(*key) == expected.get(*key))
}
