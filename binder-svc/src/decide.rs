//! How a request is answered, as pure functions: the decision order of OSB
//! (lookup, AsyncRequired, existence, identity, busy, unsupported) over the
//! record, the instance and its plan.

use broker_proto::{
    Error, ErrorCode,
    v1::{CatalogVerdict, InstancePhase, catalog_verdict},
};

use crate::{
    ledger::Record,
    resource::{Kind, Phase},
};

/// Whether the platform can poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// `accepts_incomplete=true`.
    Polls,
    /// The answer must be final.
    Waits,
}

/// A bind, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Bind<'a> {
    /// Empty only in a rotation.
    pub service_id: &'a str,
    /// Empty only in a rotation.
    pub plan_id: &'a str,
    /// Whether it names a predecessor.
    pub rotation: bool,
    /// Whether it names an application; a rotation takes its predecessor's.
    pub names_app: bool,
    /// Whether the platform can poll.
    pub patience: Patience,
    /// Today's catalog on the ids.
    pub verdict: Option<&'a CatalogVerdict>,
}

/// The instance, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Instance<'a> {
    /// Where it is in its life.
    pub phase: InstancePhase,
    /// Its offering.
    pub service_id: &'a str,
    /// Its plan.
    pub plan_id: &'a str,
    /// Which life of it.
    pub incarnation: &'a str,
    /// Its pinned plan; absent before its first success.
    pub plan: Option<Plan>,
}

/// The pinned plan, as far as it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Who makes logins.
    pub method: Method,
    /// Only with polling.
    pub asynchronous: bool,
    /// Takes a predecessor.
    pub rotatable: bool,
    /// Only for an application.
    pub requires_app: bool,
}

/// Who makes logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// We do, in the database.
    Database,
    /// Not offered by this version of the broker.
    Resources,
    /// The plan is not bindable.
    None,
}

/// A binding that has a record.
#[derive(Debug, Clone, Copy)]
pub struct Existing<'a> {
    /// Where it is in its life.
    pub phase: Phase,
    /// Of the instance that it belongs to.
    pub instance_incarnation: &'a str,
    /// Whether it is what the bind asks for; only looked at while the binding lives.
    pub same: bool,
}

/// What to do about a bind.
#[derive(Debug, PartialEq, Eq)]
pub enum BindDecision {
    /// A record is to be made, or a tombstone to be replaced.
    Create,
    /// It exists: its credentials are the answer.
    Unchanged,
    /// It is being made: the same operation is the answer.
    Join,
}

/// What to do about an unbind.
#[derive(Debug, PartialEq, Eq)]
pub enum UnbindDecision {
    /// Begin.
    Start,
    /// It is under way.
    Join,
}

/// How a bind is answered.
pub fn bind(
    asked: &Bind<'_>,
    instance: Option<&Instance<'_>>,
    existing: Option<&Existing<'_>>,
) -> Result<BindDecision, Error> {
    let instance = instance.filter(|found| found.phase != InstancePhase::Deleted);
    let Some(instance) = instance else {
        catalog_lookup(asked)?;
        async_required(
            asked,
            asked.verdict.is_some_and(|verdict| verdict.binding_async),
        )?;
        return Err(Error::new(
            ErrorCode::NotFound,
            "There is no such service instance.",
        ));
    };
    let live = existing.filter(|found| !is_gone(found.phase));
    if live.is_none() {
        instance_lookup(asked, instance)?;
    }
    async_required(asked, instance.plan.is_some_and(|plan| plan.asynchronous))?;
    if let Some(existing) = live {
        return identity(existing, instance);
    }
    busy(instance.phase)?;
    supported(asked, instance.plan)?;
    Ok(BindDecision::Create)
}

fn is_gone(phase: Phase) -> bool {
    matches!(phase, Phase::Deleted | Phase::RevocationPending)
}

/// Without a record, today's catalog says which ids there are.
fn catalog_lookup(asked: &Bind<'_>) -> Result<(), Error> {
    if asked.rotation && asked.service_id.is_empty() {
        return Ok(());
    }
    let outcome = asked
        .verdict
        .map(CatalogVerdict::outcome)
        .unwrap_or_default();
    match outcome {
        catalog_verdict::Outcome::Found => Ok(()),
        catalog_verdict::Outcome::Unspecified | catalog_verdict::Outcome::UnknownService => {
            Err(Error::new(
                ErrorCode::UnknownService,
                "There is no such service in the catalog.",
            ))
        }
        catalog_verdict::Outcome::UnknownPlan => Err(Error::new(
            ErrorCode::UnknownPlan,
            "The service has no such plan.",
        )),
    }
}

