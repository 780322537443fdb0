//! Bindings that end by themselves: when they do, what is told of it, and the
//! end itself. At `expires_at` the login's user is dropped; the record stays
//! as it is, so that the platform unbinds it as any other (ROT-07).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use plan::Bundle;
use service::telemetry::chain;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    error::Error,
    ledger::Record,
    resource::{Phase, ServiceBindingSpec},
    work::method::{self, Place, Session},
};

/// Between looks for what is over.
const TICK: Duration = Duration::from_secs(1);
/// Until a database that did not answer is tried again.
const PAUSE: Duration = Duration::from_secs(30);
/// Logins that are ended at the same time.
const AT_ONCE: usize = 16;

/// How long a binding that is made now lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) renew_before: Option<Timestamp>,
}

impl Lifetime {
    /// By the plan's word.
    pub(crate) fn of(bundle: &Bundle, now: Timestamp) -> Self {
        Self::new(
            bundle.binding_expires_in(),
            bundle.binding_renew_before(),
            now,
        )
    }

    fn new(whole: Option<Duration>, buffer: Option<Duration>, now: Timestamp) -> Self {
        let signed = |span: Duration| SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
        // One that outlasts the calendar does not end.
        let expires_at = whole.and_then(|span| now.checked_add(signed(span)).ok());
        let renew_before = expires_at
            .zip(buffer)
            .and_then(|(end, span)| end.checked_sub(signed(span)).ok());
        Self {
            expires_at,
            renew_before,
        }
    }
}

/// As OSB writes it: with a fraction and `Z` (BND-19). Empty for none.
pub(crate) fn shown(time: Option<Timestamp>) -> String {
    time.map(|time| format!("{time:.1}")).unwrap_or_default()
}

/// Whether the binding's time is over.
pub(crate) fn is_over(spec: &ServiceBindingSpec, now: Timestamp) -> bool {
    spec.expires_at.is_some_and(|end| end <= now)
}

/// Runs until `stop`. What was ended is remembered in memory only: to drop a
/// user that is not there does no harm.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let mut ended: HashSet<String> = HashSet::new();
    let mut failed: HashMap<String, Instant> = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let due = due(&context);
        let lives: HashSet<String> = due.iter().map(life).collect();
        ended.retain(|life| lives.contains(life));
        failed.retain(|life, since| lives.contains(life) && since.elapsed() < PAUSE);
        let open: Vec<Record> = due
            .into_iter()
            .filter(|record| {
                let life = life(record);
                !ended.contains(&life) && !failed.contains_key(&life)
            })
            .collect();
        let tried: Vec<(String, Result<(), Error>)> = stream::iter(open)
            .map(|record| end(&context, record))
            .buffer_unordered(AT_ONCE)
            .take_until(stop.cancelled())
            .collect()
            .await;
        for (life, outcome) in tried {
            match outcome {
                Ok(()) => {
                    ended.insert(life);
                }
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        "expired login not revoked; trying again"
                    );
                    failed.insert(life, Instant::now());
                }
            }
        }
    }
}

/// Tells lives of a binding apart.
fn life(record: &Record) -> String {
    record.spec().incarnation.clone()
}

/// Ready bindings of this replica whose time is over.
fn due(context: &Context) -> Vec<Record> {
    let now = Timestamp::now();
    let members = context.members.borrow().clone();
    context
        .cache
        .all()
        .into_iter()
        .filter(|object| is_over(&object.spec, now))
        .filter_map(|object| Record::read(object.as_ref().clone()).ok())
        .filter(|record| record.phase() == Phase::Ready && members.owns(record.name()))
        .collect()
}

async fn end(context: &Context, record: Record) -> (String, Result<(), Error>) {
    (life(&record), drop_login(context, &record).await)
}

async fn drop_login(context: &Context, record: &Record) -> Result<(), Error> {
    let spec = record.spec();
    let Some(attempt) = &record.ledger.attempt else {
        return Ok(());
    };
    let instance = context.instances.get(&spec.instance_id).await?;
    // An instance that is gone took its users along.
    let Some(instance) =
        instance.filter(|instance| instance.incarnation == spec.instance_incarnation)
    else {
        return Ok(());
    };
    let plan = context.bundles.get(&instance.bundle_digest).await?;
    let place = Place {
        context,
        instance: &instance,
        plan,
        session: Session::Kept,
    };
    let method = method::of(spec.method);
    method.revoke(&place, &attempt.login.user).await?;
    tracing::info!(
        instance.id = spec.instance_id,
        binding.id = spec.binding_id,
        "expired login revoked"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, at};

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_binding_ends_and_is_renewed_before_that() {
        let none = Lifetime::new(None, Some(HOUR), at(0));
        assert_eq!((none.expires_at, none.renew_before), (None, None));
        let both = Lifetime::new(Some(2 * HOUR), Some(HOUR), at(0));
        assert_eq!(both.expires_at, Some(at(7200)));
        assert_eq!(both.renew_before, Some(at(3600)));
        let endless = Lifetime::new(Some(Duration::MAX), None, at(0));
        assert_eq!(endless.expires_at, None);
    }

    #[test]
    fn times_have_a_fraction_and_a_z() {
        assert_eq!(shown(None), "");
        assert_eq!(shown(Some(at(0))), "1970-01-12T13:46:40.0Z");
    }

    #[test]
    fn a_binding_is_over_at_its_end_and_not_before() {
        let mut spec = testing::ready().spec().clone();
        assert!(!is_over(&spec, Timestamp::MAX));
        spec.expires_at = Some(at(9));
        assert!(!is_over(&spec, at(8)));
        assert!(is_over(&spec, at(9)));
    }
}
