//! Two texts compared line by line, as a unified diff.

use similar::TextDiff;

/// Equal lines that are shown around a change.
const CONTEXT: usize = 3;
/// Lines that a reader looks at; what follows is only counted.
const MAX_SHOWN: usize = 120;

/// Whether two texts have the same lines. How a checkout ends them does not count.
pub(super) fn is_same(old: &str, new: &str) -> bool {
    old.lines().eq(new.lines())
}

/// The hunks in which two texts differ.
pub(super) fn unified(old: &str, new: &str) -> String {
    let with_ends = |text: &str| -> String { text.lines().flat_map(|line| [line, "\n"]).collect() };
    let (old, new) = (with_ends(old), with_ends(new));
    let diff = TextDiff::from_lines(&old, &new);
    let all = diff.unified_diff().context_radius(CONTEXT).to_string();
    let more = all.lines().count().saturating_sub(MAX_SHOWN);
    if more == 0 {
        return all;
    }
    let shown = all.lines().take(MAX_SHOWN);
    let shown: String = shown.flat_map(|line| [line, "\n"]).collect();
    format!("{shown}({more} more lines)\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(lines: impl IntoIterator<Item = u32>) -> String {
        let lines = lines.into_iter();
        lines
            .flat_map(|n| [n.to_string(), "\n".to_owned()])
            .collect()
    }

    #[test]
    fn equal_texts_have_no_hunk_however_their_lines_end() {
        for (old, new) in [("", ""), ("a\nb\n", "a\nb\n"), ("a\r\nb", "a\nb\n")] {
            assert!(is_same(old, new));
            assert_eq!(unified(old, new), "");
        }
        assert!(!is_same("a\n", "a\n\n"));
    }

    #[test]
    fn a_change_is_shown_with_the_lines_around_it() {
        let old = numbered(1..=20);
        let new = old.replace("10\n", "ten\n");
        let hunk = "@@ -7,7 +7,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n";
        assert_eq!(unified(&old, &new), hunk);
    }

    #[test]
    fn long_differences_are_cut() {
        let (old, new) = (numbered(0..3000), numbered(3000..6000));
        let text = unified(&old, &new);
        assert_eq!(text.lines().count(), MAX_SHOWN + 1);
        assert!(text.ends_with("(5881 more lines)\n"), "{text}");
    }
}
