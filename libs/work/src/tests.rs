//! The pool on a double of the work: what it does by itself, in paused time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cluster::{
    cache::Cache,
    records::Source,
    share::{Holder, Members},
};
use futures::future::{BoxFuture, FutureExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use service::context::RequestContext;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{Fault, Look, Metrics, Next, Pool, Presence, Seed, Settings, TimedOut, Turn, Work};

const SECOND: Duration = Duration::from_secs(1);

/// What a step of a record does, by the text in its data; it is done once the
/// text is `done`.
#[derive(Debug, Default)]
struct Double {
    store: Mutex<BTreeMap<String, ConfigMap>>,
    reads: AtomicUsize,
    /// Names of records, in the order of their steps.
    steps: Mutex<Vec<(String, Instant)>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    /// Steps of records that are held up wait for this.
    go_on: Notify,
    marks: Mutex<Vec<String>>,
    requests: Mutex<Vec<Option<String>>>,
}

struct Job {
    name: String,
    plan: String,
    turn: Turn,
    steps: usize,
    extra: Option<&'static str>,
    reports: watch::Sender<Vec<String>>,
}

impl Double {
    fn put(&self, name: &str, plan: &str) -> ConfigMap {
        let mut store = lock(&self.store);
        let version = store
            .get(name)
            .and_then(ConfigMap::resource_version)
            .and_then(|version| version.parse::<u64>().ok())
            .unwrap_or(0);
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.into());
        object.metadata.uid = Some("u".into());
        object.metadata.resource_version = Some((version + 1).to_string());
        object.data = Some([("plan".to_owned(), plan.to_owned())].into());
        store.insert(name.to_owned(), object.clone());
        object
    }

    fn steps_of(&self, name: &str) -> Vec<Instant> {
        lock(&self.steps)
            .iter()
            .filter(|(of, _)| of == name)
            .map(|(_, at)| *at)
            .collect()
    }
}

impl Source<ConfigMap> for Double {
    fn read<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ConfigMap>, cluster::Error>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let found = lock(&self.store).get(name).cloned();
        async move { Ok(found) }.boxed()
    }
}

fn text<'a>(object: &'a ConfigMap, key: &str) -> &'a str {
    let found = object.data.as_ref().and_then(|data| data.get(key));
    found.map(String::as_str).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Doing {
    double: Arc<Double>,
    cache: Cache<ConfigMap>,
}

impl Work for Doing {
    type Object = ConfigMap;
    type Extra = &'static str;
    type Report = Vec<String>;
    type Job = Job;

    fn driver<'a>(&self, object: &'a ConfigMap) -> Option<&'a str> {
        Some(text(object, "driver")).filter(|driver| !driver.is_empty())
    }

    fn needs_work(&self, object: &ConfigMap) -> Result<bool, Fault> {
        match text(object, "plan") {
            "malformed" => Err("read the plan".into()),
            plan => Ok(plan != "done"),
        }
    }

    async fn begin(
        &self,
        object: Arc<ConfigMap>,
        extra: Option<&'static str>,
        turn: Turn,
        reports: watch::Sender<Vec<String>>,
    ) -> Result<Option<Job>, Fault> {
        let plan = text(&object, "plan").to_owned();
        Ok((plan != "done").then(|| Job {
            name: object.name_any(),
            plan,
            turn,
            steps: 0,
            extra,
            reports,
        }))
    }

    async fn step(&self, job: &mut Job) -> Next {
        lock(&self.double.steps).push((job.name.clone(), Instant::now()));
        lock(&self.double.requests)
            .push(RequestContext::current().map(|context| context.request_id.to_string()));
        let now = self.double.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.double.most_at_once.fetch_max(now, Ordering::SeqCst);
        job.steps += 1;
        let next = match job.plan.as_str() {
            "slow" => {
                tokio::time::sleep(SECOND).await;
                self.cache.observe(self.double.put(&job.name, "done"));
                Next::Rest
            }
            "held up" => {
                self.double.go_on.notified().await;
                Next::Go
            }
            "aside" => {
                self.double.at_once.fetch_sub(1, Ordering::SeqCst);
                job.turn.aside(std::future::pending()).await;
                self.double.at_once.fetch_add(1, Ordering::SeqCst);
                Next::Go
            }
            "waits" => Next::Pause(None),
            "waits a moment" => Next::Pause(Some(Duration::from_millis(1))),
            // One step is done each time before the one that fails.
            "fails" if job.steps == 1 => Next::Go,
            "fails" => Next::Retry(None),
            "rereads" => Next::Reread,
            "panics" => panic!("a fault of the program"),
            _ => {
                let extra = job.extra.unwrap_or("read anew").to_owned();
                job.reports.send_modify(|report| report.push(extra));
                if job.plan == "report" {
                    self.cache.observe(self.double.put(&job.name, "done"));
                }
                Next::Rest
            }
        };
        self.double.at_once.fetch_sub(1, Ordering::SeqCst);
        next
    }

    async fn panicked(
        &self,
        object: Arc<ConfigMap>,
        text: &str,
        reports: &watch::Sender<Vec<String>>,
    ) {
        lock(&self.double.marks).push(format!("{}: {text}", object.name_any()));
        reports.send_modify(|report| report.push("panicked".to_owned()));
    }
}

