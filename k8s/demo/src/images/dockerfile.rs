//! The part of a Dockerfile that our images need: stages that start from
//! nothing or from each other, and COPY, USER and ENTRYPOINT. So the one
//! Dockerfile says what is in the images, with and without a container engine.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

/// What one stage amounts to, with what it inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stage {
    /// Source in the build context, and absolute destination.
    pub copies: Vec<(String, String)>,
    /// `uid:gid`.
    pub user: Option<String>,
    /// The program and its arguments.
    pub entrypoint: Vec<String>,
}

/// Reads a Dockerfile: stages by name. Anything beyond the part that is known
/// here is an error, so that nothing is left out silently.
pub fn parse(text: &str) -> anyhow::Result<BTreeMap<String, Stage>> {
    let mut stages = BTreeMap::new();
    let mut current: Option<(String, Stage)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = || format!("Dockerfile:{}: {line:?}", index + 1);
        let (instruction, rest) = line.split_once(' ').with_context(at)?;
        let rest = rest.trim();
        if instruction == "FROM" {
            stages.extend(current.take());
            current = Some(from(rest, &stages).with_context(at)?);
        } else {
            let (_, stage) = current.as_mut().with_context(at)?;
            apply(stage, instruction, rest).with_context(at)?;
        }
    }
    stages.extend(current);
    Ok(stages)
}

fn from(rest: &str, stages: &BTreeMap<String, Stage>) -> anyhow::Result<(String, Stage)> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [base, "AS", name] = words[..] else {
        bail!("expected FROM <scratch or a stage> AS <name>");
    };
    let stage = match base {
        "scratch" => Stage::default(),
        _ => stages
            .get(base)
            .with_context(|| format!("no stage {base} above"))?
            .clone(),
    };
    Ok((name.to_owned(), stage))
}

fn apply(stage: &mut Stage, instruction: &str, rest: &str) -> anyhow::Result<()> {
    match instruction {
        "COPY" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let [source, destination] = words[..] else {
                bail!("expected COPY <source> <destination>");
            };
            if !destination.starts_with('/') {
                bail!("the destination must be absolute");
            }
            stage
                .copies
                .push((source.to_owned(), destination.to_owned()));
        }
        "USER" => stage.user = Some(rest.to_owned()),
        "ENTRYPOINT" => {
            stage.entrypoint = serde_json::from_str(rest).context("expected a list of strings")?;
        }
        _ => bail!("{instruction} is not known here"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_has_what_it_inherits_and_what_it_adds() {
        let text = "# a comment\nFROM scratch AS base\nCOPY a /a\nUSER 1:2\n\nFROM base AS app\nCOPY b /x/b\nENTRYPOINT [\"/x/b\", \"run\"]\n";
        let stages = parse(text).unwrap();
        let app = &stages["app"];
        assert_eq!(
            app.copies,
            [("a".into(), "/a".into()), ("b".into(), "/x/b".into())]
        );
        assert_eq!(app.user.as_deref(), Some("1:2"));
        assert_eq!(app.entrypoint, ["/x/b", "run"]);
        assert_eq!(stages["base"].entrypoint, Vec::<String>::new());
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        for (text, line) in [
            ("FROM scratch AS a\nRUN ls", "Dockerfile:2"),
            ("FROM debian AS a", "Dockerfile:1"),
            ("COPY a /a", "Dockerfile:1"),
            ("FROM scratch AS a\nCOPY a b", "Dockerfile:2"),
            ("FROM scratch AS a\nENTRYPOINT /a", "Dockerfile:2"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(line), "{text:?}: {error}");
        }
    }

    #[test]
    fn our_dockerfile_has_a_stage_for_each_image() {
        let stages = parse(include_str!("../../../../Dockerfile")).unwrap();
        for name in crate::images::NAMES {
            let stage = &stages[name];
            assert_eq!(stage.entrypoint, [format!("/{name}")]);
            assert_eq!(stage.user.as_deref(), Some("65532:65532"), "{name}");
        }
    }
}
