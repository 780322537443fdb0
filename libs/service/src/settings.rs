//! Settings of the environment that no argument takes: a typing error would
//! otherwise change nothing and say nothing.

use clap::Command;

use crate::failpoint;

const PREFIX: &str = "BROKER_";

/// Warns of each variable of this process's environment that `command` does not know.
pub(crate) fn warn_of_unknown(command: &Command) {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in unknown(command, names) {
        tracing::warn!(
            variable = name,
            "environment variable is no setting of this program, it has no effect (see --help)"
        );
    }
}

fn unknown(command: &Command, names: impl Iterator<Item = String>) -> Vec<String> {
    names
        .filter(|name| name.starts_with(PREFIX))
        .filter(|name| !failpoint::VARIABLES.contains(&name.as_str()))
        .filter(|name| !is_known(command, name))
        .collect()
}

fn is_known(command: &Command, name: &str) -> bool {
    command
        .get_arguments()
        .any(|argument| argument.get_env().is_some_and(|env| env == name))
        || command
            .get_subcommands()
            .any(|command| is_known(command, name))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn only_variables_of_ours_that_no_argument_takes_are_unknown() {
        let argument = |name: &'static str, env: &'static str| Arg::new(name).long(name).env(env);
        let command = Command::new("service")
            .arg(argument("listen", "BROKER_LISTEN"))
            .subcommand(Command::new("plan").arg(argument("templates", "BROKER_TEMPLATES")));
        let names = [
            "BROKER_LISTEN",
            "BROKER_LISTENS",
            "BROKER_TEMPLATES",
            "BROKER_CRASH_AT",
            "PATH",
        ];
        assert_eq!(
            unknown(&command, names.into_iter().map(str::to_owned)),
            ["BROKER_LISTENS"]
        );
    }
}
