//! The life of an instance as a pure function: given what is known, what is
//! the one next thing to do?
//!
//! The worker does that thing, notes what it learnt, and asks again. Every
//! step can be repeated, so a process may die between any two of them.

use cluster::gate::Gate;

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read the revision and the bundle.
    Load,
    /// Make the instance's own namespace, the gate for all that is inside.
    MakeNamespace,
    /// Give the broker, and the instance's pods, their rights in it.
    Grant,
    /// Make the values that the plan generates, once.
    Generate,
    /// Find the objects that exist already.
    Discover,
    /// Refuse an update that Kubernetes would refuse half way, or that would delete data.
    Compare,
    /// Delete the volume claims of members that left before, so that none joins with old data.
    ClearClaims,
    /// Let volumes grow, before anything is applied.
    Grow,
    /// Apply the objects of one template file.
    Apply(usize),
    /// Wait until they are ready, and evaluate the outputs.
    Await(usize),
    /// Delete objects that are no longer rendered.
    Prune,
    /// Delete the volume claims of members that this update took out.
    DropClaims,
    /// Commit the success.
    Succeed,
    /// Commit the failure.
    Fail,
    /// Wait until no binding holds the instance.
    AwaitRelease,
    /// Find everything that is to be deleted.
    FindRemaining,
    /// Delete what the last of the remaining template files made.
    DeleteLast,
    /// Commit the deletion, and until when the data stays.
    Retain,
    /// Delete volume claims and Secrets that owners left behind.
    DeleteLeftovers,
    /// Delete the instance's own namespace.
    DeleteNamespace,
    /// Delete the revisions.
    DeleteRevisions,
    /// Commit the deletion: the record becomes a tombstone, or goes.
    WriteTombstone,
    /// Show that the instance's namespace stays without a record.
    MarkOrphaned,
    /// Let the record go, and nothing else.
    RemoveFinalizer,
}

impl Step {
    /// The name without its argument, for logs and crash points.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "Load",
            Self::MakeNamespace => "MakeNamespace",
            Self::Grant => "Grant",
            Self::Generate => "Generate",
            Self::Discover => "Discover",
            Self::Compare => "Compare",
            Self::ClearClaims => "ClearClaims",
            Self::Grow => "Grow",
            Self::Apply(_) => "Apply",
            Self::Await(_) => "Await",
            Self::Prune => "Prune",
            Self::DropClaims => "DropClaims",
            Self::Succeed => "Succeed",
            Self::Fail => "Fail",
            Self::AwaitRelease => "AwaitRelease",
            Self::FindRemaining => "FindRemaining",
            Self::DeleteLast => "DeleteLast",
            Self::Retain => "Retain",
            Self::DeleteLeftovers => "DeleteLeftovers",
            Self::DeleteNamespace => "DeleteNamespace",
            Self::DeleteRevisions => "DeleteRevisions",
            Self::WriteTombstone => "WriteTombstone",
            Self::MarkOrphaned => "MarkOrphaned",
            Self::RemoveFinalizer => "RemoveFinalizer",
        }
    }

    /// Whether it ends the operation, or what was left of the record.
    pub fn is_last(self) -> bool {
        match self {
            Self::Succeed
            | Self::Fail
            | Self::Retain
            | Self::WriteTombstone
            | Self::RemoveFinalizer => true,
            Self::Load
            | Self::MakeNamespace
            | Self::Grant
            | Self::Generate
            | Self::Discover
            | Self::Compare
            | Self::ClearClaims
            | Self::Grow
            | Self::Apply(_)
            | Self::Await(_)
            | Self::Prune
            | Self::DropClaims
            | Self::AwaitRelease
            | Self::FindRemaining
            | Self::DeleteLast
            | Self::DeleteLeftovers
            | Self::DeleteNamespace
            | Self::DeleteRevisions
            | Self::MarkOrphaned => false,
        }
    }

    /// One of each, in the order of a create or update, then of a delete, then
    /// of a record that goes alone.
    pub const ALL: [Self; 24] = [
        Self::Load,
        Self::MakeNamespace,
        Self::Grant,
        Self::Generate,
        Self::Discover,
        Self::Compare,
        Self::ClearClaims,
        Self::Grow,
        Self::Apply(0),
        Self::Await(0),
        Self::Prune,
        Self::DropClaims,
        Self::Succeed,
        Self::Fail,
        Self::AwaitRelease,
        Self::FindRemaining,
        Self::DeleteLast,
        Self::Retain,
        Self::DeleteLeftovers,
        Self::DeleteNamespace,
        Self::DeleteRevisions,
        Self::WriteTombstone,
        Self::MarkOrphaned,
        Self::RemoveFinalizer,
    ];
}