struct Bench {
    double: Arc<Double>,
    cache: Cache<ConfigMap>,
    members: watch::Sender<Members>,
    lease: Holder,
    pool: Pool<Doing>,
    metrics: Metrics,
    stop: CancellationToken,
    run: JoinHandle<()>,
}

impl Bench {
    /// A pool that runs, alone, for records of these names and plans.
    async fn start(settings: Settings, records: &[(&str, &str)]) -> Self {
        let double = Arc::new(Double::default());
        let cache = Cache::synced_for_tests();
        for (name, plan) in records {
            cache.observe(double.put(name, plan));
        }
        let members = watch::Sender::new(Members::new("me", ["me".to_owned()]));
        let lease = Holder::default();
        lease.hold();
        let metrics = Metrics::default();
        let pool = Pool::<Doing>::new(
            cache.clone(),
            Arc::<Double>::clone(&double),
            members.subscribe(),
            lease.tenure(),
            settings,
            metrics.clone(),
        );
        let stop = CancellationToken::new();
        let work = Arc::new(Doing {
            double: Arc::clone(&double),
            cache: cache.clone(),
        });
        let run = tokio::spawn(pool.clone().run(work, stop.clone()));
        let bench = Self {
            double,
            cache,
            members,
            lease,
            pool,
            metrics,
            stop,
            run,
        };
        bench.settle().await;
        bench
    }

    /// Lets every task run until it waits.
    async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    fn put(&self, name: &str, plan: &str) {
        self.cache.observe(self.double.put(name, plan));
    }

