//! What stands in for the built-in role `dbAdmin`: the same, less what reaches beyond the one
//! database. `enableProfiler` sets the server's slow-query threshold for all databases, and the
//! documents of others would then be in the server's log.
//!
//! The role belongs to the login's database and is never dropped: another bind may be about to grant
//! it, a login from which it was taken would be without rights, and without users it gives nobody
//! anything. It goes with the server.

use mongodb::bson::{Bson, Document};

use crate::grant::{Grant, Role};

/// Its name, in each database that needs it.
pub(super) const DB_ADMIN: &str = "mongodb-osb-dbAdmin";
/// What it does not have of `dbAdmin`.
const WITHHELD: [&str; 1] = ["enableProfiler"];

/// The name of the role that a login gets for one that was asked for.
pub(super) fn granted(role: Role) -> &'static str {
    match role {
        Role::Read | Role::ReadWrite => role.name(),
        Role::DbAdmin => DB_ADMIN,
    }
}

/// Whether a grant needs the role to be there.
pub(super) fn is_needed(grant: &Grant) -> bool {
    grant.roles.contains(&Role::DbAdmin)
}

/// What the role may do on `database`, made from what `dbAdmin` may do on this very server, which
/// differs by its version.
pub(super) fn narrowed(db_admin: &[Document], database: &str) -> Vec<Document> {
    db_admin
        .iter()
        .filter(|privilege| is_of(privilege, database))
        .filter_map(without_withheld)
        .collect()
}

fn is_of(privilege: &Document, database: &str) -> bool {
    let resource = privilege.get_document("resource");
    let of = resource.and_then(|resource| resource.get_str("db"));
    of.is_ok_and(|of| of == database)
}

fn without_withheld(privilege: &Document) -> Option<Document> {
    let actions = privilege.get_array("actions").ok()?;
    let is_withheld = |action: &Bson| {
        action
            .as_str()
            .is_none_or(|action| WITHHELD.contains(&action))
    };
    let kept: Vec<Bson> = actions
        .iter()
        .filter(|action| !is_withheld(action))
        .cloned()
        .collect();
    let mut narrowed = privilege.clone();
    narrowed.insert("actions", kept.clone());
    (!kept.is_empty()).then_some(narrowed)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn only_what_stays_in_the_database_is_granted() {
        let own = doc! { "db": "app", "collection": "" };
        let profile = doc! { "db": "app", "collection": "system.profile" };
        let server = [
            doc! { "resource": own.clone(), "actions": ["collMod", "enableProfiler", "validate"] },
            doc! { "resource": profile.clone(), "actions": ["find"] },
            doc! { "resource": { "db": "app", "collection": "x" }, "actions": ["enableProfiler"] },
            doc! { "resource": { "cluster": true }, "actions": ["shutdown"] },
            doc! { "resource": { "anyResource": true }, "actions": ["find"] },
            doc! { "resource": { "db": "", "collection": "" }, "actions": ["find"] },
        ];
        assert_eq!(
            narrowed(&server, "app"),
            [
                doc! { "resource": own, "actions": ["collMod", "validate"] },
                doc! { "resource": profile, "actions": ["find"] },
            ]
        );
    }
}
