//! The processes of a service, and who may ask them when.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use jiff::Timestamp;
use plan::{
    Loaded, Variables, binding,
    catalog::{Candidate, Checked},
    claims::Membership,
    descriptor::{ClaimRule, Generate},
    display::{self, Display},
    outputs,
    ready::Readiness,
    render,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::{
    Error, SandboxArgs,
    process::Process,
    protocol::{Answer, Query, Question},
    worker::HEAVIEST,
};

/// Processes at once.
const PROCESSES: usize = 2;

/// Evaluates plans; cheap to clone.
#[derive(Debug, Clone)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    args: SandboxArgs,
    places: Semaphore,
    idle: Mutex<Vec<Process>>,
    /// One question of a plan at a time: a slow plan is slow for its own instances.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Sandbox {
    /// Starts no process before it is asked.
    pub fn new(args: &SandboxArgs) -> Self {
        Self(Arc::new(Inner {
            args: args.clone(),
            places: Semaphore::new(PROCESSES),
            idle: Mutex::default(),
            turns: Mutex::default(),
        }))
    }

    /// As [`Candidate::check`]; a check that is ended is the plan's fault.
    pub async fn check(&self, candidate: &Candidate) -> Result<Checked, Error> {
        let key = format!("{}/{}", candidate.provider(), candidate.name());
        let question = |_: &mut Process| Question::Check(Cow::Borrowed(candidate));
        match self.ask(&key, question).await {
            Err(error) if !error.is_transient() => {
                Ok(candidate.not_checked(format!("the check of this plan was ended: {error}")))
            }
            outcome => outcome,
        }
    }

    /// As [`Loaded::render_file`].
    pub async fn render_file(
        &self,
        plan: &Loaded,
        name: &str,
        variables: &Variables,
    ) -> Result<Result<render::File, render::Error>, Error> {
        self.query(plan, variables, &Query::File(Cow::Borrowed(name)))
            .await
    }

    /// As [`Loaded::outputs`].
    pub async fn outputs(
        &self,
        plan: &Loaded,
        variables: &Variables,
        objects: &[Value],
    ) -> Result<Result<Map<String, Value>, outputs::Error>, Error> {
        if plan.bundle().descriptor().outputs.is_empty() {
            return Ok(Ok(Map::new()));
        }
        self.query(plan, variables, &Query::Outputs(Cow::Borrowed(objects)))
            .await
    }

    /// As [`Loaded::readiness`], of pairs of a live object and the applied one.
    pub async fn readiness(
        &self,
        plan: &Loaded,
        objects: &[(Value, Value)],
        variables: &Variables,
        now: Timestamp,
    ) -> Result<Vec<Readiness>, Error> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let query = Query::Readiness(Cow::Borrowed(objects), now);
        let judged: Vec<Readiness> = self.query(plan, variables, &query).await?;
        if judged.len() == objects.len() {
            Ok(judged)
        } else {
            Err(Error::Broken)
        }
    }

    /// As [`Loaded::membership`], of each ordinal.
    pub async fn membership(
        &self,
        plan: &Loaded,
        rule: &ClaimRule,
        report: &Value,
        ordinals: &[u32],
        variables: &Variables,
    ) -> Result<BTreeMap<u32, Membership>, Error> {
        let query = Query::Membership {
            rule: Cow::Borrowed(rule),
            report: Cow::Borrowed(report),
            ordinals: ordinals.to_vec(),
        };
        let judged: Vec<Membership> = self.query(plan, variables, &query).await?;
        if judged.len() == ordinals.len() {
            Ok(ordinals.iter().copied().zip(judged).collect())
        } else {
            Err(Error::Broken)
        }
    }

    /// As [`Loaded::generate`].
    pub async fn generate(
        &self,
        plan: &Loaded,
        variables: &Variables,
    ) -> Result<Result<BTreeMap<String, Generate>, outputs::Error>, Error> {
        if plan.bundle().descriptor().generate.is_empty() {
            return Ok(Ok(BTreeMap::new()));
        }
        self.query(plan, variables, &Query::Generate).await
    }

    /// As [`Loaded::display`].
    pub async fn display(
        &self,
        plan: &Loaded,
        variables: &Variables,
    ) -> Result<Result<Display, display::Error>, Error> {
        self.query(plan, variables, &Query::Display).await
    }

    /// As [`Loaded::database`].
    pub async fn database(
        &self,
        plan: &Loaded,
        variables: &Variables,
    ) -> Result<Result<binding::Database, binding::Error>, Error> {
        self.query(plan, variables, &Query::Database).await
    }

    /// Ends the processes that nobody uses now.
    pub fn rest(&self) {
        self.idle().clear();
    }

    async fn query<T: DeserializeOwned>(
        &self,
        plan: &Loaded,
        variables: &Variables,
        query: &Query<'_>,
    ) -> Result<T, Error> {
        let bundle = plan.bundle();
        let digest = bundle.digest().as_str();
        let question = |process: &mut Process| {
            let content = (!process.keeps(digest)).then(|| {
                process.sends(digest);
                String::from_utf8_lossy(bundle.to_bytes())
            });
            Question::Ask {
                digest: Cow::Borrowed(digest),
                content,
                variables: Cow::Borrowed(variables),
                query: query.clone(),
            }
        };
        self.ask(digest, question).await
    }

    async fn ask<'a, T: DeserializeOwned>(
        &self,
        plan: &str,
        question: impl Fn(&mut Process) -> Question<'a>,
    ) -> Result<T, Error> {
        let turn = self.turn(plan);
        let _turn = turn.lock().await;
        let closed = |error| Error::Unavailable(std::io::Error::other(error));
        let _place = self.0.places.acquire().await.map_err(closed)?;
        loop {
            let mut process = match self.idle().pop() {
                Some(process) => process,
                None => Process::start(&self.0.args)?,
            };
            let was_used = process.used;
            match self.exchange(&mut process, &question).await {
                Ok((answer, worn)) => {
                    if !worn {
                        self.idle().push(process);
                    }
                    return Ok(answer);
                }
                // Others may have used it up, or ended it: only a new process tells.
                Err(Error::Memory(_) | Error::Unavailable(_)) if was_used => {}
                Err(error) => {
                    tracing::warn!(plan, error = %error, "the evaluation of a plan was ended");
                    return Err(error);
                }
            }
        }
    }

    async fn exchange<'a, T: DeserializeOwned>(
        &self,
        process: &mut Process,
        question: &impl Fn(&mut Process) -> Question<'a>,
    ) -> Result<(T, bool), Error> {
        let question = question(process);
        let message = serde_json::to_vec(&question).map_err(|_| Error::Broken)?;
        let answer = process.ask(&message, &self.0.args).await?;
        match serde_json::from_slice(&answer) {
            Ok(Answer::Is { value, worn }) => Ok((value, worn)),
            Ok(Answer::TooLarge) => Err(Error::Large(HEAVIEST)),
            Ok(Answer::NotUnderstood) | Err(_) => Err(Error::Broken),
        }
    }

    fn turn(&self, plan: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(plan).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(plan.to_owned(), Arc::downgrade(&turn));
        turn
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Process>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