/// What the open operation is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// Something new.
    Create,
    /// A change of something that was applied.
    Update,
    /// Nothing left.
    Delete,
    /// Nothing but the record to go: nobody asked for more.
    Orphan,
}

/// How far one template file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// Not applied by this worker.
    Pending,
    /// Applied; not all its objects are ready.
    Applied,
    /// All its objects are ready and the outputs evaluated.
    Ready,
}

/// What a worker knows. Starts with nothing known and grows with each step.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each learnt by one step"
)]
pub struct Observed {
    /// What the operation is after.
    pub aim: Aim,
    /// The deadline has passed.
    pub overdue: bool,
    /// Something that waiting will not mend was met.
    pub failed: bool,
    /// The namespace is made and deleted with the instance.
    pub own_namespace: bool,
    /// Revision and bundle are read.
    pub loaded: bool,
    /// What making the namespace came to.
    pub namespace: Option<Gate>,
    /// The RoleBindings are there.
    pub granted: bool,
    /// The generated values are there.
    pub generated: bool,
    /// The existing objects are known.
    pub discovered: bool,
    /// The update was found possible.
    pub compared: bool,
    /// No claim is there that a member which left could come back to.
    pub claims_cleared: bool,
    /// Volumes shall grow.
    pub grows: bool,
    /// The template files, once loaded.
    pub files: Vec<FileState>,
    /// Nothing is there that is no longer rendered.
    pub pruned: bool,
    /// The claims of members that this update took out are deleted.
    pub claims_dropped: bool,
    /// A binding holds the instance.
    pub held: bool,
    /// How many objects are still to be deleted, once known.
    pub remaining: Option<usize>,
    /// The data outlives the instance for a while.
    pub retains: bool,
    /// No volume claim or Secret is left behind.
    pub leftovers_gone: bool,
    /// The own namespace is gone.
    pub namespace_gone: bool,
    /// The revisions are gone.
    pub revisions_gone: bool,
    /// What stays without a record is marked.
    pub orphaned: bool,
}

impl Observed {
    /// Nothing known yet.
    pub fn new(aim: Aim, own_namespace: bool, held: bool) -> Self {
        Self {
            aim,
            overdue: false,
            failed: false,
            own_namespace,
            loaded: false,
            namespace: None,
            granted: false,
            generated: false,
            discovered: false,
            compared: false,
            claims_cleared: false,
            grows: false,
            files: Vec::new(),
            pruned: false,
            claims_dropped: false,
            held,
            remaining: None,
            retains: false,
            leftovers_gone: false,
            namespace_gone: false,
            revisions_gone: false,
            orphaned: false,
        }
    }
}

/// The one next thing to do.
pub fn next(observed: &Observed) -> Step {
    if observed.failed || observed.overdue {
        return Step::Fail;
    }
    match observed.aim {
        Aim::Create | Aim::Update => next_of_apply(observed),
        Aim::Delete => next_of_delete(observed),
        Aim::Orphan if observed.orphaned => Step::RemoveFinalizer,
        Aim::Orphan => Step::MarkOrphaned,
    }
}

