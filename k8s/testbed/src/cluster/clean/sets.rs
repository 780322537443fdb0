//! The sets of addresses that kube-router's rules refer to. They are only removed where the node
//! was ours, after the rules: a set in use cannot go.

use std::time::Duration;

use tokio::process::Command;

use crate::{command, error::Result, paths};

/// What the names of the sets begin with: sources and destinations of a policy.
const PREFIXES: [&str; 2] = ["KUBE-SRC-", "KUBE-DST-"];
/// The set into which a new content is written before it takes the place of the old one.
const NEXT: &str = "TMP-";
const LIMIT: Duration = Duration::from_secs(60);

/// Removes them.
pub(super) async fn remove() -> Result<()> {
    let Some(program) = paths::program("ipset") else {
        return Ok(());
    };
    let mut list = Command::new(&program);
    list.args(["list", "-name"]);
    let names = command::output(&mut list, LIMIT).await?;
    for name in names.lines().filter(|name| is_the_nodes(name)) {
        let mut destroy = Command::new(&program);
        command::output(destroy.args(["destroy", name]), LIMIT).await?;
    }
    Ok(())
}

fn is_the_nodes(name: &str) -> bool {
    // A program that was killed in between leaves it: 10 bytes in base 32.
    let is_next = name
        .strip_prefix(NEXT)
        .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(is_base32));
    is_next || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_base32(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'2'..=b'7')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_of_others_are_left_alone() {
        for name in [
            "KUBE-SRC-2DPGQ7UVSQGIZ5RC",
            "KUBE-DST-A",
            "TMP-MFRGGZDFMZTWQ2LK",
        ] {
            assert!(is_the_nodes(name), "{name}");
        }
        for name in ["blocked", "TMP-mine", "MY-KUBE-SRC-A", ""] {
            assert!(!is_the_nodes(name), "{name}");
        }
    }
}
