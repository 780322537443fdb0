//! OSB's decisions on an instance, steps 5 to 10 of the order in which a
//! request is judged, each a pure function of the record and the request.
//! The state table is the test at the end.

pub use broker_proto::decide::{Completion, Mode};
use broker_proto::{
    Error, ErrorCode,
    decide::{self, known, require_async},
    v1::{CatalogVerdict, catalog_verdict},
};

use crate::{
    catalog::CurrentPlan,
    resource::{Kind, Operation},
    state::{Applied, Phase, Record},
};

/// Whether a request asks for what already is, or is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Equal.
    Same,
    /// Equal ids of service and plan are not enough: something differs.
    Different,
}

/// What to do about a provision.
#[derive(Debug, Clone, Copy)]
pub enum Provision<'a> {
    /// Make a new record, or a new incarnation in place of this tombstone.
    Create(Option<&'a Record>),
    /// It is there already: 200.
    Unchanged(&'a Record),
    /// It is being made, or could not be: the same operation again, whose poll
    /// tells how it goes or why it failed.
    Join(&'a Record, Completion),
}

/// A record that stands where a provision would make one.
#[derive(Debug, Clone, Copy)]
pub enum Existing<'a> {
    /// Only the results of an earlier life are left.
    Tombstone(&'a Record),
    /// An instance.
    Instance {
        /// Its record.
        record: &'a Record,
        /// How the operations of its plan end.
        completion: Completion,
        /// How the request compares with it.
        identity: Identity,
    },
}

impl<'a> Existing<'a> {
    /// A record with how its plan's operations end, and how the request compares with it.
    pub fn of(record: &'a Record, completion: Completion, identity: Identity) -> Self {
        if record.is_tombstone() {
            return Self::Tombstone(record);
        }
        Self::Instance {
            record,
            completion,
            identity,
        }
    }
}

/// Judges a provision.
pub fn provision<'a>(
    existing: Option<Existing<'a>>,
    verdict: &CatalogVerdict,
    maintenance_version: Option<&str>,
    mode: Mode,
) -> Result<Provision<'a>, Error> {
    let (record, completion, identity) = match existing {
        Some(Existing::Instance {
            record,
            completion,
            identity,
        }) => (record, completion, identity),
        None => return create(None, verdict, maintenance_version, mode),
        Some(Existing::Tombstone(record)) => {
            return create(Some(record), verdict, maintenance_version, mode);
        }
    };
    if identity == Identity::Different {
        // An id that the catalog does not know either is a mistake rather than a rival.
        known(verdict)?;
    }
    require_async(completion, mode)?;
    match (record.phase(), identity) {
        (Phase::Provisioning | Phase::ProvisionFailed, Identity::Same) => {
            Ok(Provision::Join(record, completion))
        }
        (Phase::Ready | Phase::UpdateFailed, Identity::Same) => Ok(Provision::Unchanged(record)),
        (Phase::Updating, Identity::Same) => Err(busy("is being updated")),
        (Phase::Deprovisioning, _) => Err(busy("is being deprovisioned")),
        (Phase::Orphaning, _) => Err(orphaning()),
        (Phase::DeprovisionFailed, Identity::Same) => {
            Err(busy("could not be deprovisioned; deprovision it again"))
        }
        (
            Phase::Provisioning
            | Phase::Ready
            | Phase::UpdateFailed
            | Phase::Updating
            | Phase::DeprovisionFailed
            | Phase::ProvisionFailed,
            Identity::Different,
        ) => Err(Error::new(
            ErrorCode::Conflict,
            "An instance with this id exists with another plan, other parameters or in another space.",
        )),
        (Phase::Deleted, _) => create(Some(record), verdict, maintenance_version, mode),
    }
}

fn create<'a>(
    tombstone: Option<&'a Record>,
    verdict: &CatalogVerdict,
    maintenance_version: Option<&str>,
    mode: Mode,
) -> Result<Provision<'a>, Error> {
    known(verdict)?;
    require_async(verdict.provision_async.into(), mode)?;
    maintenance(maintenance_version, &verdict.maintenance_version)?;
    orderable(verdict)?;
    Ok(Provision::Create(tombstone))
}

