//! Keys that authors may know from other versions and that this one does not have: refused with
//! what to write instead, since "unknown key" would leave them guessing.

use crate::fault::Problem;
use crate::node::{Kind, Node, nearest};

/// The path of a key (`*` is any name), and what to do about it.
const REFUSED: [(&[&str], &str); 6] = [
    (
        &["keep"],
        "is not supported by this version: an object of any kind is deleted with its instance; \
         deletion: {retain: 7d} keeps the data for some time",
    ),
    (
        &["singleton"],
        "is not supported by this version: a plan can be ordered any number of times",
    ),
    (
        &["maximum_polling_duration"],
        "is not written in plans: write deadline: {total: 12h}, and the catalog's \
         maximum_polling_duration is 3 minutes more",
    ),
    (
        &["generate", "*", "renew_before"],
        "is not supported by this version: certificates are valid as long as the broker's CA",
    ),
    (
        &["generate", "*", "lifetime"],
        "is not supported by this version: certificates are valid as long as the broker's CA",
    ),
    (
        &["generate", "*", "issuer"],
        "is not supported by this version: the broker's CA signs all certificates",
    ),
];

const OPERATIONS: [&str; 3] = ["create", "update", "bind"];

/// A problem for each key of a descriptor that is refused, at the key.
pub(crate) fn refused(descriptor: &Node) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for (path, advice) in REFUSED {
        find(descriptor, path, &mut |name, pos| {
            problems.push(Problem::at(pos, format!("key {name:?} {advice}")));
        });
    }
    find(descriptor, &["parameters", "*"], &mut |name, pos| {
        if !OPERATIONS.contains(&name) && nearest(name, OPERATIONS).is_none() {
            let message = format!(
                "parameters has the keys create, update and bind: a parameter {name:?} belongs \
                 below parameters.create.properties"
            );
            problems.push(Problem::at(pos, message));
        }
    });
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

fn find(node: &Node, path: &[&str], found: &mut impl FnMut(&str, &crate::fault::Pos)) {
    let (Kind::Map(entries), Some((first, rest))) = (&node.kind, path.split_first()) else {
        return;
    };
    for (key, value) in entries
        .iter()
        .filter(|(key, _)| *first == "*" || key.name == *first)
    {
        if rest.is_empty() {
            found(&key.name, &key.pos);
        } else {
            find(value, rest, found);
        }
    }
}
