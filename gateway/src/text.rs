//! What text of a client may be shown as it is: in log lines, tables, records.

/// Whether a character is not shown, or changes how others are: control characters, line and
/// paragraph separators, marks without a width, and changes of direction, with which a name can
/// look like another one.
pub(crate) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061C}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
        )
}