/// What to do about an update.
#[derive(Debug, Clone, Copy)]
pub enum Update<'a> {
    /// Work out the target and start, if it differs from what was applied.
    Consider(Instance<'a>, &'a Applied),
    /// An update runs: the same operation again if the request is the same, else busy.
    CompareWithRunning(Instance<'a>, &'a Applied),
}

/// An instance that is to be changed or deleted.
#[derive(Debug, Clone, Copy)]
pub struct Instance<'a> {
    /// Its record, no tombstone.
    pub record: &'a Record,
    /// How the operations of its plan end.
    pub completion: Completion,
}

/// An update as far as ids go.
#[derive(Debug, Clone, Copy)]
pub struct UpdateAsked<'a> {
    /// The service of the request.
    pub service_id: &'a str,
    /// The plan of the request, if it names one.
    pub plan_id: Option<&'a str>,
    /// The catalog's word on that plan.
    pub verdict: Option<&'a CatalogVerdict>,
    /// Whether the client polls.
    pub mode: Mode,
}

impl<'a> Instance<'a> {
    /// A record with how its plan's operations end. A tombstone is none.
    pub fn of(record: &'a Record, completion: Completion) -> Option<Self> {
        (!record.is_tombstone()).then_some(Self { record, completion })
    }
}

/// Judges an update up to the point where its target must be known.
pub fn update<'a>(
    instance: Option<Instance<'a>>,
    asked: UpdateAsked<'_>,
) -> Result<Update<'a>, Error> {
    let Some(instance) = instance else {
        if let Some(verdict) = asked.verdict {
            known(verdict)?;
            require_async(verdict.provision_async.into(), asked.mode)?;
        }
        return Err(absent());
    };
    let record = instance.record;
    same_service(record, asked.service_id)?;
    let applied = record.state.applied.as_ref();
    let current = applied.map(|applied| applied.plan_id.as_str());
    if let (Some(plan), Some(verdict)) = (asked.plan_id, asked.verdict)
        && Some(plan) != current
    {
        known(verdict)?;
    }
    require_async(instance.completion, asked.mode)?;
    let applied = || applied.ok_or_else(absent);
    match record.phase() {
        Phase::Ready | Phase::UpdateFailed => Ok(Update::Consider(instance, applied()?)),
        Phase::Updating => Ok(Update::CompareWithRunning(instance, applied()?)),
        Phase::Provisioning => Err(busy("is being provisioned")),
        Phase::Deprovisioning => Err(busy("is being deprovisioned")),
        Phase::Orphaning => Err(orphaning()),
        Phase::ProvisionFailed => Err(unsupported(
            "The provisioning of this instance failed; it can only be deprovisioned.",
        )),
        Phase::DeprovisionFailed => Err(unsupported(
            "The deprovisioning of this instance failed; it can only be deprovisioned again.",
        )),
        Phase::Deleted => Err(absent()),
    }
}

/// What today's catalog says of the plan that an instance has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// The catalog was not received yet.
    Unknown,
    /// It does not list the plan any more.
    Dropped,
    /// As it lists it.
    As(CurrentPlan),
}

/// An update, as far as its bundle goes.
#[derive(Debug, Clone, Copy)]
pub struct BundleAsked<'a> {
    /// The plan of the request, if it names one.
    pub plan_id: Option<&'a str>,
    /// maintenance_info.version of the request, if it names one.
    pub maintenance_version: Option<&'a str>,
    /// The catalog's word on the plan of the request, where it names one: that
    /// of the gateway that the platform fetched its catalog from.
    pub verdict: Option<&'a CatalogVerdict>,
}

