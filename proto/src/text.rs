//! Texts for users that are put together from others.

/// `text` as a sentence: with a full stop, unless it ends with one or the like
/// already, as messages of Kubernetes and MongoDB often do.
pub fn sentence(text: impl Into<String>) -> String {
    let mut text = text.into();
    text.truncate(text.trim_end().len());
    if !text.ends_with(['.', '!', '?', '…']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_ends_once() {
        for (text, expected) in [
            ("3 Insufficient cpu", "3 Insufficient cpu."),
            ("3 Insufficient cpu. ", "3 Insufficient cpu."),
            ("cut off…", "cut off…"),
        ] {
            assert_eq!(sentence(text), expected);
        }
    }
}