/// With a record, it says so.
fn instance_lookup(asked: &Bind<'_>, instance: &Instance<'_>) -> Result<(), Error> {
    let unsaid = |text: &str| asked.rotation && text.is_empty();
    if !unsaid(asked.service_id) && asked.service_id != instance.service_id {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            "service_id is not the service of this instance.",
        ));
    }
    if !unsaid(asked.plan_id) && asked.plan_id != instance.plan_id {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            "plan_id is not the plan of this instance.",
        ));
    }
    Ok(())
}

fn async_required(asked: &Bind<'_>, asynchronous: bool) -> Result<(), Error> {
    needs_polling(asked.patience, asynchronous)
}

fn needs_polling(patience: Patience, asynchronous: bool) -> Result<(), Error> {
    if asynchronous && patience == Patience::Waits {
        return Err(Error::new(
            ErrorCode::AsyncRequired,
            "This plan binds asynchronously; send accepts_incomplete=true.",
        ));
    }
    Ok(())
}

fn identity(existing: &Existing<'_>, instance: &Instance<'_>) -> Result<BindDecision, Error> {
    if existing.instance_incarnation != instance.incarnation {
        return Err(concurrency(
            "What an earlier instance of this id left is still being removed.",
        ));
    }
    let conflict = || {
        Error::new(
            ErrorCode::Conflict,
            "The binding exists with other attributes.",
        )
    };
    match existing.phase {
        Phase::Binding if existing.same => Ok(BindDecision::Join),
        Phase::Ready if existing.same => Ok(BindDecision::Unchanged),
        Phase::Binding | Phase::Ready => Err(conflict()),
        Phase::Failed => Err(Error::new(
            ErrorCode::Conflict,
            "The binding exists and failed; delete it before another try.",
        )),
        Phase::Unbinding => Err(concurrency("The binding is being deleted.")),
        Phase::Deleted | Phase::RevocationPending => Ok(BindDecision::Create),
    }
}

fn busy(phase: InstancePhase) -> Result<(), Error> {
    match phase {
        InstancePhase::Ready | InstancePhase::UpdateFailed => Ok(()),
        InstancePhase::Provisioning => Err(concurrency("The instance is being provisioned.")),
        InstancePhase::Updating => Err(concurrency("The instance is being updated.")),
        InstancePhase::Deprovisioning | InstancePhase::DeprovisionFailed => {
            Err(concurrency("The instance is being deleted."))
        }
        InstancePhase::ProvisionFailed => Err(Error::new(
            ErrorCode::NotFound,
            "The instance could not be provisioned.",
        )),
        InstancePhase::Deleted | InstancePhase::Unspecified => Err(Error::new(
            ErrorCode::NotFound,
            "There is no such service instance.",
        )),
    }
}

fn supported(asked: &Bind<'_>, plan: Option<Plan>) -> Result<(), Error> {
    let not_bindable = |text: &str| Error::new(ErrorCode::NotBindable, text);
    let Some(plan) = plan else {
        return Err(Error::unavailable("The instance's plan"));
    };
    match plan.method {
        Method::Database => {}
        Method::Resources => {
            return Err(not_bindable(
                "This broker does not make bindings of this plan's method.",
            ));
        }
        Method::None => return Err(not_bindable("This plan is not bindable.")),
    }
    if asked.rotation && !plan.rotatable {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            "Bindings of this plan cannot be rotated; predecessor_binding_id must be absent.",
        ));
    }
    if plan.requires_app && !asked.names_app && !asked.rotation {
        return Err(Error::new(
            ErrorCode::RequiresApp,
            "This plan binds applications only; send bind_resource.app_guid.",
        ));
    }
    Ok(())
}

fn concurrency(message: &str) -> Error {
    Error::new(ErrorCode::ConcurrencyError, message)
}

/// An unbind, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Unbind<'a> {
    /// May be empty.
    pub service_id: &'a str,
    /// May be empty.
    pub plan_id: &'a str,
    /// Whether the platform can poll.
    pub patience: Patience,
    /// Whether the plan only works with polling.
    pub asynchronous: bool,
}