/// The digest of the bundle that an update leads to: the pinned one, unless
/// the plan changes or a maintenance version asks for today's. `listed` is this
/// replica's own view, which may be older than the platform's.
pub fn target_bundle(
    applied: &Applied,
    asked: BundleAsked<'_>,
    listed: impl FnOnce() -> Listed,
) -> Result<String, Error> {
    let verdict = asked
        .verdict
        .filter(|verdict| verdict.outcome() == catalog_verdict::Outcome::Found);
    let offered = |verdict: &CatalogVerdict| CurrentPlan {
        digest: verdict.bundle_digest.clone(),
        maintenance_version: verdict.maintenance_version.clone(),
    };
    if asked.plan_id.is_some_and(|plan| plan != applied.plan_id) {
        let offered = offered(&asked.verdict.cloned().unwrap_or_default());
        maintenance(asked.maintenance_version, &offered.maintenance_version)?;
        return Ok(offered.digest);
    }
    let Some(version) = asked.maintenance_version else {
        return Ok(applied.bundle.clone());
    };
    let current = match verdict.map(offered) {
        Some(offered) => offered,
        None => match listed() {
            Listed::As(plan) => plan,
            Listed::Dropped => CurrentPlan {
                digest: applied.bundle.clone(),
                maintenance_version: applied.maintenance_version.clone(),
            },
            Listed::Unknown => return Err(Error::unavailable("The catalog")),
        },
    };
    maintenance(Some(version), &current.maintenance_version)?;
    Ok(if version == applied.maintenance_version {
        applied.bundle.clone()
    } else {
        current.digest
    })
}

/// What to do about a deprovision.
#[derive(Debug, Clone, Copy)]
pub enum Deprovision<'a> {
    /// Set the operation, whatever runs now.
    Start(Instance<'a>),
    /// It runs already: the same operation again.
    Join(Instance<'a>),
}

/// Judges a deprovision: legal in every phase. The service must be the
/// instance's; the plan need not: after a failed update the platform's view of
/// it may differ, and strictness would block orphan mitigation.
pub fn deprovision<'a>(
    instance: Option<Instance<'a>>,
    service_id: &str,
    verdict: &CatalogVerdict,
    mode: Mode,
) -> Result<Deprovision<'a>, Error> {
    let Some(instance) = instance else {
        require_async(verdict.provision_async.into(), mode)?;
        return Err(gone());
    };
    same_service(instance.record, service_id)?;
    require_async(instance.completion, mode)?;
    let deletes = |operation: &Operation| operation.kind == Kind::Delete;
    Ok(if instance.record.open_operation().is_some_and(deletes) {
        Deprovision::Join(instance)
    } else {
        Deprovision::Start(instance)
    })
}

/// Judges a fetch: the instance as last applied, or why there is none to show.
pub fn fetch(record: Option<&Record>) -> Result<&Record, Error> {
    let record = record.ok_or_else(absent)?;
    match record.phase() {
        Phase::Ready | Phase::Updating | Phase::UpdateFailed | Phase::DeprovisionFailed
            if record.state.applied.is_some() =>
        {
            Ok(record)
        }
        Phase::Deprovisioning => Err(busy("is being deprovisioned")),
        Phase::Orphaning => Err(orphaning()),
        Phase::Provisioning => Err(Error::new(
            ErrorCode::NotFound,
            "The instance is still being provisioned.",
        )),
        Phase::Ready
        | Phase::Updating
        | Phase::UpdateFailed
        | Phase::DeprovisionFailed
        | Phase::ProvisionFailed
        | Phase::Deleted => Err(absent()),
    }
}

/// Compares a requested maintenance version with the catalog's: equality of
/// strings, since SemVer's precedence ignores build metadata.
pub fn maintenance(asked: Option<&str>, catalog: &str) -> Result<(), Error> {
    match asked {
        Some(asked) if asked != catalog => Err(Error::new(
            ErrorCode::MaintenanceInfoConflict,
            if catalog.is_empty() {
                "The plan has no maintenance_info in the catalog; fetch the catalog again."
                    .to_owned()
            } else {
                format!(
                    "The plan's maintenance_info.version in the catalog is {catalog}; fetch the catalog again."
                )
            },
        )),
        _ => Ok(()),
    }
}

