//! One write of one object: made with `create`, changed by server-side apply
//! with one field manager, so that fields that are no longer rendered go away.
//! Every write says what it is based on, so that one that comes late (its
//! process was paused) neither brings back what was deleted nor overwrites what
//! is newer.

use std::collections::BTreeMap;

use cluster::{
    Error, FIELD_MANAGER,
    error::{call, optional},
};
use http::Uri;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    core::{DynamicObject, Request},
};
use serde_json::{Value, json};

use crate::ownership;

/// Whether the place of an object is guarded already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the owner's own namespace, whose creation was the gate: whatever
    /// has the name there is the owner's.
    Own,
    /// Anywhere else: each object's own creation is the gate.
    Shared,
}

/// An object as it was before the decision to write it.
#[derive(Debug, Clone)]
pub struct Basis {
    uid: String,
    version: String,
    /// All its managedFields, while it is as it was created.
    created: Option<Vec<Value>>,
}

impl Basis {
    /// As it was read or written last.
    pub fn of(object: &DynamicObject) -> Self {
        let entries = managed_fields(object);
        Self {
            uid: object.uid().unwrap_or_default(),
            version: object.resource_version().unwrap_or_default(),
            created: ownership::is_as_created(&entries).then_some(entries),
        }
    }

    /// The object's uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// All its managedFields, while it is as it was created.
    pub(crate) fn created(&self) -> Option<&[Value]> {
        self.created.as_deref()
    }
}

fn managed_fields(object: &DynamicObject) -> Vec<Value> {
    let entries = object.managed_fields().iter().map(serde_json::to_value);
    entries.filter_map(Result::ok).collect()
}

/// What came of a write.
#[derive(Debug)]
pub enum Outcome {
    /// The object as the API server has it now.
    Applied(Box<DynamicObject>),
    /// Nothing was written: the object is this, which is not what the write
    /// was based on.
    Changed(Box<DynamicObject>),
    /// Nothing was written: the name belongs to an object of another owner.
    Foreign,
    /// Nothing was written: the object that the write was based on is no more.
    Vanished,
}

/// Creates the object, which must not be there. One with `labels` is its
/// owner's.
pub(crate) async fn create(
    client: &Client,
    api: &Api<DynamicObject>,
    name: &str,
    manifest: &Value,
    labels: &BTreeMap<String, String>,
    place: Place,
) -> Result<Outcome, Error> {
    match create_strictly(client, api, manifest).await {
        Ok(created) => return Ok(Outcome::Applied(Box::new(created))),
        Err(Error::AlreadyExists) => {}
        Err(error) => return Err(error),
    }
    let Some(found) = optional(call(api.get(name)).await)? else {
        return Ok(Outcome::Vanished);
    };
    let ours = labels
        .iter()
        .all(|(key, value)| found.labels().get(key) == Some(value));
    Ok(match place {
        Place::Shared if !ours => Outcome::Foreign,
        Place::Shared | Place::Own => Outcome::Changed(Box::new(found)),
    })
}

/// `create`, with fields that the kind does not have refused as an apply
/// refuses them; kube has no parameter for that.
async fn create_strictly(
    client: &Client,
    api: &Api<DynamicObject>,
    manifest: &Value,
) -> Result<DynamicObject, Error> {
    let malformed = || Error::Invalid("metadata (FieldValueInvalid)".to_owned());
    let mut request = Request::new(api.resource_url())
        .create(&by_us(), manifest.to_string().into_bytes())
        .map_err(|_| malformed())?;
    *request.uri_mut() = strict(request.uri()).ok_or_else(malformed)?;
    call(client.request(request)).await
}

/// The address with strict validation asked for.
fn strict(uri: &Uri) -> Option<Uri> {
    let query: Vec<&str> = uri
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|pair| !pair.is_empty())
        .chain(["fieldValidation=Strict"])
        .collect();
    format!("{}?{}", uri.path(), query.join("&")).parse().ok()
}

/// Changes the object that `basis` describes, and no other.
pub(crate) async fn change(
    api: &Api<DynamicObject>,
    name: &str,
    mut manifest: Value,
    basis: &Basis,
) -> Result<Outcome, Error> {
    let written = async {
        let version = match basis.created() {
            None => basis.version.clone(),
            Some(entries) => {
                let owned = own(api, name, basis, &ownership::turned(entries)).await?;
                owned.resource_version().unwrap_or_default()
            }
        };
        manifest["metadata"]["uid"] = json!(basis.uid);
        manifest["metadata"]["resourceVersion"] = json!(version);
        call(api.patch(name, &applying(), &Patch::Apply(&manifest))).await
    };
    match written.await {
        Ok(object) => return Ok(Outcome::Applied(Box::new(object))),
        Err(Error::Conflict | Error::NotFound) => {}
        Err(error) => return Err(error),
    }
    Ok(match optional(call(api.get(name)).await)? {
        Some(found) if found.uid().as_deref() == Some(&*basis.uid) => {
            Outcome::Changed(Box::new(found))
        }
        Some(_) | None => Outcome::Vanished,
    })
}

/// Asks the API server what an apply to the object of that uid would make of
/// it. Nothing is written.
pub(crate) async fn try_out(
    api: &Api<DynamicObject>,
    name: &str,
    mut manifest: Value,
    uid: &str,
) -> Result<DynamicObject, Error> {
    manifest["metadata"]["uid"] = json!(uid);
    let params = applying().dry_run();
    call(api.patch(name, &params, &Patch::Apply(&manifest))).await
}

/// The managedFields that the object would have had if it had been made by an
/// apply of `manifest`; those of a creation turned where that cannot be found
/// out.
pub(crate) async fn fields_as_applied(
    api: &Api<DynamicObject>,
    name: &str,
    manifest: Option<Value>,
    basis: &Basis,
    created: &[Value],
) -> Result<Vec<Value>, Error> {
    let Some(manifest) = manifest else {
        return Ok(ownership::turned(created));
    };
    match try_out(api, name, manifest, &basis.uid).await {
        Ok(tried) => Ok(ownership::replaced(created, &managed_fields(&tried))
            .unwrap_or_else(|| ownership::turned(created))),
        // Changed by others so that the manifest does not fit any more.
        Err(Error::Invalid(fields)) => {
            tracing::info!(
                object = name,
                fields,
                "object was made from an unknown manifest"
            );
            Ok(ownership::turned(created))
        }
        Err(error) => Err(error),
    }
}

/// Writes the managedFields of the object that `basis` describes, and nothing
/// else: neither its content nor its generation changes.
pub(crate) async fn own(
    api: &Api<DynamicObject>,
    name: &str,
    basis: &Basis,
    entries: &[Value],
) -> Result<DynamicObject, Error> {
    let patch = json!({"metadata": {
        "uid": basis.uid, "resourceVersion": basis.version, "managedFields": entries
    }});
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    call(api.patch(name, &params, &Patch::Merge(&patch))).await
}

fn by_us() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn applying() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER)
        .force()
        .validation_strict()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_validation_is_asked_for_whatever_the_query_was() {
        for (before, after) in [
            ("/a", "/a?fieldValidation=Strict"),
            ("/a?", "/a?fieldValidation=Strict"),
            ("/a?&b=c", "/a?b=c&fieldValidation=Strict"),
            ("/a?b=c", "/a?b=c&fieldValidation=Strict"),
        ] {
            let strict = strict(&before.parse().unwrap()).unwrap();
            assert_eq!(strict.to_string(), after);
        }
    }
}
