//! How a request is answered, as pure functions: the decision order of OSB
//! (lookup, AsyncRequired, existence, identity, busy, unsupported) over the
//! record, the instance and its plan.

use broker_proto::{
    Error, ErrorCode,
    decide::{Completion, Mode, busy, known, require_async},
    v1::{CatalogVerdict, InstancePhase},
};

use crate::{
    ledger::Record,
    resource::{self, Kind, Phase},
    status,
};

/// What a bind is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Names no predecessor.
    NewBinding,
    /// Names one.
    Rotation,
}

/// Whether a request asks for what the record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Equal in all that counts.
    Same,
    /// Something differs.
    Different,
}

/// A bind, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Bind<'a> {
    /// Empty only in a rotation.
    pub service_id: &'a str,
    /// Empty only in a rotation.
    pub plan_id: &'a str,
    /// New, or in place of a predecessor.
    pub purpose: Purpose,
    /// May be empty; a rotation takes its predecessor's.
    pub app_guid: &'a str,
    /// Whether the platform can poll.
    pub mode: Mode,
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
    /// Whether, and how, its bindings are made.
    pub bindable: Bindable,
    /// How binds and unbinds end.
    pub completion: Completion,
    /// Takes a predecessor.
    pub rotatable: bool,
    /// Only for an application.
    pub requires_app: bool,
}

/// Whether the plan's bindings can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bindable {
    /// By this method.
    By(resource::Method),
    /// The plan's method is not one of this broker's.
    UnknownMethod,
    /// The plan is not bindable.
    No,
}

/// A binding that has a record.
#[derive(Debug, Clone, Copy)]
pub struct Existing<'a> {
    /// As read.
    pub record: &'a Record,
    /// Whether it is what the bind asks for; only looked at while the binding lives.
    pub identity: Identity,
}

/// What to do about a bind.
#[derive(Debug, Clone, Copy)]
pub enum BindDecision<'a> {
    /// A record is to be made, or this one, of a binding that is gone, to
    /// begin a new life; by that method.
    Create(resource::Method, Option<&'a Record>),
    /// It exists: its credentials are the answer.
    Unchanged(&'a Record),
    /// It is being made: the same operation is the answer.
    Join(&'a Record),
    /// It could not be made: the same operation is the answer, since its poll
    /// tells why.
    Failed(&'a Record),
}

/// What to do about an unbind.
#[derive(Debug, Clone, Copy)]
pub enum UnbindDecision<'a> {
    /// Begin.
    Start(&'a Record),
    /// It is under way.
    Join(&'a Record),
}

/// How a bind is answered.
pub fn bind<'a>(
    asked: &Bind<'_>,
    instance: Option<&Instance<'_>>,
    existing: Option<&Existing<'a>>,
) -> Result<BindDecision<'a>, Error> {
    let instance = instance.filter(|found| found.phase != InstancePhase::Deleted);
    let Some(instance) = instance else {
        catalog_lookup(asked)?;
        let listed = asked.verdict.is_some_and(|verdict| verdict.binding_async);
        require_async(listed.into(), asked.mode)?;
        return Err(Error::new(
            ErrorCode::NotFound,
            "There is no such service instance.",
        ));
    };
    let live = existing.filter(|found| !found.record.is_gone());
    if live.is_none() {
        instance_lookup(asked, instance)?;
    }
    let completion = instance.plan.map(|plan| plan.completion);
    require_async(completion.unwrap_or(Completion::Synchronous), asked.mode)?;
    if let Some(existing) = live {
        return identity(existing, instance, asked.mode);
    }
    takes_bindings(instance.phase)?;
    let method = supported(asked, instance.plan)?;
    let before = existing.map(|found| found.record);
    Ok(BindDecision::Create(method, before))
}

/// Without a record, today's catalog says which ids there are.
fn catalog_lookup(asked: &Bind<'_>) -> Result<(), Error> {
    if asked.purpose == Purpose::Rotation && asked.service_id.is_empty() {
        return Ok(());
    }
    // No verdict is one that knows nothing.
    asked
        .verdict
        .map_or_else(|| known(&CatalogVerdict::default()), known)
}

/// With a record, it says so.
fn instance_lookup(asked: &Bind<'_>, instance: &Instance<'_>) -> Result<(), Error> {
    let absent = |text: &str| asked.purpose == Purpose::Rotation && text.is_empty();
    if !absent(asked.service_id) && asked.service_id != instance.service_id {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            "service_id is not the service of this instance.",
        ));
    }
    if !absent(asked.plan_id) && asked.plan_id != instance.plan_id {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            "plan_id is not the plan of this instance.",
        ));
    }
    Ok(())
}

