//! A process's background tasks beside its server: what makes it ready, what
//! ends it, and how long its end may take.

use std::{collections::HashMap, future::Future, pin::pin, time::Duration};

use anyhow::Context as _;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{args::ServiceArgs, failpoint, readiness::Readiness};

/// The background tasks of a process. Each works until [`Tasks::stop`]; one
/// that ends earlier ends the process.
#[derive(Debug)]
pub struct Tasks {
    running: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
    readiness: Readiness,
}

/// What a task may return.
pub trait Outcome: Send {
    /// An error where the task has failed.
    fn result(self) -> anyhow::Result<()>;
}

impl Outcome for () {
    fn result(self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Outcome for anyhow::Result<()> {
    fn result(self) -> anyhow::Result<()> {
        self
    }
}

impl Tasks {
    /// None yet; gates are added to `readiness`.
    pub fn new(readiness: &Readiness) -> Self {
        Self {
            running: JoinSet::new(),
            names: HashMap::new(),
            stop: CancellationToken::new(),
            readiness: readiness.clone(),
        }
    }

    /// Cancelled when the tasks shall end: after the server has drained.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task that readiness does not wait for.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let handle = self.running.spawn(async move {
            failpoint::reach(&format!("task-{name}"));
            task.await.result()
        });
        self.names.insert(handle.id(), name);
    }

    /// Starts a task that makes the process ready only when `opened` resolves:
    /// when it has listed its records, say. The gate has the task's name and
    /// closes when the task ends.
    pub fn spawn_gated<F, O>(&mut self, name: &'static str, opened: O, task: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
        O: Future<Output = ()> + Send + 'static,
    {
        let gate = self.readiness.gate(name);
        self.spawn(name, async move {
            let mut task = pin!(task);
            let ended = tokio::select! {
                ended = &mut task => ended,
                () = opened => {
                    gate.open();
                    task.await
                }
            };
            gate.close();
            ended.result()
        });
    }

    /// Waits for a task that ends although it was not asked to.
    async fn ended_early(&mut self) -> anyhow::Error {
        match self.running.join_next_with_id().await {
            Some(ended) => {
                let name = self.name(&ended);
                match failure(ended) {
                    Ok(()) => anyhow::anyhow!("background task {name:?} ended early"),
                    Err(error) => error.context(format!("run background task {name:?}")),
                }
            }
            None => std::future::pending().await,
        }
    }

    /// Ends the tasks and waits for them until `ends`; the first failure.
    async fn join(mut self, ends: Instant) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut outcome = Ok(());
        while let Ok(Some(ended)) =
            tokio::time::timeout_at(ends, self.running.join_next_with_id()).await
        {
            let name = self.name(&ended);
            let ended = failure(ended).with_context(|| format!("end background task {name:?}"));
            outcome = outcome.and(ended);
        }
        if !self.names.is_empty() {
            let late: Vec<_> = self.names.into_values().collect();
            tracing::warn!(tasks = ?late, "background tasks aborted, they did not end in time");
        }
        outcome
    }

    fn name(&mut self, ended: &Result<(Id, anyhow::Result<()>), JoinError>) -> &'static str {
        let id = match ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        self.names.remove(&id).unwrap_or("unnamed")
    }
}

fn failure(ended: Result<(Id, anyhow::Result<()>), JoinError>) -> anyhow::Result<()> {
    match ended {
        Ok((_, result)) => result,
        Err(error) => Err(error.into()),
    }
}

/// Runs a server beside its background tasks until `shutdown`, then ends both:
/// the server drains while the tasks go on, then the tasks end. All of it takes
/// no longer than [`ServiceArgs::shutdown_deadline`]; what has not ended by
/// then is aborted.
///
/// A task that ends early or panics ends the process in the same order, with
/// an error: half a process would hold its lease and be ready for ever.
pub async fn supervise(
    args: &ServiceArgs,
    served: impl Future<Output = anyhow::Result<()>>,
    mut tasks: Tasks,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    // On the heap: servers' futures are large.
    let mut served = Box::pin(served);
    let mut early = Ok(());
    let ended = tokio::select! {
        ended = &mut served => Some(ended),
        () = shutdown.cancelled() => None,
        error = tasks.ended_early() => {
            tracing::error!(error = format!("{error:#}"), "shutting down");
            early = Err(error);
            None
        }
    };
    shutdown.cancel();
    let ends = Instant::now() + args.shutdown_deadline;
    let outcome = match ended {
        Some(ended) => ended,
        None => served_until(ends, served).await,
    };
    let joined = tasks.join(ends).await;
    early.and(outcome).and(joined)
}

