//! Whole lists, page by page: no answer is larger than a page, and each page
//! has a deadline of its own.

use std::fmt::Debug;

use kube::{
    Api, Resource,
    api::ListParams,
    core::{ObjectList, PartialObjectMeta},
};
use serde::de::DeserializeOwned;

use crate::{
    error::{Error, call},
    records::drop_managed_fields,
};

/// Objects in one answer. Few: an object takes several times as much memory before
/// its managedFields are dropped as after.
const PAGE: u32 = 100;
/// A list that outlives its snapshot begins again, this often.
const MAX_RESTARTS: usize = 3;

/// All objects with these labels, as of one moment; without their managedFields.
pub async fn objects<K>(api: &Api<K>, labels: &str) -> Result<Vec<K>, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    fold(api, labels, Vec::new, Extend::extend).await
}

/// What `take` makes of all objects with these labels, as of one moment, without
/// their managedFields. It is given one page after the other, so that they are
/// never in memory all at once, and begins again from `start` where a list does.
pub async fn fold<K, A>(
    api: &Api<K>,
    labels: &str,
    start: impl Fn() -> A,
    take: impl Fn(&mut A, Vec<K>),
) -> Result<A, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let page = |params| {
        let api = api.clone();
        async move {
            let mut page = call(api.list(&params)).await?;
            page.items.iter_mut().for_each(drop_managed_fields);
            Ok(page)
        }
    };
    paged(labels, page, start, take).await
}

/// The metadata of all objects with these labels, as of one moment.
pub async fn metadata<K>(api: &Api<K>, labels: &str) -> Result<Vec<PartialObjectMeta<K>>, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let page = |params| {
        let api = api.clone();
        async move { call(api.list_metadata(&params)).await }
    };
    paged(labels, page, Vec::new, Extend::extend).await
}

async fn paged<T: Clone, A, F>(
    labels: &str,
    fetch: impl Fn(ListParams) -> F,
    start: impl Fn() -> A,
    take: impl Fn(&mut A, Vec<T>),
) -> Result<A, Error>
where
    F: Future<Output = Result<ObjectList<T>, Error>>,
{
    let first = ListParams::default().labels(labels).limit(PAGE);
    let mut restarts = 0;
    let mut params = first.clone();
    let mut all = start();
    loop {
        let page = match fetch(params).await {
            Ok(page) => page,
            // Compacted while it was read: a new snapshot, from the beginning.
            Err(Error::Expired) if restarts < MAX_RESTARTS => {
                restarts += 1;
                all = start();
                params = first.clone();
                continue;
            }
            Err(error) => return Err(error),
        };
        take(&mut all, page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = first.clone().continue_token(&token),
            None => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;

    use super::*;

    fn page(items: &[u32], token: Option<&str>) -> ObjectList<u32> {
        ObjectList {
            types: kube::core::TypeMeta::default(),
            metadata: ListMeta {
                continue_: token.map(str::to_owned),
                ..ListMeta::default()
            },
            items: items.to_vec(),
        }
    }

    #[tokio::test]
    async fn pages_follow_one_another_and_an_expired_list_begins_again() {
        let expired = Cell::new(false);
        let fetch = |params: ListParams| {
            assert_eq!(params.limit, Some(PAGE));
            std::future::ready(match params.continue_token.as_deref() {
                None => Ok(page(&[1, 2], Some("next"))),
                Some(_) if !expired.replace(true) => Err(Error::Expired),
                Some(_) => Ok(page(&[3], Some(""))),
            })
        };
        let all = paged("a=b", fetch, Vec::new, Extend::extend).await.unwrap();
        assert_eq!(all, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_list_that_always_expires_is_an_error() {
        let fetch = |_| std::future::ready(Err(Error::Expired));
        let answer = paged("", fetch, || (), |(), _: Vec<u32>| ()).await;
        assert!(matches!(answer, Err(Error::Expired)));
    }
}
