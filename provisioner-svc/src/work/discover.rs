//! Finding the objects that exist already, by the kinds of the instance's
//! bundles and by label.

use std::collections::BTreeSet;

use kube::core::GroupVersionKind;
use objects::{inventory::Entry, kinds};
use service::telemetry::chain;

use super::{Done, Job};
use crate::{catalog::Catalog, state::Record};

/// The kinds of some bundles.
pub(crate) struct BundleKinds {
    /// Each once, whatever its versions.
    pub(crate) kinds: Vec<GroupVersionKind>,
    /// Why those of a bundle are missing here, if any are; rather a reason that
    /// may pass.
    pub(crate) missing: Option<bundles::Error>,
}

impl BundleKinds {
    /// Asks for each bundle that these instances may have objects of, and adds
    /// the kinds of `others`.
    pub(crate) async fn of(
        catalog: &Catalog,
        records: &[&Record],
        others: impl IntoIterator<Item = GroupVersionKind>,
    ) -> Self {
        let digests: BTreeSet<&String> =
            records.iter().flat_map(|record| digests(record)).collect();
        let mut kinds: Vec<GroupVersionKind> = others.into_iter().collect();
        let mut missing = None;
        for digest in digests {
            match catalog.bundle(digest).await {
                Ok(loaded) => kinds.extend(
                    loaded
                        .bundle()
                        .kinds()
                        .iter()
                        .map(|kind| kinds::parse(&kind.api_version(), &kind.kind)),
                ),
                Err(error) if missing.as_ref().is_some_and(bundles::Error::is_transient) => {
                    tracing::debug!(error = chain(&error), "a bundle is missing, too");
                }
                Err(error) => missing = Some(error),
            }
        }
        kinds.sort_by(|a, b| (&a.group, &a.kind, &a.version).cmp(&(&b.group, &b.kind, &b.version)));
        kinds.dedup_by(|a, b| a.group == b.group && a.kind == b.kind);
        Self { kinds, missing }
    }
}

/// The bundles that an instance may have objects of.
pub(super) fn digests(record: &Record) -> impl Iterator<Item = &String> {
    let applied = record.state.applied.as_ref();
    record
        .operation()
        .bundles
        .iter()
        .chain(applied.map(|applied| &applied.bundle))
}

impl Job {
    pub(super) async fn discover(&mut self) -> Done {
        let wanted = self.all_kinds().await;
        Ok(self.objects.find(&wanted).await?)
    }

    /// The kinds that this instance may have objects of. For a bundle that is
    /// gone, or cannot be fetched now, the inventory stands in.
    pub(super) async fn all_kinds(&self) -> Vec<GroupVersionKind> {
        let inventory = self.objects.inventory().iter().map(Entry::gvk);
        let found = BundleKinds::of(&self.context.catalog, &[&self.record], inventory).await;
        if let Some(error) = &found.missing {
            tracing::warn!(
                record = %self.record.name(), error = chain(error),
                "kinds of a bundle are unknown; using those of the inventory"
            );
        }
        found.kinds
    }
}