async fn served_until(
    ends: Instant,
    served: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    tokio::time::timeout_at(ends - RESERVE / 2, served)
        .await
        .unwrap_or_else(|_| {
            tracing::warn!("server aborted, it did not drain in time");
            Ok(())
        })
}

/// The part of the shutdown deadline that is kept for the admin port and the
/// background tasks, so that they can give their lease back.
pub(crate) const RESERVE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that drains when it is asked to.
    async fn server(shutdown: CancellationToken) -> anyhow::Result<()> {
        shutdown.cancelled().await;
        Ok(())
    }

    /// A lease: held until the task is asked to end.
    fn lease(tasks: &mut Tasks) -> CancellationToken {
        let (stop, given_back) = (tasks.stop(), CancellationToken::new());
        let token = given_back.clone();
        tasks.spawn("lease", async move {
            stop.cancelled().await;
            token.cancel();
        });
        given_back
    }

    async fn run(tasks: Tasks, shutdown: CancellationToken) -> anyhow::Result<()> {
        let args = ServiceArgs::for_tests();
        supervise(&args, server(shutdown.clone()), tasks, shutdown).await
    }

    #[tokio::test]
    async fn a_task_that_ends_early_or_panics_ends_the_process_and_gives_the_lease_back() {
        for panics in [false, true] {
            let mut tasks = Tasks::new(&Readiness::default());
            let given_back = lease(&mut tasks);
            tasks.spawn("sweep", async move {
                assert!(!panics, "this one panics");
            });
            let shutdown = CancellationToken::new();
            let error = run(tasks, shutdown.clone()).await.unwrap_err();
            assert!(format!("{error:#}").contains("\"sweep\""), "{error:#}");
            assert!(shutdown.is_cancelled(), "the server was not asked to drain");
            assert!(given_back.is_cancelled());
        }
    }

    #[tokio::test]
    async fn a_task_that_fails_ends_the_process_with_its_error() {
        let mut tasks = Tasks::new(&Readiness::default());
        tasks.spawn("watch", async { anyhow::bail!("no rights") });
        let error = run(tasks, CancellationToken::new()).await.unwrap_err();
        assert!(format!("{error:#}").ends_with("no rights"), "{error:#}");
    }

    #[tokio::test]
    async fn an_ordinary_end_is_no_failure() {
        let mut tasks = Tasks::new(&Readiness::default());
        let given_back = lease(&mut tasks);
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        run(tasks, shutdown).await.unwrap();
        assert!(given_back.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn one_deadline_bounds_the_server_and_the_tasks_and_the_lease_is_given_back() {
        let mut tasks = Tasks::new(&Readiness::default());
        let given_back = lease(&mut tasks);
        tasks.spawn("stuck", std::future::pending::<()>());
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let args = ServiceArgs {
            shutdown_deadline: Duration::from_secs(28),
            ..ServiceArgs::for_tests()
        };
        let began = Instant::now();
        supervise(&args, std::future::pending(), tasks, shutdown)
            .await
            .unwrap();
        // The clock is the paused one: it says what was waited for.
        assert_eq!(began.elapsed().as_secs(), 28);
        assert!(given_back.is_cancelled());
    }

    #[tokio::test]
    async fn the_gate_of_a_task_opens_when_it_says_so_and_closes_when_it_ends() {
        let readiness = Readiness::default();
        let mut tasks = Tasks::new(&readiness);
        let (opened, stop) = (CancellationToken::new(), tasks.stop());
        tasks.spawn_gated("records", opened.clone().cancelled_owned(), async move {
            stop.cancelled().await;
        });
        assert_eq!(readiness.closed(), ["records"]);
        let mut changes = readiness.subscribe();
        opened.cancel();
        while !changes.ready() {
            assert!(changes.changed().await);
        }
        tasks.join(Instant::now() + RESERVE).await.unwrap();
        assert_eq!(readiness.closed(), ["records"]);
    }
}