fn next_of_apply(observed: &Observed) -> Step {
    if !observed.loaded {
        return Step::Load;
    }
    if observed.own_namespace && !matches!(observed.namespace, Some(Gate::Created | Gate::Ours)) {
        return Step::MakeNamespace;
    }
    if !observed.granted {
        return Step::Grant;
    }
    if !observed.generated {
        return Step::Generate;
    }
    // In a namespace made just now there is nothing to find.
    if !observed.discovered && observed.namespace != Some(Gate::Created) {
        return Step::Discover;
    }
    if observed.aim == Aim::Update && !observed.compared {
        return Step::Compare;
    }
    if observed.aim == Aim::Update && !observed.claims_cleared {
        return Step::ClearClaims;
    }
    if observed.grows {
        return Step::Grow;
    }
    for (index, file) in observed.files.iter().enumerate() {
        match file {
            FileState::Pending => return Step::Apply(index),
            FileState::Applied => return Step::Await(index),
            FileState::Ready => {}
        }
    }
    if observed.aim == Aim::Update && !observed.pruned {
        return Step::Prune;
    }
    if observed.aim == Aim::Update && !observed.claims_dropped {
        return Step::DropClaims;
    }
    Step::Succeed
}

fn next_of_delete(observed: &Observed) -> Step {
    if observed.held {
        return Step::AwaitRelease;
    }
    match observed.remaining {
        None => return Step::FindRemaining,
        Some(0) => {}
        Some(_) => return Step::DeleteLast,
    }
    if observed.retains {
        return Step::Retain;
    }
    if !observed.leftovers_gone {
        return Step::DeleteLeftovers;
    }
    if observed.own_namespace && !observed.namespace_gone {
        return Step::DeleteNamespace;
    }
    if !observed.revisions_gone {
        return Step::DeleteRevisions;
    }
    Step::WriteTombstone
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a whole operation in which every step does what it should.
    fn play(mut observed: Observed, files: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for _ in 0..50 {
            let step = next(&observed);
            steps.push(step);
            if step.is_last() {
                return steps;
            }
            match step {
                Step::Load => {
                    observed.loaded = true;
                    observed.files = vec![FileState::Pending; files];
                }
                Step::MakeNamespace => observed.namespace = Some(Gate::Ours),
                Step::Grant => observed.granted = true,
                Step::Generate => observed.generated = true,
                Step::Discover => observed.discovered = true,
                Step::Compare => observed.compared = true,
                Step::ClearClaims => observed.claims_cleared = true,
                Step::Grow => observed.grows = false,
                Step::Apply(index) => observed.files[index] = FileState::Applied,
                Step::Await(index) => observed.files[index] = FileState::Ready,
                Step::Prune => observed.pruned = true,
                Step::DropClaims => observed.claims_dropped = true,
                Step::AwaitRelease => observed.held = false,
                Step::FindRemaining => observed.remaining = Some(2),
                Step::DeleteLast => observed.remaining = observed.remaining.map(|left| left - 1),
                Step::DeleteLeftovers => observed.leftovers_gone = true,
                Step::DeleteNamespace => observed.namespace_gone = true,
                Step::DeleteRevisions => observed.revisions_gone = true,
                Step::MarkOrphaned => observed.orphaned = true,
                Step::Succeed
                | Step::Fail
                | Step::Retain
                | Step::WriteTombstone
                | Step::RemoveFinalizer => {}
            }
        }
        panic!("no end: {steps:?}");
    }

    #[test]
    fn a_create_goes_file_by_file_and_each_is_a_barrier() {
        let steps = play(Observed::new(Aim::Create, true, false), 2);
        assert_eq!(
            steps,
            [
                Step::Load,
                Step::MakeNamespace,
                Step::Grant,
                Step::Generate,
                Step::Discover,
                Step::Apply(0),
                Step::Await(0),
                Step::Apply(1),
                Step::Await(1),
                Step::Succeed
            ]
        );
    }

    #[test]
    fn nothing_is_looked_for_in_a_namespace_made_just_now() {
        let mut observed = Observed::new(Aim::Create, true, false);
        observed.loaded = true;
        observed.namespace = Some(Gate::Created);
        observed.granted = true;
        observed.generated = true;
        assert_eq!(next(&observed), Step::Succeed);
    }

    #[test]
    fn an_update_compares_before_and_prunes_after() {
        let steps = play(Observed::new(Aim::Update, true, false), 1);
        let place = |step| steps.iter().position(|found| *found == step).unwrap();
        assert!(place(Step::Compare) < place(Step::Apply(0)));
        assert!(place(Step::Await(0)) < place(Step::Prune));
        assert!(place(Step::ClearClaims) < place(Step::Apply(0)));
        assert!(place(Step::Await(0)) < place(Step::DropClaims));
        assert_eq!(steps.last(), Some(&Step::Succeed));
    }

    #[test]
    fn a_delete_waits_for_bindings_and_then_goes_backwards() {
        let steps = play(Observed::new(Aim::Delete, true, true), 0);
        assert_eq!(
            steps,
            [
                Step::AwaitRelease,
                Step::FindRemaining,
                Step::DeleteLast,
                Step::DeleteLast,
                Step::DeleteLeftovers,
                Step::DeleteNamespace,
                Step::DeleteRevisions,
                Step::WriteTombstone
            ]
        );
    }

    #[test]
    fn what_is_retained_keeps_its_volumes_and_namespace() {
        let mut observed = Observed::new(Aim::Delete, true, false);
        observed.retains = true;
        let steps = play(observed, 0);
        assert_eq!(
            steps,
            [
                Step::FindRemaining,
                Step::DeleteLast,
                Step::DeleteLast,
                Step::Retain
            ]
        );
    }

    #[test]
    fn a_namespace_that_is_not_ours_is_neither_entered_nor_deleted() {
        let mut observed = Observed::new(Aim::Create, true, false);
        observed.loaded = true;
        for gate in [Gate::Foreign, Gate::Terminating] {
            observed.namespace = Some(gate);
            assert_eq!(next(&observed), Step::MakeNamespace);
        }
        let shared = play(Observed::new(Aim::Delete, false, false), 0);
        assert!(!shared.contains(&Step::DeleteNamespace));
        let shared = play(Observed::new(Aim::Create, false, false), 1);
        assert!(!shared.contains(&Step::MakeNamespace));
        assert!(shared.contains(&Step::Discover));
    }

    #[test]
    fn a_record_that_goes_alone_touches_nothing_but_the_mark() {
        let steps = play(Observed::new(Aim::Orphan, true, true), 0);
        assert_eq!(steps, [Step::MarkOrphaned, Step::RemoveFinalizer]);
    }

    #[test]
    fn a_failure_or_the_deadline_ends_every_operation() {
        for aim in [Aim::Create, Aim::Update, Aim::Delete] {
            let mut observed = Observed::new(aim, true, true);
            observed.overdue = true;
            assert_eq!(next(&observed), Step::Fail);
            observed.overdue = false;
            observed.failed = true;
            assert_eq!(next(&observed), Step::Fail);
        }
    }

    #[test]
    fn every_step_occurs_in_some_life() {
        let mut lives = play(Observed::new(Aim::Update, true, false), 1);
        lives.extend(play(Observed::new(Aim::Delete, true, true), 0));
        let mut retaining = Observed::new(Aim::Delete, true, false);
        retaining.retains = true;
        lives.extend(play(retaining, 0));
        let mut growing = Observed::new(Aim::Update, true, false);
        growing.grows = true;
        lives.extend(play(growing, 1));
        lives.extend(play(Observed::new(Aim::Orphan, true, false), 0));
        lives.push(Step::Fail);
        for step in Step::ALL {
            assert!(lives.contains(&step), "{step:?}");
        }
    }
}