    fn seed(&self, name: &str, extra: &'static str) -> Seed<ConfigMap, &'static str> {
        Seed {
            term: self.lease.tenure().now(),
            object: Arc::new(self.double.put(name, "report")),
            extra,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.run.await.unwrap();
    }
}

fn settings() -> Settings {
    Settings {
        // Out of the way of what is tested.
        tick: Duration::from_secs(1_000_000),
        ..Settings::default()
    }
}

fn others(own: &str, live: &[&str]) -> Members {
    Members::new(own, live.iter().map(|name| (*name).to_owned()))
}

#[tokio::test(start_paused = true)]
async fn what_needs_work_is_worked_on_once_and_what_rests_is_not() {
    let bench = Bench::start(settings(), &[("a", "report"), ("b", "done")]).await;
    assert_eq!(bench.double.steps_of("a").len(), 1);
    assert!(bench.double.steps_of("b").is_empty());
    bench.put("b", "report");
    bench.settle().await;
    assert_eq!(bench.double.steps_of("b").len(), 1);
    assert_eq!(
        bench.double.steps_of("a").len(),
        1,
        "nothing happened to it"
    );
    assert_eq!(bench.pool.in_work(), 0);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_tick_finds_what_only_time_brings_about() {
    let settings = Settings {
        tick: 60 * SECOND,
        ..settings()
    };
    let bench = Bench::start(settings, &[]).await;
    // Nothing to be done now, but it is not done for good.
    bench.put("a", "later");
    bench.settle().await;
    assert_eq!(bench.double.steps_of("a").len(), 1);
    tokio::time::sleep(61 * SECOND).await;
    assert_eq!(bench.double.steps_of("a").len(), 2);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn each_record_is_worked_on_by_its_owner_alone() {
    let names: Vec<String> = (0..40).map(|number| format!("r{number}")).collect();
    let bench = Bench::start(settings(), &[]).await;
    bench.members.send_replace(others("me", &["me", "other"]));
    bench.settle().await;
    for name in &names {
        bench.put(name, "report");
    }
    bench.settle().await;
    let worked: BTreeSet<String> = lock(&bench.double.steps)
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    let members = others("me", &["me", "other"]);
    let owned: BTreeSet<String> = names
        .iter()
        .filter(|name| members.owns(name))
        .cloned()
        .collect();
    assert_eq!(worked, owned);
    assert!(!owned.is_empty() && owned.len() < names.len());
    // The other one is gone: its part is ours.
    bench.members.send_replace(others("me", &["me"]));
    bench.settle().await;
    for name in &names {
        assert!(!bench.double.steps_of(name).is_empty(), "{name}");
    }
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_driver_of_a_request_works_on_its_record_while_it_lives() {
    let bench = Bench::start(settings(), &[]).await;
    bench.members.send_replace(others("me", &["me", "other"]));
    let mut object = bench.double.put("a", "report");
    let driver = |name: &str| ("driver".to_owned(), name.to_owned());
    object
        .data
        .get_or_insert_default()
        .extend([driver("other")]);
    lock(&bench.double.store).insert("a".into(), object.clone());
    bench.cache.observe(object);
    drop(bench.pool.ensure("a", None));
    bench.settle().await;
    assert!(bench.double.steps_of("a").is_empty());
    bench.members.send_replace(others("me", &["me"]));
    bench.settle().await;
    assert_eq!(bench.double.steps_of("a").len(), 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_moves_is_left_between_two_steps_and_never_in_one() {
    let bench = Bench::start(settings(), &[("a", "held up")]).await;
    assert_eq!(bench.double.steps_of("a").len(), 1);
    bench.members.send_replace(others("me", &["other"]));
    bench.settle().await;
    assert_eq!(bench.pool.in_work(), 1, "its step goes on");
    bench.double.go_on.notify_one();
    bench.settle().await;
    assert_eq!(bench.pool.in_work(), 0);
    assert_eq!(bench.double.steps_of("a").len(), 1, "no second step");
    assert_eq!(
        bench.double.at_once.load(Ordering::SeqCst),
        0,
        "the first one ended"
    );
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_gap_in_the_lease_work_starts_over_from_a_fresh_read() {
    let bench = Bench::start(settings(), &[("a", "held up")]).await;
    assert_eq!(bench.double.reads.load(Ordering::SeqCst), 1);
    // The same term: the same job.
    bench.double.go_on.notify_one();
    bench.settle().await;
    assert_eq!(bench.double.reads.load(Ordering::SeqCst), 1);
    assert_eq!(bench.double.steps_of("a").len(), 2);
    // Another one began while the step was done.
    bench.lease.lose();
    bench.lease.hold();
    bench.double.go_on.notify_one();
    bench.settle().await;
    assert_eq!(bench.double.reads.load(Ordering::SeqCst), 2);
    // None: nothing is done.
    bench.lease.lose();
    bench.double.go_on.notify_one();
    bench.settle().await;
    let steps = bench.double.steps_of("a").len();
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(bench.double.steps_of("a").len(), steps);
    bench.lease.hold();
    bench.settle().await;
    assert_eq!(bench.double.steps_of("a").len(), steps + 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_seed_saves_the_read_in_the_term_that_it_was_written_in_only() {
    let bench = Bench::start(settings(), &[]).await;
    let reports = bench
        .pool
        .ensure("a", Some(bench.seed("a", "of the request")));
    bench.settle().await;
    assert_eq!(*reports.borrow(), ["of the request"]);
    assert_eq!(bench.double.reads.load(Ordering::SeqCst), 0);

    let seed = bench.seed("b", "old");
    bench.lease.lose();
    bench.lease.hold();
    let reports = bench.pool.ensure("b", Some(seed));
    bench.settle().await;
    assert_eq!(*reports.borrow(), ["read anew"]);
    assert_eq!(bench.double.reads.load(Ordering::SeqCst), 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_request_is_begun_with_even_while_its_record_waits() {
    let bench = Bench::start(settings(), &[("a", "waits")]).await;
    let reports = bench
        .pool
        .ensure("a", Some(bench.seed("a", "of the request")));
    bench.settle().await;
    assert_eq!(*reports.borrow(), ["of the request"]);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_are_worked_on_at_once() {
    let names: Vec<String> = (0..30).map(|number| format!("r{number}")).collect();
    let records: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "slow")).collect();
    let settings = Settings {
        at_once: 3,
        ..settings()
    };
    let bench = Bench::start(settings, &records).await;
    assert_eq!(bench.double.at_once.load(Ordering::SeqCst), 3);
    assert_eq!(bench.metrics.active.get(), 3);
    tokio::time::sleep(15 * SECOND).await;
    assert_eq!(bench.double.most_at_once.load(Ordering::SeqCst), 3);
    for name in &names {
        assert_eq!(bench.double.steps_of(name).len(), 1, "{name}");
    }
    assert_eq!(bench.metrics.active.get(), 0);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn records_that_wait_take_no_place_from_others() {
    let settings = Settings {
        at_once: 1,
        ..settings()
    };
    let waiting = [
        ("a", "waits"),
        ("b", "aside"),
        ("c", "fails"),
        ("d", "panics"),
    ];
    let bench = Bench::start(settings, &waiting).await;
    for (name, _) in waiting {
        assert!(!bench.double.steps_of(name).is_empty(), "{name}");
    }
    bench.put("z", "report");
    bench.settle().await;
    assert_eq!(bench.double.steps_of("z").len(), 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_with_each_failure_though_the_steps_before_succeed() {
    let bench = Bench::start(settings(), &[("a", "fails")]).await;
    tokio::time::sleep(120 * SECOND).await;
    let steps = bench.double.steps_of("a");
    let pauses: Vec<Duration> = steps
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .filter(|pause| !pause.is_zero())
        .collect();
    let (first, longest) = settings().retry;
    assert!(pauses[0] < 3 * first, "{pauses:?}");
    assert!(
        pauses.iter().all(|pause| *pause <= longest + SECOND),
        "{pauses:?}"
    );
    assert!(
        pauses[8..].iter().all(|pause| *pause >= longest / 2),
        "{pauses:?}"
    );
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_a_pause_and_a_limit_shortens_it() {
    let bench = Bench::start(settings(), &[("a", "waits"), ("b", "waits a moment")]).await;
    tokio::time::sleep(100 * SECOND).await;
    let before = bench.double.steps_of("a").len();
    bench.put("a", "waits");
    bench.settle().await;
    assert_eq!(bench.double.steps_of("a").len(), before + 1);
    assert!(bench.double.steps_of("b").len() > 1000);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_read_over_again_and_again_pauses_too() {
    let bench = Bench::start(settings(), &[("a", "rereads")]).await;
    assert_eq!(
        bench.double.steps_of("a").len(),
        2,
        "at once the first time only"
    );
    tokio::time::sleep(60 * SECOND).await;
    assert!(bench.double.steps_of("a").len() < 30);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_marks_its_record_and_pauses_ever_longer() {
    let bench = Bench::start(settings(), &[("a", "panics"), ("b", "report")]).await;
    assert_eq!(lock(&bench.double.marks)[..], ["a: a fault of the program"]);
    assert_eq!(bench.double.steps_of("b").len(), 1, "others are worked on");
    let reports = bench.pool.ensure("a", None);
    // Neither a change (its own mark is one) nor a request shortens the pause.
    for _ in 0..20 {
        bench.put("a", "panics");
        bench.settle().await;
    }
    assert_eq!(bench.double.steps_of("a").len(), 1);
    tokio::time::sleep(3600 * SECOND).await;
    let steps = bench.double.steps_of("a");
    let pauses: Vec<Duration> = steps.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (first, longest) = settings().panic;
    assert!((first..=2 * first).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.last().unwrap() >= &(longest / 2), "{pauses:?}");
    assert_eq!(bench.metrics.panics.get(), steps.len() as u64);
    assert!(reports.borrow().iter().all(|report| report == "panicked"));
    // Mended: it goes on by itself.
    bench.put("a", "report");
    tokio::time::sleep(longest).await;
    assert_eq!(reports.borrow().last().unwrap(), "read anew");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_harms_itself_alone() {
    let bench = Bench::start(settings(), &[("a", "malformed"), ("b", "report")]).await;
    assert!(bench.double.steps_of("a").is_empty());
    assert_eq!(bench.double.steps_of("b").len(), 1);
    assert_eq!(bench.metrics.unreadable.get(), 1);
    bench.put("a", "report");
    bench.settle().await;
    assert_eq!(bench.double.steps_of("a").len(), 1);
    assert_eq!(bench.metrics.unreadable.get(), 0);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_work_is_part_of_the_request_that_caused_it() {
    let bench = Bench::start(settings(), &[("a", "waits")]).await;
    let context = |id: &str| RequestContext::new(id);
    let begin = async {
        drop(bench.pool.ensure("a", Some(bench.seed("a", "x"))));
        drop(bench.pool.ensure("b", Some(bench.seed("b", "x"))));
    };
    context("r-1").scope(begin).await;
    // Who only joins is not the cause.
    context("r-2")
        .scope(async { drop(bench.pool.ensure("a", None)) })
        .await;
    bench.settle().await;
    let requests = lock(&bench.double.requests).clone();
    assert_eq!(requests[0], None, "nobody asked for that");
    let of_request: Vec<_> = requests[1..].iter().flatten().collect();
    assert_eq!(of_request, ["r-1", "r-1"]);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_learns_of_an_end_wherever_it_came_about() {
    let bench = Bench::start(settings(), &[]).await;
    let later = || Instant::now() + 30 * SECOND;
    let reported = |look: Look<'_, Doing>| look.report.last().cloned();
    let reports = bench.pool.ensure("a", Some(bench.seed("a", "here")));
    let here = bench.pool.settled("a", reports, later(), reported).await;
    assert_eq!(here.unwrap(), "here");

    // Another replica works on it: the watch shows its end ...
    bench.members.send_replace(others("me", &["other"]));
    bench.settle().await;
    let done = |look: Look<'_, Doing>| {
        let done = look
            .object
            .is_some_and(|object| text(object, "plan") == "done");
        done.then(|| assert_eq!(look.worker, Presence::Elsewhere))
    };
    for watched in ["yes", "no"] {
        bench.put(watched, "waits");
        let reports = bench.pool.ensure(watched, None);
        let wait = bench.pool.settled(watched, reports, later(), done);
        let end = async {
            tokio::time::sleep(SECOND / 2).await;
            let object = bench.double.put(watched, "done");
            // ... or, if it is behind, a read does.
            if watched == "yes" {
                bench.cache.observe(object);
            }
        };
        let begun = Instant::now();
        let (settled, ()) = tokio::join!(wait, end);
        settled.unwrap();
        assert_eq!(begun.elapsed() < SECOND, watched == "yes");
    }

    bench.put("b", "waits");
    let reports = bench.pool.ensure("b", None);
    let begun = Instant::now();
    let late = bench.pool.settled("b", reports, later(), done).await;
    assert_eq!((late, begun.elapsed()), (Err(TimedOut), 30 * SECOND));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_process_waits_for_steps_but_not_for_ever() {
    let bench = Bench::start(settings(), &[("a", "slow"), ("b", "waits")]).await;
    let double = Arc::clone(&bench.double);
    let begun = Instant::now();
    bench.end().await;
    assert_eq!(begun.elapsed(), SECOND);
    assert_eq!(
        double.at_once.load(Ordering::SeqCst),
        0,
        "the step was finished"
    );

    let bench = Bench::start(settings(), &[("a", "held up")]).await;
    let begun = Instant::now();
    bench.end().await;
    assert_eq!(begun.elapsed(), settings().last_step);
}
