//! Records and Secrets in the API server.

use std::collections::BTreeMap;

use cluster::{
    error::{call, optional},
    names,
    records::Records,
};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    credentials::Issued,
    error::Error,
    ledger::Record,
    request::Request,
    resource::{ServiceBinding, ServiceBindingStatus},
};

const REQUEST: &str = "binding-request";
const LOGIN: &str = "binding-login";
const KEY: &str = "content";

/// Of the broker's namespace; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    records: Records<ServiceBinding>,
    secrets: Api<Secret>,
}

/// A Secret of ours, as a list tells of it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The binding record that it was written for.
    pub record: String,
    /// When, by the API server's clock.
    pub created: Timestamp,
}

impl Store {
    /// In `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            records: Records::new(client.clone(), namespace),
            secrets: Api::namespaced(client, namespace),
        }
    }

    /// For watches.
    pub fn api(&self) -> &Api<ServiceBinding> {
        self.records.api()
    }

    /// A consistent read.
    pub async fn read(&self, name: &str) -> Result<Option<Record>, Error> {
        Ok(self
            .records
            .get(name)
            .await?
            .map(Record::read)
            .transpose()?)
    }

    /// A consistent list of the records of an instance.
    pub async fn of_instance(&self, instance_record: &str) -> Result<Vec<Record>, Error> {
        self.list(&format!("{}={instance_record}", names::INSTANCE))
            .await
    }

    /// A consistent list of all records.
    pub async fn all(&self) -> Result<Vec<Record>, Error> {
        self.list("").await
    }

    async fn list(&self, labels: &str) -> Result<Vec<Record>, Error> {
        let objects = self.records.list(labels).await?;
        Ok(objects
            .into_iter()
            .map(Record::read)
            .collect::<Result<_, _>>()?)
    }

    /// Makes a record; `AlreadyExists` if there is one.
    pub async fn create(&self, record: Record) -> Result<Record, Error> {
        Ok(Record::read(
            self.records.create(&record.into_object()).await?,
        )?)
    }

    /// Writes a record unless it changed since it was read.
    pub async fn replace(&self, record: Record) -> Result<Record, Error> {
        Ok(Record::read(
            self.records.replace(&record.into_object()).await?,
        )?)
    }

    /// Lets a record go that is being deleted, unless it changed since it was read.
    pub async fn let_go(&self, record: Record) -> Result<(), Error> {
        self.records.replace(&record.into_object_to_go()).await?;
        Ok(())
    }

    /// Writes the status.
    pub async fn write_status(
        &self,
        name: &str,
        status: &ServiceBindingStatus,
    ) -> Result<Record, Error> {
        Ok(Record::read(
            self.records.patch_status(name, status).await?,
        )?)
    }

    /// Deletes the record as it was read.
    pub async fn delete(&self, record: &Record) -> Result<(), Error> {
        Ok(self.records.delete(record.object()).await?)
    }

    /// Writes a request for the record of that name; returns the Secret's name.
    pub async fn write_request(&self, record: &str, request: &Request) -> Result<String, Error> {
        let name = format!("request-{}-{}", names::short(record), names::random(10));
        let secret = secret(&name, record, REQUEST, request)?;
        call(self.secrets.create(&PostParams::default(), &secret)).await?;
        Ok(name)
    }

    /// Reads a request.
    pub async fn read_request(&self, name: &str) -> Result<Request, Error> {
        self.read_secret(name)
            .await?
            .ok_or_else(|| Error::Secret(name.to_owned()))
    }

    /// Writes a login. If it was written before, that one is the result.
    pub async fn write_login(
        &self,
        name: &str,
        record: &Record,
        issued: Issued,
    ) -> Result<Issued, Error> {
        let secret = secret(name, record.name(), LOGIN, &issued)?;
        match call(self.secrets.create(&PostParams::default(), &secret)).await {
            Ok(_) => Ok(issued),
            Err(cluster::Error::AlreadyExists) => self
                .read_login(name)
                .await?
                .ok_or_else(|| Error::Secret(name.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a login.
    pub async fn read_login(&self, name: &str) -> Result<Option<Issued>, Error> {
        self.read_secret(name).await
    }

    /// Deletes a Secret; gone already is fine.
    pub async fn delete_secret(&self, name: &str) -> Result<(), Error> {
        let deleted = call(self.secrets.delete(name, &DeleteParams::default())).await;
        optional(deleted)?;
        Ok(())
    }

    /// The Secrets of a record's requests and logins, or of all records'.
    pub async fn secrets(&self, record: Option<&str>) -> Result<Vec<Listed>, Error> {
        let mut selector = format!("{} in ({REQUEST},{LOGIN})", names::PURPOSE);
        if let Some(record) = record {
            selector = format!("{selector},{}={record}", names::BINDING);
        }
        let params = ListParams::default().labels(&selector);
        let list = call(self.secrets.list_metadata(&params)).await?;
        Ok(list
            .items
            .into_iter()
            .filter_map(|secret| {
                Some(Listed {
                    name: secret.name_any(),
                    record: secret.labels().get(names::BINDING)?.clone(),
                    created: secret.metadata.creation_timestamp?.0,
                })
            })
            .collect())
    }

    async fn read_secret<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(secret) = optional(call(self.secrets.get(name)).await)? else {
            return Ok(None);
        };
        let bytes = secret.data.and_then(|mut data| data.remove(KEY));
        // No cause: its text might repeat content.
        bytes
            .and_then(|bytes| serde_json::from_slice(&bytes.0).ok())
            .map(Some)
            .ok_or_else(|| Error::Secret(name.to_owned()))
    }
}

/// Without an owner: Kubernetes would delete it as soon as its record is
/// missing, as in a restore.
fn secret(
    name: &str,
    record: &str,
    purpose: &str,
    content: &impl Serialize,
) -> Result<Secret, Error> {
    let content = serde_json::to_vec(content).map_err(|_| Error::Secret(name.to_owned()))?;
    let labels = [
        (names::BINDING, record),
        (names::PURPOSE, purpose),
        (names::MANAGED_BY, names::MANAGER),
    ];
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(
                labels
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(content))])),
        ..Secret::default()
    })
}
