//! A binding as clients see it.

use broker_proto::{json, v1};
use serde_json::{Map, Value};

use crate::{
    context::Context, credentials::Issued, error::Error, expiry, ledger::Record,
    resource::ServiceBindingSpec,
};

/// A ready binding as it is handed out: the committed attempt's credentials.
pub(super) async fn of_record(context: &Context, record: &Record) -> Result<v1::Binding, Error> {
    let issued = issued_of(context, record).await?;
    let request = context.store.read_request(&record.spec().request).await?;
    binding(&issued, record.spec(), &request.parameters)
}

/// The credentials of the committed attempt.
pub(super) async fn issued_of(context: &Context, record: &Record) -> Result<Issued, Error> {
    let attempt = record.ledger.attempt.as_ref();
    let attempt = attempt.ok_or_else(|| Error::NoAttempt(record.name().to_owned()))?;
    let secret = &attempt.login.secret;
    let found = context.store.read_login(secret).await?;
    found.ok_or_else(|| Error::Secret(secret.clone()))
}

/// Credentials and what goes with them.
pub(super) fn binding(
    issued: &Issued,
    spec: &ServiceBindingSpec,
    parameters: &Map<String, Value>,
) -> Result<v1::Binding, Error> {
    Ok(v1::Binding {
        credentials: Some(json::to_struct(&issued.credentials)?),
        endpoints: issued.endpoints(),
        expires_at: expiry::shown(spec.expires_at),
        renew_before: expiry::shown(spec.renew_before),
        parameters: (!parameters.is_empty())
            .then(|| json::to_struct(parameters))
            .transpose()?,
    })
}
