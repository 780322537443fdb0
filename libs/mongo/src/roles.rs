//! The commands that look up, create and change roles. They are sent to the database that the role
//! belongs to. Each that writes returns once a majority has it.

use mongodb::bson::{Bson, Document, doc};

use crate::users::write_concern;

/// The server's number of the error for a name that is taken.
pub const EXISTS: i32 = 51002;

/// Asks what a role of the database may do.
pub fn privileges(role: &str) -> Document {
    doc! { "rolesInfo": role, "showPrivileges": true }
}

/// The privileges in an answer to [`privileges`]; none if there is no such role.
pub fn privileges_of(answer: &Document) -> Option<Vec<Document>> {
    let role = answer.get_array("roles").ok()?.first()?.as_document()?;
    let privileges = role.get_array("privileges").ok()?;
    let documents = privileges.iter().filter_map(Bson::as_document);
    Some(documents.cloned().collect())
}

/// Creates a role that inherits nothing.
pub fn create(role: &str, privileges: &[Document], comment: &str) -> Document {
    write("createRole", role, privileges, comment)
}

/// Gives a role that is there these privileges, in place of those that it has.
pub fn update(role: &str, privileges: &[Document], comment: &str) -> Document {
    write("updateRole", role, privileges, comment)
}

fn write(command: &str, role: &str, privileges: &[Document], comment: &str) -> Document {
    doc! {
        command: role,
        "privileges": privileges,
        "roles": [],
        "writeConcern": write_concern(),
        "comment": comment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_privileges_of_a_role_are_read_from_the_answer_if_there_is_one() {
        let privilege = doc! { "resource": { "db": "a" }, "actions": ["find"] };
        let answer = doc! { "roles": [{ "role": "r", "privileges": [privilege.clone()] }] };
        assert_eq!(privileges_of(&answer), Some(vec![privilege]));
        assert_eq!(privileges_of(&doc! { "roles": [] }), None);
        assert_eq!(privileges_of(&doc! {}), None);
    }
}