fn identity<'a>(
    existing: &Existing<'a>,
    instance: &Instance<'_>,
    mode: Mode,
) -> Result<BindDecision<'a>, Error> {
    let record = existing.record;
    if record.spec().instance_incarnation != instance.incarnation {
        return Err(busy(
            "What an earlier instance of this id left is still being removed.",
        ));
    }
    let conflict = || {
        Error::new(
            ErrorCode::Conflict,
            "The binding exists with other attributes.",
        )
    };
    match (record.phase(), existing.identity) {
        (Phase::Binding, Identity::Same) => Ok(BindDecision::Join(record)),
        (Phase::Ready, Identity::Same) => Ok(BindDecision::Unchanged(record)),
        (Phase::Binding | Phase::Ready | Phase::Failed, Identity::Different) => Err(conflict()),
        (Phase::Failed, Identity::Same) => match mode {
            Mode::AcceptsIncomplete => Ok(BindDecision::Failed(record)),
            Mode::MustBeDone => Err(Error::new(
                ErrorCode::Conflict,
                "The binding could not be made; delete it before another try.",
            )),
        },
        (Phase::Unbinding | Phase::Deleted | Phase::RevocationPending, _) => {
            Err(busy("The binding is being deleted."))
        }
    }
}

fn takes_bindings(phase: InstancePhase) -> Result<(), Error> {
    match phase {
        InstancePhase::Ready | InstancePhase::UpdateFailed => Ok(()),
        InstancePhase::Provisioning => Err(busy("The instance is being provisioned.")),
        InstancePhase::Updating => Err(busy("The instance is being updated.")),
        InstancePhase::Deprovisioning | InstancePhase::DeprovisionFailed => {
            Err(busy("The instance is being deleted."))
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

fn supported(asked: &Bind<'_>, plan: Option<Plan>) -> Result<resource::Method, Error> {
    let not_bindable = |text: &str| Error::new(ErrorCode::NotBindable, text);
    let Some(plan) = plan else {
        return Err(Error::unavailable("The instance's plan"));
    };
    let method = match plan.bindable {
        Bindable::By(method) => method,
        Bindable::UnknownMethod => {
            return Err(not_bindable(
                "This broker does not make bindings of this plan's method.",
            ));
        }
        Bindable::No => return Err(not_bindable("This plan is not bindable.")),
    };
    if asked.purpose == Purpose::Rotation && !plan.rotatable {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            "Bindings of this plan cannot be rotated; predecessor_binding_id must be absent.",
        ));
    }
    if plan.requires_app && asked.app_guid.is_empty() && asked.purpose == Purpose::NewBinding {
        return Err(Error::new(
            ErrorCode::RequiresApp,
            "This plan binds applications only; send bind_resource.app_guid.",
        ));
    }
    Ok(method)
}

/// An unbind, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Unbind<'a> {
    /// May be empty.
    pub service_id: &'a str,
    /// May be empty.
    pub plan_id: &'a str,
    /// Whether the platform can poll.
    pub mode: Mode,
    /// How the plan unbinds.
    pub completion: Completion,
}

/// How an unbind is answered. The plan is not compared: after a failed update
/// the platform's view of it may differ, and strictness would block clean-up.
pub fn unbind<'a>(
    asked: &Unbind<'_>,
    existing: Option<&'a Record>,
) -> Result<UnbindDecision<'a>, Error> {
    let live = existing.filter(|record| !record.is_gone());
    // 410 comes before what is wrong with the ids, only here.
    if let Some(record) = live {
        for (name, value) in [("service_id", asked.service_id), ("plan_id", asked.plan_id)] {
            if value.is_empty() {
                return Err(Error::new(
                    ErrorCode::InvalidArgument,
                    format!("{name} is required."),
                ));
            }
        }
        if record.spec().service_id != asked.service_id {
            return Err(Error::new(
                ErrorCode::InvalidArgument,
                "service_id is not the service of this binding.",
            ));
        }
    }
    require_async(asked.completion, asked.mode)?;
    match live {
        None => Err(Error::new(ErrorCode::Gone, "There is no such binding.")),
        Some(record) if record.is_open(Kind::Unbind) => Ok(UnbindDecision::Join(record)),
        Some(record) => Ok(UnbindDecision::Start(record)),
    }
}