/// Judges an update of nothing but the context: only where the offering says
/// that it takes these (CAT-15).
pub fn context_only(allowed: bool) -> Result<(), Error> {
    if allowed {
        return Ok(());
    }
    Err(unsupported(
        "This service takes no updates of the context alone.",
    ))
}

/// 404 for what is not there.
pub fn absent() -> Error {
    Error::new(ErrorCode::NotFound, "There is no such service instance.")
}

/// 409 for an id that another platform has given to an instance of its own.
pub fn taken() -> Error {
    Error::new(ErrorCode::Conflict, "The instance id is taken.")
}

/// An update that this instance cannot have.
pub fn unsupported(message: impl Into<String>) -> Error {
    Error {
        update_repeatable: Some(false),
        instance_usable: None,
        ..Error::new(ErrorCode::UpdateNotSupported, message)
    }
}

/// Another operation is in the way.
pub fn busy(how: &str) -> Error {
    decide::busy(format!(
        "The instance {how}; try again when that has ended."
    ))
}

/// Its record was deleted in the cluster: the broker forgets the instance.
pub fn orphaning() -> Error {
    busy("is being removed by the broker's operator")
}

fn gone() -> Error {
    Error::new(ErrorCode::Gone, "There is no such service instance.")
}

fn orderable(verdict: &CatalogVerdict) -> Result<(), Error> {
    if verdict.not_orderable_reason.is_empty() {
        Ok(())
    } else {
        Err(Error::new(
            ErrorCode::NotOrderable,
            format!(
                "The plan cannot be ordered here: {}",
                verdict.not_orderable_reason
            ),
        ))
    }
}

