//! What reads a text of an object: a program takes an argument as it is, a shell takes it apart.

use super::Region;
use crate::render::skeleton::{Arguments, Position, is_output, without_outputs};
use crate::yaml::Style;

/// Programs that run what an argument says.
const INTERPRETERS: [&str; 17] = [
    "sh", "bash", "dash", "ash", "zsh", "ksh", "busybox", "su", "python", "perl", "ruby", "node",
    "mongosh", "mongo", "awk", "gawk", "psql",
];
/// Options whose argument is run, of whatever program.
const EVALUATING: [&str; 4] = ["--eval", "--command", "--exec", "--execute"];
/// What a shell does not read as text.
const SHELL_SYNTAX: &[char] = &['$', '`', ';', '&', '|', '<', '>', '(', ')', '\'', '"', '\\'];

/// What reads the scalar that an output is in; `None` where it is taken as it is.
pub(super) fn of(position: &Position<'_>) -> Option<Region> {
    if let Some(arguments) = &position.arguments {
        return argument(position, arguments);
    }
    (position.style == Style::Block).then(|| {
        let is_script = position.keys.last().is_some_and(|key| is_script_name(key))
            || position.text.starts_with("#!");
        if is_script {
            Region::Script
        } else {
            Region::Block
        }
    })
}

fn is_script_name(key: &str) -> bool {
    let extension = key.rsplit_once('.').map(|(_, extension)| extension);
    matches!(
        extension,
        Some("sh" | "bash" | "py" | "pl" | "rb" | "js" | "mjs")
    )
}

fn argument(position: &Position<'_>, arguments: &Arguments<'_>) -> Option<Region> {
    // No list: nothing is known of what reads it.
    let Some(own) = arguments.own else {
        return Some(Region::Script);
    };
    if own == 0 && arguments.names_program {
        return Some(Region::Program);
    }
    let before = arguments.items.get(..own).unwrap_or_default();
    if before
        .last()
        .is_some_and(|item| item.is_some_and(evaluates))
    {
        return Some(Region::Script);
    }
    let is_safe = match interpreter(before) {
        Interpreter::Passing => true,
        Interpreter::Reading => false,
        // Who reads it is not known where the image says what is run.
        Interpreter::None => arguments.names_program || is_one_word(position),
    };
    (!is_safe).then_some(Region::Script)
}

/// What the arguments up to here are to an interpreter.
enum Interpreter {
    None,
    /// Its options, or its script.
    Reading,
    /// It has its script, and passes the others on.
    Passing,
}

fn interpreter(before: &[Option<&str>]) -> Interpreter {
    let mut items = before.iter().flatten();
    if !items.any(|item| is_interpreter(item)) {
        return Interpreter::None;
    }
    if items.any(|item| *item == "--" || !(item.starts_with('-') || is_output(item))) {
        Interpreter::Passing
    } else {
        Interpreter::Reading
    }
}

/// Whether the author's own text around an output is no more than a part of a word: `--name=`.
fn is_one_word(position: &Position<'_>) -> bool {
    let own = without_outputs(position.text);
    position.style != Style::Block
        && !own.contains(char::is_whitespace)
        && !own.contains(SHELL_SYNTAX)
}

/// Whether the argument after this one is run: `-c`, `-ec`, `-e`, `--eval`.
fn evaluates(item: &str) -> bool {
    let short = item
        .strip_prefix('-')
        .is_some_and(|flags| flags.bytes().all(|b| b.is_ascii_alphabetic()));
    EVALUATING.contains(&item) || (short && item.ends_with(['c', 'e']))
}

/// By the last part of its path, without a version: `/usr/bin/python3.11`.
fn is_interpreter(item: &str) -> bool {
    let name = item.rsplit('/').next().unwrap_or(item);
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::skeleton::Skeleton;

    fn region(source: &str) -> Option<Region> {
        let skeleton = Skeleton::of(source).unwrap();
        of(&skeleton.position(source.find("note }}").unwrap()).unwrap())
    }

    #[test]
    fn what_a_shell_reads_is_found() {
        for source in [
            "command: [sh, -c, \"{{ note }}\"]",
            "command: [sh, -c]\nargs: [\"echo {{ note }}\"]",
            "args: [-c, \"{{ note }}\"]",
            "args: [\"echo '{{ note }}'\"]",
            "command: [/usr/bin/python3.11, -uc, \"{{ note }}\"]",
            "command: [timeout, '5', bash, -ec, \"{{ note }}\"]",
            "command: [mongosh, --quiet, --eval, \"{{ note }}\"]",
            "command: [sh, \"{{ note }}\"]",
            "command: [sh, \"{{ flag }}\", \"{{ note }}\"]",
            "command: \"{{ note }}\"",
            "args:\n  - |\n    run {{ note }}\n",
            "data:\n  run.sh: |\n    echo {{ note }}\n",
            "data:\n  run: |\n    #!/bin/sh\n    echo {{ note }}\n",
        ] {
            assert_eq!(region(source), Some(Region::Script), "{source}");
        }
        assert_eq!(
            region("command: [\"/bin/{{ note }}\"]"),
            Some(Region::Program)
        );
        assert_eq!(
            region("data:\n  a.conf: |\n    a={{ note }}\n"),
            Some(Region::Block)
        );
    }

    #[test]
    fn what_is_taken_as_it_is_passes() {
        for source in [
            "command: [sh, -c, 'echo \"$1\"', --, \"{{ note }}\"]",
            "command: [sh, -c, 'echo \"$1\"', sh, \"{{ note }}\"]",
            "command: [sh, /run.sh, \"{{ note }}\"]",
            "command: [mongod, --replSet, \"{{ note }}\"]",
            "command: [mongod, \"--note=a b {{ note }}\"]",
            "args: [\"--note={{ note }}\"]",
            "args:\n  - {{ note }}\n",
            "env: [{name: NOTE, value: \"{{ note }}\"}]",
            "data: {a: \"x {{ note }}\"}",
        ] {
            assert_eq!(region(source), None, "{source}");
        }
    }
}