/// The binding that can be fetched, or why there is none to show.
pub fn fetch(existing: Option<&Record>) -> Result<&Record, Error> {
    let missing = |text: &str| Err(Error::new(ErrorCode::NotFound, text));
    let Some(record) = existing else {
        return missing("There is no such binding.");
    };
    match record.phase() {
        Phase::Ready => Ok(record),
        Phase::Unbinding => Err(busy("The binding is being deleted.")),
        Phase::Binding => missing("The binding is still being made."),
        Phase::Failed => missing("The binding was not made."),
        Phase::Deleted | Phase::RevocationPending => missing("There is no such binding."),
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
        // From the record: another process may work on it.
        description: status::trouble(record).unwrap_or(description).to_owned(),
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
    use broker_proto::v1::catalog_verdict;
    use cluster::operation::Ended;

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
        bindable: Bindable::By(resource::Method::Database),
        completion: Completion::Synchronous,
        rotatable: true,
        requires_app: false,
    };

    fn asked() -> Bind<'static> {
        Bind {
            service_id: "s1",
            plan_id: "p1",
            purpose: Purpose::NewBinding,
            app_guid: "",
            mode: Mode::MustBeDone,
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

    fn record(phase: Phase) -> Record {
        match phase {
            Phase::Binding => testing::binding_in_progress("me/1"),
            Phase::Ready => testing::ready(),
            Phase::Failed => testing::failed(),
            Phase::Unbinding => testing::unbinding(),
            Phase::RevocationPending => testing::revocation_pending(),
            Phase::Deleted => testing::tombstone(),
        }
    }

    fn creates(result: &Result<BindDecision<'_>, Error>) -> bool {
        matches!(result, Ok(BindDecision::Create(..)))
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
        result.unwrap_err().code
    }

    #[test]
    fn a_new_bind_needs_an_instance_that_takes_bindings() {
        use ErrorCode as E;
        use InstancePhase as P;
        let answer = |phase| bind(&asked(), Some(&instance(phase)), None);
        assert!(creates(&answer(P::Ready)));
        assert!(creates(&answer(P::UpdateFailed)));
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
        use Identity::{Different, Same};
        for instance_phase in [
            InstancePhase::Ready,
            InstancePhase::Updating,
            InstancePhase::Deprovisioning,
        ] {
            let instance = instance(instance_phase);
            for (phase, identity, refused) in [
                (Phase::Ready, Same, None),
                (Phase::Ready, Different, Some(ErrorCode::Conflict)),
                (Phase::Binding, Same, None),
                (Phase::Binding, Different, Some(ErrorCode::Conflict)),
                (Phase::Failed, Same, Some(ErrorCode::Conflict)),
                (Phase::Failed, Different, Some(ErrorCode::Conflict)),
                (Phase::Unbinding, Same, Some(ErrorCode::ConcurrencyError)),
                (
                    Phase::Unbinding,
                    Different,
                    Some(ErrorCode::ConcurrencyError),
                ),
            ] {
                let record = &record(phase);
                let answer = bind(
                    &asked(),
                    Some(&instance),
                    Some(&Existing { record, identity }),
                );
                match answer {
                    Ok(D::Unchanged(found)) => {
                        assert_eq!((phase, refused), (Phase::Ready, None));
                        assert_eq!(found.name(), record.name());
                    }
                    Ok(D::Join(_)) => assert_eq!((phase, refused), (Phase::Binding, None)),
                    other => assert_eq!(Some(code(other)), refused, "{phase:?} {identity:?}"),
                }
            }
        }
        // A plan that is not the instance's is a difference, not a bad request.
        let other = Bind {
            plan_id: "p2",
            ..asked()
        };
        let found = Existing {
            record: &record(Phase::Ready),
            identity: Different,
        };
        let answer = bind(&other, Some(&instance(InstancePhase::Ready)), Some(&found));
        assert_eq!(code(answer), ErrorCode::Conflict);
    }

    #[test]
    fn who_can_poll_is_told_the_operation_that_failed() {
        let failed = record(Phase::Failed);
        let polls = Bind {
            mode: Mode::AcceptsIncomplete,
            ..asked()
        };
        let answer = |identity| {
            let existing = Existing {
                record: &failed,
                identity,
            };
            bind(
                &polls,
                Some(&instance(InstancePhase::Ready)),
                Some(&existing),
            )
        };
        let Ok(BindDecision::Failed(found)) = answer(Identity::Same) else {
            panic!("not the failed operation");
        };
        let polled = poll(found, &found.operation().id);
        assert_eq!(
            (polled.succeeded, polled.description.as_str()),
            (Some(false), "no luck")
        );
        assert_eq!(code(answer(Identity::Different)), ErrorCode::Conflict);
    }

    #[test]
    fn a_tombstone_is_as_if_it_was_never_there() {
        for phase in [Phase::Deleted, Phase::RevocationPending] {
            let found = Existing {
                record: &record(phase),
                identity: Identity::Different,
            };
            let answer = bind(
                &asked(),
                Some(&instance(InstancePhase::Ready)),
                Some(&found),
            );
            assert!(matches!(answer, Ok(BindDecision::Create(_, Some(_)))));
        }
    }

    #[test]
    fn what_an_earlier_instance_left_is_not_the_new_ones() {
        let mut target = instance(InstancePhase::Ready);
        target.incarnation = "inc2";
        let found = Existing {
            record: &record(Phase::Ready),
            identity: Identity::Same,
        };
        let answer = bind(&asked(), Some(&target), Some(&found));
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
            purpose: Purpose::Rotation,
            ..asked()
        };
        let answer = bind(&rotation, Some(&instance(InstancePhase::Ready)), None);
        assert!(creates(&answer));
    }

    #[test]
    fn an_asynchronous_plan_wants_polling_whatever_exists() {
        let mut target = instance(InstancePhase::Ready);
        target.plan = Some(Plan {
            completion: Completion::Asynchronous,
            ..PLAN
        });
        let found = Existing {
            record: &record(Phase::Ready),
            identity: Identity::Same,
        };
        for existing in [None, Some(&found)] {
            assert_eq!(
                code(bind(&asked(), Some(&target), existing)),
                ErrorCode::AsyncRequired
            );
        }
        let polls = Bind {
            mode: Mode::AcceptsIncomplete,
            ..asked()
        };
        assert!(creates(&bind(&polls, Some(&target), None)));
    }

    #[test]
    fn what_a_plan_cannot_do_is_refused() {
        for (plan, purpose, expected) in [
            (
                Plan {
                    bindable: Bindable::No,
                    ..PLAN
                },
                Purpose::NewBinding,
                ErrorCode::NotBindable,
            ),
            (
                Plan {
                    bindable: Bindable::UnknownMethod,
                    ..PLAN
                },
                Purpose::NewBinding,
                ErrorCode::NotBindable,
            ),
            (
                Plan {
                    rotatable: false,
                    ..PLAN
                },
                Purpose::Rotation,
                ErrorCode::InvalidArgument,
            ),
            (
                Plan {
                    requires_app: true,
                    ..PLAN
                },
                Purpose::NewBinding,
                ErrorCode::RequiresApp,
            ),
        ] {
            let mut target = instance(InstancePhase::Ready);
            target.plan = Some(plan);
            let asked = Bind { purpose, ..asked() };
            assert_eq!(code(bind(&asked, Some(&target), None)), expected);
        }
    }

    #[test]
    fn an_unbind_of_nothing_is_gone_before_its_ids_are_looked_at() {
        let nothing = Unbind {
            service_id: "",
            plan_id: "",
            mode: Mode::MustBeDone,
            completion: Completion::Synchronous,
        };
        assert_eq!(code(unbind(&nothing, None)), ErrorCode::Gone);
        for phase in [Phase::Deleted, Phase::RevocationPending] {
            let record = record(phase);
            assert_eq!(code(unbind(&nothing, Some(&record))), ErrorCode::Gone);
        }
        let ready = record(Phase::Ready);
        let refused = unbind(&nothing, Some(&ready));
        assert_eq!(code(refused), ErrorCode::InvalidArgument);
        let asynchronous = Unbind {
            completion: Completion::Asynchronous,
            ..nothing
        };
        assert_eq!(code(unbind(&asynchronous, None)), ErrorCode::AsyncRequired);
    }

    #[test]
    fn an_unbind_is_accepted_in_every_phase_of_a_living_binding() {
        let asked = Unbind {
            service_id: "s1",
            plan_id: "another",
            mode: Mode::MustBeDone,
            completion: Completion::Synchronous,
        };
        for phase in [Phase::Binding, Phase::Ready, Phase::Failed] {
            let record = record(phase);
            let answer = unbind(&asked, Some(&record));
            assert!(matches!(answer, Ok(UnbindDecision::Start(_))), "{phase:?}");
        }
        let unbinding = record(Phase::Unbinding);
        let answer = unbind(&asked, Some(&unbinding));
        assert!(matches!(answer, Ok(UnbindDecision::Join(_))));
        let other = Unbind {
            service_id: "s2",
            ..asked
        };
        let ready = record(Phase::Ready);
        assert_eq!(
            code(unbind(&other, Some(&ready))),
            ErrorCode::InvalidArgument
        );
    }

    #[test]
    fn only_a_ready_binding_can_be_fetched() {
        assert!(fetch(Some(&record(Phase::Ready))).is_ok());
        let unbinding = record(Phase::Unbinding);
        assert_eq!(code(fetch(Some(&unbinding))), ErrorCode::ConcurrencyError);
        assert_eq!(code(fetch(None)), ErrorCode::NotFound);
        for phase in [Phase::Binding, Phase::Failed, Phase::Deleted] {
            assert_eq!(code(fetch(Some(&record(phase)))), ErrorCode::NotFound);
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
        let ended = Ended::failed("unbind-2-aaaa", "why", testing::at(9));
        record.ledger.history.add(ended);
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
