//! How catalog-svc stores bundles: immutable ConfigMaps in the broker's
//! namespace. It writes them; provisioner-svc, which knows what records name,
//! deletes those that are superseded and named by none.

/// The label of every part: the first 63 digits of the digest.
pub const BUNDLE: &str = "mongodb-osb.io/bundle";
/// The annotation with the whole digest.
pub const DIGEST: &str = "mongodb-osb.io/bundle-digest";
/// The annotation with the plan that it is a version of, `<provider>/<plan>`;
/// what was fetched for `*.url` files has none.
pub const PLAN: &str = "mongodb-osb.io/bundle-plan";
/// The annotation with a part's number, from 0.
pub const PART: &str = "mongodb-osb.io/bundle-part";
/// The annotation with the number of parts.
pub const PARTS: &str = "mongodb-osb.io/bundle-parts";
/// The annotation with the time (RFC 3339) at which it became the current
/// version of its plan.
pub const CURRENT_SINCE: &str = "mongodb-osb.io/current-since";
/// The annotation with the time (RFC 3339) at which it stopped being that;
/// absent while it is.
pub const SUPERSEDED_AT: &str = "mongodb-osb.io/superseded-at";
/// The label of the ConfigMap that says which content a `*.url` file has: what
/// identifies the file. [`DIGEST`] is the content's.
pub const FETCHED_FOR: &str = "mongodb-osb.io/fetched-for";
/// The annotation with that file, `<provider>/<plan>/<file>`: for people.
pub const FETCHED_FILE: &str = "mongodb-osb.io/fetched-file";