/// How an unbind is answered. The plan is not compared: after a failed update
/// the platform's view of it may differ, and strictness would block clean-up.
pub fn unbind(
    asked: &Unbind<'_>,
    phase: Option<Phase>,
    service_id: Option<&str>,
) -> Result<UnbindDecision, Error> {
    let live = phase.filter(|phase| !is_gone(*phase));
    // 410 comes before what is wrong with the ids, only here.
    if live.is_some() {
        for (name, value) in [("service_id", asked.service_id), ("plan_id", asked.plan_id)] {
            if value.is_empty() {
                return Err(Error::new(
                    ErrorCode::InvalidArgument,
                    format!("{name} is required."),
                ));
            }
        }
        if service_id.is_some_and(|known| known != asked.service_id) {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                "service_id is not the service of this binding.",
            ));
        }
    }
    needs_polling(asked.patience, asked.asynchronous)?;
    match live {
        None => Err(Error::new(ErrorCode::Gone, "There is no such binding.")),
        Some(Phase::Unbinding) => Ok(UnbindDecision::Join),
        Some(_) => Ok(UnbindDecision::Start),
    }
}

/// Whether a binding can be fetched.
pub fn fetch(phase: Option<Phase>) -> Result<(), Error> {
    match phase {
        Some(Phase::Ready) => Ok(()),
        Some(Phase::Unbinding) => Err(concurrency("The binding is being deleted.")),
        Some(Phase::Binding) => Err(Error::new(
            ErrorCode::NotFound,
            "The binding is still being made.",
        )),
        Some(Phase::Failed) => Err(Error::new(ErrorCode::NotFound, "The binding was not made.")),
        Some(Phase::Deleted | Phase::RevocationPending) | None => {
            Err(Error::new(ErrorCode::NotFound, "There is no such binding."))
        }
    }
}

/// What a poll says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// The operation that it speaks of.
    pub operation: String,
    /// Absent while it runs, else whether it succeeded.
    pub succeeded: Option<bool>,
    /// For the user; may be empty.
    pub description: String,
}

/// How the operation of that id fares; the newest one if the id is empty or
/// none of ours (some platforms send a word of their own).
pub fn poll(record: &Record, operation: &str) -> Polled {
    let newest = record.operation();
    let ended = record.ledger.history.get(operation);
    if let Some(ended) = ended.or_else(|| record.ledger.history.get(&newest.id)) {
        return Polled {
            operation: ended.id.clone(),
            succeeded: Some(ended.succeeded),
            description: ended.description.clone(),
        };
    }
    let description = match newest.kind {
        Kind::Bind => "The login is being made.",
        Kind::Unbind => "The login is being revoked.",
    };
    Polled {
        operation: newest.id.clone(),
        succeeded: None,
        description: description.to_owned(),
    }
}

/// Whether a record that may be behind can answer the poll of an operation:
/// it must know how that very operation ended. "In progress" may be old: another
/// replica may have told more.
pub fn cache_can_answer(record: &Record, operation: &str) -> bool {
    record.ledger.history.get(operation).is_some()
}

#[cfg(test)]
mod tests {
    use cluster::operation::Ended;
    use jiff::SignedDuration;

    use super::*;
    use crate::testing;

    static FOUND: CatalogVerdict = CatalogVerdict {
        outcome: catalog_verdict::Outcome::Found as i32,
        bundle_digest: String::new(),
        maintenance_version: String::new(),
        provision_async: false,
        binding_async: false,
        not_orderable_reason: String::new(),
        allow_context_updates: false,
    };

    const PLAN: Plan = Plan {
        method: Method::Database,
        asynchronous: false,
        rotatable: true,
        requires_app: false,
    };