fn same_service(record: &Record, service_id: &str) -> Result<(), Error> {
    if record.resource.spec.service_id == service_id {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::InvalidArgument,
        "service_id is not the one of this instance.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{ended, record};

    fn verdict() -> CatalogVerdict {
        CatalogVerdict {
            outcome: catalog_verdict::Outcome::Found.into(),
            bundle_digest: "d".into(),
            maintenance_version: "1.0.0".into(),
            provision_async: true,
            ..CatalogVerdict::default()
        }
    }

    fn applied(mut record: Record) -> Record {
        record.state.applied = Some(Applied {
            revision: "rev".into(),
            bundle: "d".into(),
            plan_id: "p".into(),
            plan_name: "small".into(),
            maintenance_version: String::new(),
            retain_seconds: 0,
            outputs: serde_json::Map::new(),
        });
        record
    }

    fn in_phase(phase: Phase) -> Record {
        match phase {
            Phase::Provisioning => record(Kind::Create),
            Phase::Ready => applied(ended(record(Kind::Create), true)),
            Phase::ProvisionFailed => ended(record(Kind::Create), false),
            Phase::Updating => applied(record(Kind::Update)),
            Phase::UpdateFailed => applied(ended(record(Kind::Update), false)),
            Phase::Deprovisioning => applied(record(Kind::Delete)),
            Phase::DeprovisionFailed => applied(ended(record(Kind::Delete), false)),
            Phase::Deleted => {
                let mut record = ended(record(Kind::Delete), true);
                record.state.deleted_at = Some(jiff::Timestamp::UNIX_EPOCH);
                record
            }
            Phase::Orphaning => deleted_by_hand(in_phase(Phase::Ready)),
        }
    }

    fn deleted_by_hand(mut record: Record) -> Record {
        record.resource.metadata.deletion_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH),
        );
        record
    }

    /// A cell of the state table in short: what was decided, or the error's code.
    fn cell<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
        match answer {
            Ok(decision) => {
                let text = format!("{decision:?}");
                text.split('(').next().unwrap_or_default().to_owned()
            }
            Err(error) => format!("{:?}", error.code),
        }
    }

    /// State; PUT of the same, PUT of another, PATCH, DELETE, GET.
    const TABLE: [(Phase, [&str; 5]); 8] = [
        (
            Phase::Provisioning,
            ["Join", "Conflict", "ConcurrencyError", "Start", "NotFound"],
        ),
        (
            Phase::Ready,
            ["Unchanged", "Conflict", "Consider", "Start", "ok"],
        ),
        (
            Phase::ProvisionFailed,
            [
                "Join",
                "Conflict",
                "UpdateNotSupported",
                "Start",
                "NotFound",
            ],
        ),
        (
            Phase::Updating,
            [
                "ConcurrencyError",
                "Conflict",
                "CompareWithRunning",
                "Start",
                "ok",
            ],
        ),
        (
            Phase::UpdateFailed,
            ["Unchanged", "Conflict", "Consider", "Start", "ok"],
        ),
        (
            Phase::Deprovisioning,
            [
                "ConcurrencyError",
                "ConcurrencyError",
                "ConcurrencyError",
                "Join",
                "ConcurrencyError",
            ],
        ),
        (
            Phase::DeprovisionFailed,
            [
                "ConcurrencyError",
                "Conflict",
                "UpdateNotSupported",
                "Start",
                "ok",
            ],
        ),
        (
            Phase::Deleted,
            ["Create", "Create", "NotFound", "Gone", "NotFound"],
        ),
    ];

    #[test]
    fn the_state_table_of_instances_holds_in_every_cell() {
        for (phase, [same, different, patch, delete, get]) in TABLE {
            let record = in_phase(phase);
            assert_eq!(record.phase(), phase);
            let mode = Mode::AcceptsIncomplete;
            let put = |identity| {
                cell(provision(
                    Some(Existing::of(&record, Completion::Asynchronous, identity)),
                    &verdict(),
                    None,
                    mode,
                ))
            };
            assert_eq!(put(Identity::Same), same, "PUT = while {phase:?}");
            assert_eq!(
                put(Identity::Different),
                different,
                "PUT != while {phase:?}"
            );
            let asked = UpdateAsked {
                service_id: "s",
                plan_id: None,
                verdict: None,
                mode,
            };
            assert_eq!(
                cell(update(
                    Instance::of(&record, Completion::Asynchronous),
                    asked
                )),
                patch,
                "PATCH while {phase:?}"
            );
            let found = deprovision(
                Instance::of(&record, Completion::Asynchronous),
                "s",
                &verdict(),
                mode,
            );
            assert_eq!(cell(found), delete, "DELETE while {phase:?}");
            let got = cell(fetch(Some(&record)).map(|_| "ok"));
            assert_eq!(got.replace('"', ""), get, "GET while {phase:?}");
        }
    }

    #[test]
    fn an_unknown_id_is_created_absent_or_gone() {
        let mode = Mode::AcceptsIncomplete;
        assert_eq!(cell(provision(None, &verdict(), None, mode)), "Create");
        let asked = UpdateAsked {
            service_id: "s",
            plan_id: None,
            verdict: None,
            mode,
        };
        assert_eq!(cell(update(None, asked)), "NotFound");
        assert_eq!(cell(deprovision(None, "s", &verdict(), mode)), "Gone");
        assert_eq!(cell(fetch(None).map(|_| ())), "NotFound");
    }

    #[test]
    fn async_required_comes_before_existence_and_identity() {
        let mode = Mode::MustBeDone;
        let record = in_phase(Phase::Ready);
        let seen = Some(Existing::of(
            &record,
            Completion::Asynchronous,
            Identity::Different,
        ));
        assert_eq!(
            cell(provision(seen, &verdict(), None, mode)),
            "AsyncRequired"
        );
        assert_eq!(
            cell(deprovision(None, "s", &verdict(), mode)),
            "AsyncRequired"
        );
        let asked = UpdateAsked {
            service_id: "s",
            plan_id: None,
            verdict: None,
            mode,
        };
        assert_eq!(
            cell(update(
                Instance::of(&record, Completion::Asynchronous),
                asked
            )),
            "AsyncRequired"
        );
        let seen = Some(Existing::of(
            &record,
            Completion::Synchronous,
            Identity::Same,
        ));
        assert_eq!(cell(provision(seen, &verdict(), None, mode)), "Unchanged");
    }

    #[test]
    fn ids_that_the_catalog_does_not_know_are_refused_only_where_no_record_decides() {
        let mode = Mode::AcceptsIncomplete;
        let unknown = CatalogVerdict {
            outcome: catalog_verdict::Outcome::UnknownPlan.into(),
            ..CatalogVerdict::default()
        };
        assert_eq!(cell(provision(None, &unknown, None, mode)), "UnknownPlan");
        let record = in_phase(Phase::Ready);
        let same = Some(Existing::of(
            &record,
            Completion::Asynchronous,
            Identity::Same,
        ));
        assert_eq!(cell(provision(same, &unknown, None, mode)), "Unchanged");
        assert_eq!(
            cell(deprovision(
                Instance::of(&record, Completion::Asynchronous),
                "s",
                &unknown,
                mode
            )),
            "Start"
        );
        assert_eq!(
            cell(deprovision(
                Instance::of(&record, Completion::Asynchronous),
                "other",
                &unknown,
                mode
            )),
            "InvalidArgument"
        );
    }

    #[test]
    fn the_platforms_catalog_decides_on_a_maintenance_version_before_our_own() {
        let record = in_phase(Phase::Ready);
        let applied = record.state.applied.unwrap();
        let offered = CatalogVerdict {
            bundle_digest: "new".into(),
            maintenance_version: "2.0.0".into(),
            ..verdict()
        };
        let asked = |version, verdict| BundleAsked {
            plan_id: Some("p"),
            maintenance_version: version,
            verdict,
        };
        let ours = |version: &str| {
            Listed::As(CurrentPlan {
                digest: "ours".into(),
                maintenance_version: version.into(),
            })
        };
        // This replica has not seen the edit yet, or nothing at all.
        for listed in [ours("1.0.0"), Listed::Dropped, Listed::Unknown] {
            let target = target_bundle(&applied, asked(Some("2.0.0"), Some(&offered)), || listed);
            assert_eq!(target.unwrap(), "new");
        }
        let old = target_bundle(&applied, asked(Some("1.0.0"), Some(&offered)), || {
            ours("1.0.0")
        });
        assert_eq!(old.unwrap_err().code, ErrorCode::MaintenanceInfoConflict);
        // The gateway knows no plan where the request names none.
        let without = |version, listed| target_bundle(&applied, asked(version, None), || listed);
        assert_eq!(without(Some("3.0.0"), ours("3.0.0")).unwrap(), "ours");
        assert_eq!(
            without(Some("3.0.0"), Listed::Unknown).unwrap_err().code,
            ErrorCode::Unavailable
        );
        assert_eq!(
            without(Some("3.0.0"), Listed::Dropped).unwrap_err().code,
            ErrorCode::MaintenanceInfoConflict
        );
        // Without a version the bundle stays, whatever the catalog has.
        assert_eq!(without(None, Listed::Unknown).unwrap(), applied.bundle);
    }

    #[test]
    fn maintenance_versions_are_compared_as_strings_build_metadata_included() {
        assert!(maintenance(None, "1.0.0").is_ok());
        assert!(maintenance(Some("2.1.1+abcdef"), "2.1.1+abcdef").is_ok());
        for (asked, catalog) in [("2.1.1", "2.1.1+abcdef"), ("Invalid", ""), ("1", "2")] {
            assert_eq!(
                maintenance(Some(asked), catalog).unwrap_err().code,
                ErrorCode::MaintenanceInfoConflict
            );
        }
    }

    #[test]
    fn a_deletion_by_hand_may_be_asked_for_as_well_and_one_by_osb_goes_on() {
        let mode = Mode::AcceptsIncomplete;
        for (phase, decided) in [
            (Phase::Ready, "Start"),
            (Phase::Deprovisioning, "Join"),
            (Phase::DeprovisionFailed, "Start"),
        ] {
            let record = deleted_by_hand(in_phase(phase));
            assert_eq!(
                cell(deprovision(
                    Instance::of(&record, Completion::Asynchronous),
                    "s",
                    &verdict(),
                    mode
                )),
                decided,
                "{phase:?}"
            );
        }
    }
}
