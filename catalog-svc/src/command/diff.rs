//! Two texts compared line by line, as a unified diff.

use std::{fmt, ops::Range};

/// Equal lines that are shown around a change.
const CONTEXT: usize = 3;
/// Lines that a reader looks at; what follows is only counted.
const MAX_SHOWN: usize = 120;
/// Pairs of lines that are compared; beyond, all between the first and the last change is one.
const MAX_PAIRS: usize = 4_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Kept(&'a str),
    Gone(&'a str),
    Come(&'a str),
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(text) => write!(f, " {text}"),
            Self::Gone(text) => write!(f, "-{text}"),
            Self::Come(text) => write!(f, "+{text}"),
        }
    }
}

/// Whether two texts have the same lines. How a checkout ends them does not count.
pub(super) fn is_same(old: &str, new: &str) -> bool {
    old.lines().eq(new.lines())
}

/// The hunks in which two texts differ.
pub(super) fn unified(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let lines = compare(&old, &new);
    let mut shown = Vec::new();
    for range in hunks(&lines) {
        let (before, within) = (&lines[..range.start], &lines[range]);
        shown.push(format!(
            "@@ -{} +{} @@",
            span(before, within, |line| !matches!(line, Line::Come(_))),
            span(before, within, |line| !matches!(line, Line::Gone(_)))
        ));
        shown.extend(within.iter().map(ToString::to_string));
    }
    let more = shown.len().saturating_sub(MAX_SHOWN);
    shown.truncate(MAX_SHOWN);
    if more > 0 {
        shown.push(format!("({more} more lines)"));
    }
    // An empty last line ends the text with the end of a line.
    if !shown.is_empty() {
        shown.push(String::new());
    }
    shown.join("\n")
}

/// Where a hunk is in one of the two texts: its first line, and how many it has.
fn span(before: &[Line<'_>], within: &[Line<'_>], has: fn(&Line<'_>) -> bool) -> String {
    let count = |lines: &[Line<'_>]| lines.iter().filter(|line| has(line)).count();
    let length = count(within);
    // A hunk without lines of this text stands behind the line of that number.
    let first = count(before) + usize::from(length > 0);
    format!("{first},{length}")
}

/// The changes with the lines around them, those that touch as one.
fn hunks(lines: &[Line<'_>]) -> Vec<Range<usize>> {
    let changed = lines.iter().enumerate();
    let changed = changed.filter(|(_, line)| !matches!(line, Line::Kept(_)));
    let mut hunks: Vec<Range<usize>> = Vec::new();
    for (at, _) in changed {
        let (start, end) = (
            at.saturating_sub(CONTEXT),
            lines.len().min(at + 1 + CONTEXT),
        );
        match hunks.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => hunks.push(start..end),
        }
    }
    hunks
}

fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = common(old.iter().zip(new));
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = common(old_rest.iter().rev().zip(new_rest.iter().rev()));
    let old_middle = &old_rest[..old_rest.len() - tail];
    let new_middle = &new_rest[..new_rest.len() - tail];
    let kept = |lines: &[&'a str]| lines.iter().copied().map(Line::Kept).collect::<Vec<_>>();
    let mut lines = kept(&old[..head]);
    lines.extend(middle(old_middle, new_middle));
    lines.extend(kept(&old[old.len() - tail..]));
    lines
}

fn common<'a>(pairs: impl Iterator<Item = (&'a &'a str, &'a &'a str)>) -> usize {
    pairs.take_while(|(old, new)| old == new).count()
}

/// By the longest common subsequence, so that as few lines as possible are told of.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let mut lines = Vec::with_capacity(old.len() + new.len());
    let (mut i, mut j) = (0, 0);
    if old.len().saturating_mul(new.len()) <= MAX_PAIRS {
        let longest = longest(old, new);
        while i < old.len() && j < new.len() {
            if old[i] == new[j] {
                lines.push(Line::Kept(old[i]));
                (i, j) = (i + 1, j + 1);
            } else if longest[i + 1][j] >= longest[i][j + 1] {
                lines.push(Line::Gone(old[i]));
                i += 1;
            } else {
                lines.push(Line::Come(new[j]));
                j += 1;
            }
        }
    }
    lines.extend(old[i..].iter().copied().map(Line::Gone));
    lines.extend(new[j..].iter().copied().map(Line::Come));
    lines
}

/// How long the longest common subsequence is from each pair of lines on.
fn longest(old: &[&str], new: &[&str]) -> Vec<Vec<u32>> {
    let mut longest = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i][j] = if old[i] == new[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    longest
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
    fn changes_far_from_each_other_are_hunks_of_their_own() {
        let old = numbered(1..=30);
        let new = numbered((1..=30).filter(|n| *n != 2)) + "31\n";
        let hunks = "@@ -1,5 +1,4 @@\n 1\n-2\n 3\n 4\n 5\n@@ -28,3 +27,4 @@\n 28\n 29\n 30\n+31\n";
        assert_eq!(unified(&old, &new), hunks);
        let near = old.replace("10\n", "ten\n").replace("16\n", "sixteen\n");
        assert_eq!(unified(&old, &near).matches("@@ -").count(), 1);
        let far = old.replace("10\n", "ten\n").replace("18\n", "eighteen\n");
        assert_eq!(unified(&old, &far).matches("@@ -").count(), 2);
    }

    #[test]
    fn no_more_lines_are_told_of_than_differ() {
        let text = unified("a\nb\nc\nd\n", "b\nx\nc\nd\na\n");
        assert_eq!(text, "@@ -1,4 +1,5 @@\n-a\n b\n+x\n c\n d\n+a\n");
        assert_eq!(unified("", "a\n"), "@@ -0,0 +1,1 @@\n+a\n");
        assert_eq!(unified("a\n", ""), "@@ -1,1 +0,0 @@\n-a\n");
    }

    #[test]
    fn long_differences_are_cut_and_huge_ones_not_compared_line_by_line() {
        let (old, new) = (numbered(0..3000), numbered(3000..6000));
        let text = unified(&old, &new);
        assert_eq!(text.lines().count(), MAX_SHOWN + 1);
        assert!(text.ends_with("(5881 more lines)\n"), "{text}");
    }
}
