//! The mark of a user that the broker made, as MongoDB keeps it: `customData.osb`.

use mongodb::bson::{Bson, Document, doc};

/// Which attempt of which binding a user belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Name of the instance's record.
    pub instance: String,
    /// Name of the binding's record.
    pub binding: String,
    /// Which life of the binding.
    pub incarnation: String,
    /// Which attempt, counted over all lives of the binding.
    pub attempt: u32,
}

/// A user of ours that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// The attempt that it belongs to.
    pub mark: Mark,
}

/// The user's custom data.
pub fn custom_data(mark: &Mark) -> Document {
    doc! { "osb": {
        "instance": &mark.instance,
        "binding": &mark.binding,
        "incarnation": &mark.incarnation,
        "attempt": i64::from(mark.attempt),
    } }
}

/// The command that finds the users of a binding record, or of all.
pub fn find(binding: Option<&str>) -> Document {
    let marked = binding.map_or_else(|| Bson::from(doc! { "$exists": true }), Bson::from);
    doc! { "usersInfo": 1, "filter": { "customData.osb.binding": marked } }
}

/// The users of an answer to `usersInfo` that carry a mark.
pub fn users(answer: &Document) -> Vec<Found> {
    let Ok(users) = answer.get_array("users") else {
        return Vec::new();
    };
    users
        .iter()
        .filter_map(Bson::as_document)
        .filter_map(found)
        .collect()
}

fn found(user: &Document) -> Option<Found> {
    let osb = user
        .get_document("customData")
        .ok()?
        .get_document("osb")
        .ok()?;
    let text = |key: &str| osb.get_str(key).ok().map(str::to_owned);
    let attempt = match osb.get("attempt")? {
        Bson::Int32(number) => u32::try_from(*number).ok()?,
        Bson::Int64(number) => u32::try_from(*number).ok()?,
        _ => return None,
    };
    Some(Found {
        name: user.get_str("user").ok()?.to_owned(),
        mark: Mark {
            instance: text("instance")?,
            binding: text("binding")?,
            incarnation: text("incarnation")?,
            attempt,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_users_with_our_mark_are_ours() {
        let mark = Mark {
            instance: "i".into(),
            binding: "b".into(),
            incarnation: "x".into(),
            attempt: 3,
        };
        let answer = doc! { "users": [
            { "user": "osb-admin" },
            { "user": "b-1", "customData": custom_data(&mark) },
            { "user": "by-hand", "customData": { "osb": "what" } },
        ] };
        assert_eq!(
            users(&answer),
            [Found {
                name: "b-1".into(),
                mark
            }]
        );
    }
}
