//! Where a template writes text that something else reads: block scalars, `command`, `args`. Seen by
//! indentation, for templates whose branches together are no YAML, and for what is no output.

use std::collections::BTreeMap;

use super::Region;

/// The lines (from 1) of a template that are block scalars or belong to `command` or `args`.
pub(super) fn regions(source: &str) -> BTreeMap<u32, Region> {
    let mut regions = BTreeMap::new();
    let mut block: Option<usize> = None;
    let mut arguments: Option<usize> = None;
    for (number, line) in (1..).zip(source.lines()) {
        let text = line.trim_start();
        // Lines of template syntax stand at any depth and end nothing.
        let transparent = text.is_empty() || text.starts_with("{%") || text.starts_with("{#");
        let spaces = line.len() - text.len();
        if !transparent {
            block = block.filter(|parent| spaces > *parent);
            let item = text.starts_with("- ");
            arguments = arguments.filter(|key| spaces > *key || (item && spaces == *key));
        }
        let inside_block = block.is_some();
        if !transparent && !inside_block {
            let (depth, key) = key_of(spaces, text);
            if matches!(key, Some("command" | "args")) {
                arguments = Some(depth);
            }
            if opens_block(text) {
                block = Some(depth);
            }
        }
        if inside_block {
            regions.insert(number, Region::Block);
        } else if arguments.is_some() || names_arguments(text) {
            regions.insert(number, Region::Script);
        }
    }
    regions
}

/// The depth and name of the key on a line, past the dashes of list items.
fn key_of(mut depth: usize, mut text: &str) -> (usize, Option<&str>) {
    while let Some(rest) = text.strip_prefix("- ") {
        let trimmed = rest.trim_start();
        // A block in a list item belongs to the dash, unless there is a key.
        if !trimmed.contains(':') {
            return (depth, None);
        }
        depth += text.len() - trimmed.len();
        text = trimmed;
    }
    let key = text
        .split_once(':')
        .map(|(key, _)| key.trim_matches(['"', '\'', ' ']));
    (depth, key)
}

/// Whether a map in flow style on the line has `command` or `args`.
fn names_arguments(text: &str) -> bool {
    ["command", "args"].into_iter().any(|key| {
        text.match_indices(key).any(|(at, _)| {
            let before = text[..at].trim_end_matches(['"', '\'']);
            let after = text[at + key.len()..].trim_start_matches(['"', '\'', ' ']);
            before.ends_with(['{', ',', ' ']) && after.starts_with(':')
        })
    })
}

/// Whether a block scalar begins at the end of a line.
fn opens_block(text: &str) -> bool {
    let text = text.split(" #").next().unwrap_or(text).trim_end();
    let head = text.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'));
    let Some(before) = head.strip_suffix(['|', '>']) else {
        return false;
    };
    let before = before.trim_end();
    before.ends_with(':') || before.ends_with('-') || before.is_empty() || before.ends_with("!!str")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_read_text_are_found() {
        let source = "\
data:
  a.conf: |
    x: {{ a }}

    y
  b: {{ b }}
spec:
  command: [sh, \"-c\"]
  args:
  - |
    run
  - {{ c }}
  env:
  - name: |
      n
    value: v
";
        let regions = regions(source);
        let of = |line: u32| regions.get(&line).copied();
        assert_eq!(of(3), Some(Region::Block));
        assert_eq!(of(5), Some(Region::Block));
        assert_eq!(of(6), None);
        assert_eq!(of(8), Some(Region::Script));
        assert_eq!(of(11), Some(Region::Block));
        assert_eq!(of(12), Some(Region::Script));
        assert_eq!(of(13), None);
        assert_eq!(of(15), Some(Region::Block));
        assert_eq!(of(16), None);
    }

    #[test]
    fn arguments_in_flow_style_are_found() {
        assert!(names_arguments("- {name: a, command: [sh, -c, x]}"));
        assert!(names_arguments("spec: {\"args\": [x]}"));
        assert!(!names_arguments("- {name: commands, kargs: [x]}"));
    }
}
