//! How old an object is by the API server's clock: its creationTimestamp
//! against the Date of the answer that shows it. So the clocks of the broker's
//! replicas do not matter, nor which of them made the object.

use std::time::Duration;

use http::{HeaderMap, header::DATE};
use jiff::{Timestamp, fmt::rfc2822};
use kube::{
    Client, Resource, ResourceExt as _,
    api::GetParams,
    client::Body,
    core::{Request, Status},
};
use serde::de::DeserializeOwned;

use crate::error::{Error, call, optional};

/// The age of the object of that name, to the second. `None`: there is no such
/// object.
pub async fn of<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<Duration>, Error>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let url = K::url_path(&(), Some(namespace));
    let request = Request::new(url)
        .get(name, &GetParams::default())
        .map_err(|_| Error::NotFound)?;
    let asked = call(async {
        let (head, body) = client.send(request.map(Body::from)).await?.into_parts();
        let body = body.collect_bytes().await?;
        if head.status.is_success() {
            let object: K = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
            return Ok((head.headers, object));
        }
        let status = serde_json::from_slice(&body).unwrap_or_else(|_| Status {
            code: head.status.as_u16(),
            ..Status::default()
        });
        Err(kube::Error::Api(Box::new(status)))
    });
    let Some((headers, object)) = optional(asked.await)? else {
        return Ok(None);
    };
    let made = object.creation_timestamp().map(|time| time.0);
    Ok(Some(made.map_or(Duration::ZERO, |made| {
        let age = date(&headers).duration_since(made);
        Duration::try_from(age).unwrap_or_default()
    })))
}

/// When the answer was given; by our own clock if it does not say.
fn date(headers: &HeaderMap) -> Timestamp {
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    date.and_then(|date| rfc2822::parse(date).ok())
        .map_or_else(Timestamp::now, |date| date.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_answer() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Tue, 15 Nov 1994 08:12:31 GMT".parse().unwrap());
        let expected: Timestamp = "1994-11-15T08:12:31Z".parse().unwrap();
        assert_eq!(date(&headers), expected);
    }
}