    fn asked() -> Bind<'static> {
        Bind {
            service_id: "s1",
            plan_id: "p1",
            rotation: false,
            names_app: false,
            patience: Patience::Waits,
            verdict: Some(&FOUND),
        }
    }

    fn instance(phase: InstancePhase) -> Instance<'static> {
        Instance {
            phase,
            service_id: "s1",
            plan_id: "p1",
            incarnation: "inc1",
            plan: Some(PLAN),
        }
    }

    fn existing(phase: Phase, same: bool) -> Existing<'static> {
        Existing {
            phase,
            instance_incarnation: "inc1",
            same,
        }
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
        result.unwrap_err().code
    }

    #[test]
    fn a_new_bind_needs_an_instance_that_takes_bindings() {
        use ErrorCode as E;
        use InstancePhase as P;
        let answer = |phase| bind(&asked(), Some(&instance(phase)), None);
        assert_eq!(answer(P::Ready), Ok(BindDecision::Create));
        assert_eq!(answer(P::UpdateFailed), Ok(BindDecision::Create));
        for (phase, expected) in [
            (P::Provisioning, E::ConcurrencyError),
            (P::Updating, E::ConcurrencyError),
            (P::Deprovisioning, E::ConcurrencyError),
            (P::DeprovisionFailed, E::ConcurrencyError),
            (P::ProvisionFailed, E::NotFound),
            (P::Deleted, E::NotFound),
        ] {
            assert_eq!(code(answer(phase)), expected, "{phase:?}");
        }
        assert_eq!(code(bind(&asked(), None, None)), E::NotFound);
    }

    #[test]
    fn without_an_instance_the_catalog_decides_on_the_ids() {
        use catalog_verdict::Outcome as O;
        for (outcome, expected) in [
            (O::UnknownService, ErrorCode::UnknownService),
            (O::UnknownPlan, ErrorCode::UnknownPlan),
            (O::Found, ErrorCode::NotFound),
        ] {
            let verdict = CatalogVerdict {
                outcome: outcome.into(),
                ..FOUND.clone()
            };
            let asked = Bind {
                verdict: Some(&verdict),
                ..asked()
            };
            assert_eq!(code(bind(&asked, None, None)), expected);
        }
        let verdict = CatalogVerdict {
            binding_async: true,
            ..FOUND.clone()
        };
        let asked = Bind {
            verdict: Some(&verdict),
            ..asked()
        };
        assert_eq!(code(bind(&asked, None, None)), ErrorCode::AsyncRequired);
    }

    #[test]
    fn an_existing_binding_is_compared_before_anything_else_is() {
        use BindDecision as D;
        for phase in [
            InstancePhase::Ready,
            InstancePhase::Updating,
            InstancePhase::Deprovisioning,
        ] {
            let answer = |existing| bind(&asked(), Some(&instance(phase)), Some(&existing));
            assert_eq!(answer(existing(Phase::Ready, true)), Ok(D::Unchanged));
            assert_eq!(
                code(answer(existing(Phase::Ready, false))),
                ErrorCode::Conflict
            );
            assert_eq!(answer(existing(Phase::Binding, true)), Ok(D::Join));
            assert_eq!(
                code(answer(existing(Phase::Binding, false))),
                ErrorCode::Conflict
            );
            for same in [true, false] {
                assert_eq!(
                    code(answer(existing(Phase::Failed, same))),
                    ErrorCode::Conflict
                );
                assert_eq!(
                    code(answer(existing(Phase::Unbinding, same))),
                    ErrorCode::ConcurrencyError
                );
            }
        }
        // A plan that is not the instance's is a difference, not a bad request.
        let other = Bind {
            plan_id: "p2",
            ..asked()
        };
        let found = existing(Phase::Ready, false);
        let answer = bind(&other, Some(&instance(InstancePhase::Ready)), Some(&found));
        assert_eq!(code(answer), ErrorCode::Conflict);
    }

    #[test]
    fn a_tombstone_is_as_if_it_was_never_there() {
        for phase in [Phase::Deleted, Phase::RevocationPending] {
            let found = existing(phase, false);
            let answer = bind(
                &asked(),
                Some(&instance(InstancePhase::Ready)),
                Some(&found),
            );
            assert_eq!(answer, Ok(BindDecision::Create));
        }
    }

    #[test]
    fn what_an_earlier_instance_left_is_not_the_new_ones() {
        let mut found = existing(Phase::Ready, true);
        found.instance_incarnation = "inc0";
        let answer = bind(
            &asked(),
            Some(&instance(InstancePhase::Ready)),
            Some(&found),
        );
        assert_eq!(code(answer), ErrorCode::ConcurrencyError);
    }

    #[test]
    fn ids_of_another_plan_are_a_bad_request() {
        for wrong in [
            Bind {
                service_id: "x",
                ..asked()
            },
            Bind {
                plan_id: "x",
                ..asked()
            },
        ] {
            let answer = bind(&wrong, Some(&instance(InstancePhase::Ready)), None);
            assert_eq!(code(answer), ErrorCode::InvalidArgument);
        }
        let rotation = Bind {
            service_id: "",
            plan_id: "",
            rotation: true,
            ..asked()
        };
        let answer = bind(&rotation, Some(&instance(InstancePhase::Ready)), None);
        assert_eq!(answer, Ok(BindDecision::Create));
    }

    #[test]
    fn an_asynchronous_plan_wants_polling_whatever_exists() {
        let mut target = instance(InstancePhase::Ready);
        target.plan = Some(Plan {
            asynchronous: true,
            ..PLAN
        });
        let found = existing(Phase::Ready, true);
        for existing in [None, Some(&found)] {
            assert_eq!(
                code(bind(&asked(), Some(&target), existing)),
                ErrorCode::AsyncRequired
            );
        }
        let polls = Bind {
            patience: Patience::Polls,
            ..asked()
        };
        assert_eq!(bind(&polls, Some(&target), None), Ok(BindDecision::Create));
    }

    #[test]
    fn what_a_plan_cannot_do_is_refused() {
        for (plan, rotation, expected) in [
            (
                Plan {
                    method: Method::None,
                    ..PLAN
                },
                false,
                ErrorCode::NotBindable,
            ),
            (
                Plan {
                    method: Method::Resources,
                    ..PLAN
                },
                false,
                ErrorCode::NotBindable,
            ),
            (
                Plan {
                    rotatable: false,
                    ..PLAN
                },
                true,
                ErrorCode::InvalidArgument,
            ),
            (
                Plan {
                    requires_app: true,
                    ..PLAN
                },
                false,
                ErrorCode::RequiresApp,
            ),
        ] {
            let mut target = instance(InstancePhase::Ready);
            target.plan = Some(plan);
            let asked = Bind {
                rotation,
                ..asked()
            };
            assert_eq!(code(bind(&asked, Some(&target), None)), expected);
        }
    }

    #[test]
    fn an_unbind_of_nothing_is_gone_before_its_ids_are_looked_at() {
        let nothing = Unbind {
            service_id: "",
            plan_id: "",
            patience: Patience::Waits,
            asynchronous: false,
        };
        for phase in [None, Some(Phase::Deleted), Some(Phase::RevocationPending)] {
            assert_eq!(code(unbind(&nothing, phase, Some("s1"))), ErrorCode::Gone);
        }
        assert_eq!(
            code(unbind(&nothing, Some(Phase::Ready), Some("s1"))),
            ErrorCode::InvalidArgument
        );
        let asynchronous = Unbind {
            asynchronous: true,
            ..nothing
        };
        assert_eq!(
            code(unbind(&asynchronous, None, None)),
            ErrorCode::AsyncRequired
        );
    }

    #[test]
    fn an_unbind_is_accepted_in_every_phase_of_a_living_binding() {
        let asked = Unbind {
            service_id: "s1",
            plan_id: "another",
            patience: Patience::Waits,
            asynchronous: false,
        };
        for phase in [Phase::Binding, Phase::Ready, Phase::Failed] {
            assert_eq!(
                unbind(&asked, Some(phase), Some("s1")),
                Ok(UnbindDecision::Start)
            );
        }
        assert_eq!(
            unbind(&asked, Some(Phase::Unbinding), Some("s1")),
            Ok(UnbindDecision::Join)
        );
        let other = Unbind {
            service_id: "s2",
            ..asked
        };
        assert_eq!(
            code(unbind(&other, Some(Phase::Ready), Some("s1"))),
            ErrorCode::InvalidArgument
        );
    }

    #[test]
    fn only_a_ready_binding_can_be_fetched() {
        assert!(fetch(Some(Phase::Ready)).is_ok());
        assert_eq!(
            code(fetch(Some(Phase::Unbinding))),
            ErrorCode::ConcurrencyError
        );
        for phase in [
            None,
            Some(Phase::Binding),
            Some(Phase::Failed),
            Some(Phase::Deleted),
        ] {
            assert_eq!(code(fetch(phase)), ErrorCode::NotFound);
        }
    }

    #[test]
    fn a_poll_answers_for_the_operation_it_names_else_for_the_newest() {
        let mut record = testing::unbinding();
        assert_eq!(poll(&record, "bind-1-aaaa").succeeded, Some(true));
        for newest in ["", "unbind-2-aaaa", "deprovision", "bind-9-zzzz"] {
            let polled = poll(&record, newest);
            assert_eq!(
                (polled.operation.as_str(), polled.succeeded),
                ("unbind-2-aaaa", None)
            );
        }
        record.ledger.history.add(
            Ended::failed("unbind-2-aaaa", "why", testing::at(9)),
            SignedDuration::from_hours(72),
        );
        let polled = poll(&record, "");
        assert_eq!(
            (polled.succeeded, polled.description.as_str()),
            (Some(false), "why")
        );
    }

    #[test]
    fn a_cache_answers_only_for_operations_whose_end_it_holds() {
        let record = testing::unbinding();
        assert!(cache_can_answer(&record, "bind-1-aaaa"));
        for unknown in [
            "",
            "unbind-2-aaaa",
            "unbind-3-bbbb",
            "bind-1-zzzz",
            "provision",
        ] {
            assert!(!cache_can_answer(&record, unknown), "{unknown}");
        }
    }
}
