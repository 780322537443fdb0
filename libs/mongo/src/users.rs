//! The commands that create, change and drop users, which are all kept in the database `admin`. Each
//! returns once a majority has it, so that no election undoes it.

use std::{fmt, time::Duration};

use mongodb::bson::{Document, doc};
use secrecy::{ExposeSecret as _, SecretString};

/// The server's number of the error for a name that is taken.
pub const EXISTS: i32 = 51003;
/// The server's number of the error for a user that is not there.
pub const NOT_FOUND: i32 = 11;
/// A majority must have the change within this time, or the command fails.
const MAJORITY: Duration = Duration::from_secs(5);

/// A user to create.
pub struct NewUser<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its password.
    pub password: &'a SecretString,
    /// Role and database, each.
    pub roles: Vec<(&'a str, &'a str)>,
    /// What is kept with it, if anything.
    pub custom_data: Option<Document>,
    /// Shows in the server's log.
    pub comment: &'a str,
}

/// Without the password, and without what is kept with the user.
impl fmt::Debug for NewUser<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser")
            .field("name", &self.name)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// Creates a user that can log in with SCRAM-SHA-256 only.
pub fn create(user: &NewUser<'_>) -> Document {
    let roles: Vec<_> = user
        .roles
        .iter()
        .map(|(role, database)| doc! { "role": *role, "db": *database })
        .collect();
    let mut command = write("createUser", user);
    command.insert("roles", roles);
    command
}

/// Gives a user that is there the password of `user`, and what is kept with it; its roles stay.
pub fn update(user: &NewUser<'_>) -> Document {
    write("updateUser", user)
}

/// What both take. The command's name comes first in a command.
fn write(command: &str, user: &NewUser<'_>) -> Document {
    let mut command = doc! {
        command: user.name,
        "pwd": user.password.expose_secret(),
        "mechanisms": ["SCRAM-SHA-256"],
        "writeConcern": write_concern(),
        "comment": user.comment,
    };
    if let Some(data) = &user.custom_data {
        command.insert("customData", data.clone());
    }
    command
}

/// Drops a user. Its connections lose their rights at once.
pub fn drop(name: &str, comment: &str) -> Document {
    doc! { "dropUser": name, "writeConcern": write_concern(), "comment": comment }
}

pub(crate) fn write_concern() -> Document {
    let millis = i64::try_from(MAJORITY.as_millis()).unwrap_or(i64::MAX);
    doc! { "w": "majority", "wtimeout": millis }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_the_command_and_in_no_debug_text() {
        let password = SecretString::from("hunter2");
        let user = NewUser {
            name: "app",
            password: &password,
            roles: vec![("readWrite", "shop")],
            custom_data: None,
            comment: "bind",
        };
        let command = create(&user);
        assert_eq!(command.get_str("pwd").unwrap(), "hunter2");
        assert!(!command.contains_key("customData"));
        let roles = command.get_array("roles").unwrap();
        assert_eq!(roles[0], doc! { "role": "readWrite", "db": "shop" }.into());
        assert!(!format!("{user:?}").contains("hunter2"));
    }
}
