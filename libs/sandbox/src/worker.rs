//! The process: reads a question, answers it, until there is no more.

use std::{
    collections::VecDeque,
    env,
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use plan::{Bundle, Loaded, id::Digest};
use serde::Serialize;
use serde_json::Value;

use crate::{
    frame, limits,
    protocol::{Answer, KEPT, Query, Question},
};

/// How a program is told to be the process: before all other arguments.
pub(crate) const COMMAND: &str = "sandbox";
/// The most that the answer about an instance may weigh.
pub(crate) const HEAVIEST: usize = 16 << 20;
/// What a value takes in memory beside its text.
const NODE: usize = 32;

/// Serves as the process, if that is what the program was started for: `main` calls it first.
pub fn asked_for() -> Option<ExitCode> {
    let mut args = env::args().skip(1);
    if args.next()? != COMMAND {
        return None;
    }
    let mut number = || args.next()?.parse::<u64>().ok();
    let (Some(memory), Some(seconds)) = (number(), number()) else {
        return Some(ExitCode::from(64));
    };
    Some(match serve(memory, Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}

fn serve(memory: u64, time: Duration) -> io::Result<()> {
    limits::bound_memory(memory)?;
    // A panic's text can quote a value.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    let mut worker = Worker::default();
    while let Some(message) = frame::read(&mut from)? {
        limits::bound_time(time)?;
        let answer = worker.answer(&message, || limits::is_worn(memory));
        drop(message);
        frame::write(&mut to, &answer)?;
        to.flush()?;
    }
    Ok(())
}

/// The plans that were sent.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    kept: VecDeque<(String, Loaded)>,
}

impl Worker {
    /// The answer to a message.
    pub(crate) fn answer(&mut self, message: &[u8], worn: impl Fn() -> bool) -> Vec<u8> {
        match serde_json::from_slice(message) {
            Ok(Question::Check(candidate)) => encode(&candidate.check(), worn()),
            Ok(Question::Ask {
                digest,
                content,
                variables,
                query,
            }) => match self.plan(&digest, content.as_deref()) {
                Some(plan) => asked(plan, &variables, query, worn),
                None => bare(&Answer::NotUnderstood),
            },
            Err(_) => bare(&Answer::NotUnderstood),
        }
    }

    fn plan(&mut self, digest: &str, content: Option<&str>) -> Option<&Loaded> {
        if let Some(content) = content {
            let expected: Digest = digest.parse().ok()?;
            let bundle = Bundle::from_bytes(content.as_bytes(), &expected).ok()?;
            let loaded = Loaded::new(Arc::new(bundle)).ok()?;
            self.kept.truncate(KEPT - 1);
            self.kept.push_front((digest.to_owned(), loaded));
        }
        let found = self.kept.iter().find(|(kept, _)| kept == digest);
        found.map(|(_, loaded)| loaded)
    }
}

fn asked(
    plan: &Loaded,
    variables: &plan::Variables,
    query: Query<'_>,
    worn: impl Fn() -> bool,
) -> Vec<u8> {
    match query {
        Query::File(name) => {
            let file = plan.render_file(&name, variables);
            let weight = file
                .iter()
                .flat_map(|file| &file.objects)
                .map(weight)
                .fold(0, usize::saturating_add);
            if weight > HEAVIEST {
                return bare(&Answer::TooLarge);
            }
            encode(&file, worn())
        }
        Query::Outputs(objects) => encode(&plan.outputs(variables, &objects), worn()),
        Query::Readiness(objects, now) => {
            let judge =
                |(live, applied): &(Value, Value)| plan.readiness(live, applied, variables, now);
            encode(&objects.iter().map(judge).collect::<Vec<_>>(), worn())
        }
        Query::Membership {
            rule,
            report,
            ordinals,
        } => {
            let judge = |ordinal: u32| plan.membership(&rule, &report, ordinal, variables);
            encode(&ordinals.into_iter().map(judge).collect::<Vec<_>>(), worn())
        }
        Query::Generate => encode(&plan.generate(variables), worn()),
        Query::Display => encode(&plan.display(variables), worn()),
        Query::Database => encode(&plan.database(variables), worn()),
    }
}

/// What a value takes where it is read back, about.
fn weight(value: &Value) -> usize {
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| key.len() + NODE + weight(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn encode<T: Serialize>(value: &T, worn: bool) -> Vec<u8> {
    match serde_json::to_vec(&Answer::Is { value, worn }) {
        Ok(answer) if answer.len() <= frame::LARGEST => answer,
        Ok(_) => bare(&Answer::TooLarge),
        Err(_) => bare(&Answer::NotUnderstood),
    }
}

fn bare(answer: &Answer<()>) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}
