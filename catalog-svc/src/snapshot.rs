//! What is served, decided from what was found and what was good before. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use plan::{Bundle, Fault};

use crate::events::Origins;

/// A plan folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PlanKey {
    /// The provider folder.
    pub(crate) provider: String,
    /// The plan folder in it.
    pub(crate) plan: String,
}

impl PlanKey {
    /// Whether a fault or a warning is of this plan.
    pub(crate) fn has(&self, fault: &Fault) -> bool {
        fault.provider == self.provider && fault.plan.as_ref() == Some(&self.plan)
    }

    /// The folder that a bundle was made from.
    pub(crate) fn of(bundle: &Bundle) -> Self {
        Self {
            provider: bundle.provider().to_owned(),
            plan: bundle.name().to_owned(),
        }
    }

    /// A folder, unless it has no name.
    pub(crate) fn new(provider: &str, plan: &str) -> Option<Self> {
        (!provider.is_empty() && !plan.is_empty() && !plan.contains('/')).then(|| Self {
            provider: provider.to_owned(),
            plan: plan.to_owned(),
        })
    }

    /// Reads `<provider>/<plan>`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (provider, plan) = text.split_once('/')?;
        Self::new(provider, plan)
    }

    /// A fault of the plan as a whole.
    pub(crate) fn fault(&self, message: String) -> Fault {
        Fault {
            provider: self.provider.clone(),
            plan: Some(self.plan.clone()),
            file: None,
            line: None,
            column: None,
            message,
        }
    }
}

impl fmt::Display for PlanKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.plan)
    }
}

/// What one look at all sources gave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// Every plan folder, faulty or not.
    pub(crate) folders: BTreeSet<PlanKey>,
    /// The valid ones.
    pub(crate) bundles: BTreeMap<PlanKey, Arc<Bundle>>,
    /// Everything that is wrong.
    pub(crate) faults: BTreeSet<Fault>,
    /// What is probably not meant.
    pub(crate) warnings: BTreeSet<Fault>,
    /// The ConfigMaps that plans come from.
    pub(crate) origins: Origins,
    /// Whether a fault may mend itself: something could not be fetched.
    pub(crate) retry: bool,
    /// Whether plans are still to be checked.
    pub(crate) unchecked: bool,
}

impl Found {
    /// Holds a version back that is not stored yet: the last one stays.
    pub(crate) fn withhold(&mut self, key: &PlanKey) {
        self.bundles.remove(key);
        let message = "the newest version is not served yet, since it could not be stored; see the \
                       log of catalog-svc";
        self.faults.insert(key.fault(message.to_owned()));
    }

    /// A folder of which something could not be taken in is there all the same: what was good
    /// before is served.
    pub(crate) fn add_faulty_folders(&mut self) {
        let faulty = self.faults.iter();
        let faulty = faulty.filter_map(|it| PlanKey::new(&it.provider, it.plan.as_deref()?));
        let plans = faulty.filter(|key| !key.plan.starts_with('_'));
        self.folders.extend(plans);
    }

    /// A plan's own faults.
    pub(crate) fn faults_of<'a>(&'a self, key: &'a PlanKey) -> impl Iterator<Item = &'a Fault> {
        self.faults.iter().filter(|fault| key.has(fault))
    }

    /// A plan's own warnings.
    pub(crate) fn warnings_of<'a>(&'a self, key: &'a PlanKey) -> impl Iterator<Item = &'a Fault> {
        self.warnings.iter().filter(|warning| key.has(warning))
    }

    /// Faults that belong to a provider and to no plan of it.
    pub(crate) fn faults_of_provider<'a>(
        &'a self,
        provider: &'a str,
    ) -> impl Iterator<Item = &'a Fault> {
        self.faults
            .iter()
            .filter(move |fault| fault.provider == provider && fault.plan.is_none())
    }
}

/// Bundles by the folder that they came from.
pub(crate) type Bundles = BTreeMap<PlanKey, Arc<Bundle>>;

/// A plan as it is to be served.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    /// The version.
    pub(crate) bundle: Arc<Bundle>,
    /// Whether it is an older one, since the newest has faults.
    pub(crate) last_good: bool,
}

/// For each folder what to serve: its newest version if that has no faults,
/// else the last good one. A folder that is gone is not served.
///
/// Where two want the same id or name, the one that was served under it keeps it, even if its
/// newest version has faults: instances and orders name it.
pub(crate) fn choose(found: &Found, good: &Bundles) -> BTreeMap<PlanKey, Chosen> {
    let mut wanted = Vec::new();
    for key in &found.folders {
        let is_faulty = found.faults_of(key).next().is_some();
        let newest = found.bundles.get(key).filter(|_| !is_faulty);
        let before = good.get(key);
        let stays = |bundle: &Arc<Bundle>| before.is_some_and(|it| has_same_claims(it, bundle));
        if let Some(bundle) = newest {
            wanted.push((!stays(bundle), false, key, bundle));
        }
        // Also where the newest one turns out to want what is another's.
        if let Some(bundle) = before {
            let is_first = newest.is_none_or(stays);
            wanted.push((!is_first, true, key, bundle));
        }
    }
    // By claim first; the sort is stable.
    wanted.sort_by_key(|(is_new, last_good, ..)| (*is_new, *last_good));
    let mut chosen = BTreeMap::new();
    let mut taken = Taken::default();
    for (_, last_good, key, bundle) in wanted {
        if !chosen.contains_key(key) && taken.take(bundle) {
            let bundle = Arc::clone(bundle);
            chosen.insert(key.clone(), Chosen { bundle, last_good });
        }
    }
    chosen
}

/// Plans whose newest version is valid and not served, since it wants what is another's.
pub(crate) fn losers(found: &Found, chosen: &BTreeMap<PlanKey, Chosen>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (key, bundle) in &found.bundles {
        let is_served = chosen.get(key).is_some_and(|chosen| !chosen.last_good);
        if is_served || found.faults_of(key).next().is_some() {
            continue;
        }
        let rival = chosen.iter().find(|(other, chosen)| {
            let theirs = &chosen.bundle;
            let of_another = theirs.provider() != bundle.provider()
                && offering_claims(theirs)
                    .iter()
                    .any(|claim| offering_claims(bundle).contains(claim));
            *other != key && (theirs.plan_id() == bundle.plan_id() || of_another)
        });
        let rival = rival.map_or_else(String::new, |(rival, _)| rival.to_string());
        faults.push(key.fault(format!(
            "its id {}, or the id or the name of its offering, is that of the plan {rival}, which is \
             served under it: take another one",
            bundle.plan_id()
        )));
    }
    faults
}

/// What is probably not meant with the version of a plan that takes the place of another.
pub(crate) fn version_doubt(before: &Bundle, now: &Bundle) -> Option<Fault> {
    if before.digest() == now.digest() {
        return None;
    }
    let (old, new) = (before.version(), now.version());
    let message = if old == new {
        format!(
            "the content changed and its version {new} did not: instances that have this version \
             cannot get the new content; raise the version"
        )
    } else if new.cmp_precedence(old).is_lt() {
        let new = if now.has_stated_version() {
            format!("the version {new}")
        } else {
            "what a plan without a version has".to_owned()
        };
        format!("{new} is lower than {old}, which was served before")
    } else {
        return None;
    };
    Some(PlanKey::of(now).fault(message))
}

/// The ids and names that OSB wants to be unique, by provider.
#[derive(Default)]
struct Taken {
    offerings: BTreeMap<String, String>,
    plans: BTreeSet<String>,
}

/// What a bundle wants of an offering for its provider alone.
fn offering_claims(bundle: &Bundle) -> [String; 2] {
    let name = bundle.service().name.as_deref();
    [
        format!("id {}", bundle.offering_id()),
        format!("name {}", name.unwrap_or_else(|| bundle.provider())),
    ]
}

fn has_same_claims(one: &Bundle, other: &Bundle) -> bool {
    one.plan_id() == other.plan_id() && offering_claims(one) == offering_claims(other)
}

impl Taken {
    /// Whether the bundle may have its own; then they are taken.
    fn take(&mut self, bundle: &Bundle) -> bool {
        let provider = bundle.provider();
        let claims = offering_claims(bundle);
        let owners = claims.iter().filter_map(|claim| self.offerings.get(claim));
        if owners.into_iter().any(|owner| owner != provider) {
            return false;
        }
        // A plan's name is its folder's, unique as it is.
        if !self.plans.insert(bundle.plan_id().to_string()) {
            return false;
        }
        let claims = claims.into_iter().map(|claim| (claim, provider.to_owned()));
        self.offerings.extend(claims);
        true
    }
}

#[cfg(test)]
mod tests {
    use plan::{Tree, catalog};

    use super::*;

    /// The bundles of plans `<provider>/<plan>` with these plan.yaml.
    fn bundles(plans: &[(&str, &str)]) -> Bundles {
        let mut tree = Tree::new();
        for (key, text) in plans {
            let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n";
            tree.insert(&format!("{key}/plan.yaml"), *text);
            tree.insert(&format!("{key}/1.yaml"), template);
        }
        let catalog = catalog::build(&[tree]);
        assert_eq!(catalog.faults, []);
        let bundles = catalog.plans.into_iter();
        bundles
            .map(|bundle| (PlanKey::of(&bundle), bundle))
            .collect()
    }

    fn found(bundles: Bundles) -> Found {
        Found {
            folders: bundles.keys().cloned().collect(),
            bundles,
            ..Found::default()
        }
    }

    fn key(text: &str) -> PlanKey {
        PlanKey::parse(text).unwrap()
    }

    /// Each plan with its description, and whether it is an older version.
    fn served(found: &Found, good: &Bundles) -> Vec<(String, String, bool)> {
        let chosen = choose(found, good).into_iter();
        let entry = |(key, chosen): (PlanKey, Chosen)| {
            (
                key.to_string(),
                chosen.bundle.description(),
                chosen.last_good,
            )
        };
        chosen.map(entry).collect()
    }

    #[test]
    fn a_new_version_takes_the_place_of_an_old_one_unless_it_has_a_fault() {
        let good = bundles(&[("p/a", "description: old")]);
        let mut found = found(bundles(&[("p/a", "description: new")]));
        assert_eq!(served(&found, &good), [("p/a".into(), "new".into(), false)]);
        found.faults.insert(key("p/a").fault(String::new()));
        assert_eq!(served(&found, &good), [("p/a".into(), "old".into(), true)]);
        assert_eq!(served(&found, &Bundles::new()), []);
    }

    #[test]
    fn a_change_is_a_higher_version() {
        let doubt = |before: &str, now: &str| {
            let one = |text: &str| bundles(&[("p/a", text)]).into_values().next().unwrap();
            let doubt = version_doubt(&one(before), &one(now));
            doubt.map(|fault| fault.message)
        };
        let same = doubt("version: 1.0.0", "version: 1.0.0\ndescription: new").unwrap();
        assert!(same.starts_with("the content changed and its version 1.0.0 did not"));
        let lower = doubt("version: 1.1.0", "version: 1.0.9").unwrap();
        assert_eq!(
            lower,
            "the version 1.0.9 is lower than 1.1.0, which was served before"
        );
        let none = doubt("version: 1.1.0", "description: new").unwrap();
        assert!(none.contains("is lower than 1.1.0"), "{none}");
        for (before, now) in [
            ("version: 1.0.0", "version: 1.0.0"),
            ("version: 1.0.0", "version: 1.0.1"),
            ("version: 1.0.0+a", "version: 1.0.0+b"),
            ("description: old", "description: new"),
            ("description: old", "version: 1.0.0"),
        ] {
            assert_eq!(doubt(before, now), None, "{before} {now}");
        }
    }

    #[test]
    fn a_folder_that_is_gone_is_not_served() {
        let good = bundles(&[("p/a", "description: old")]);
        assert_eq!(served(&Found::default(), &good), []);
    }

    #[test]
    fn who_was_served_under_an_id_keeps_it_whatever_is_wrong_with_its_newest_version() {
        let good = bundles(&[("p/b", "id: one\ndescription: old")]);
        let mut found = found(bundles(&[("p/a", "id: one\ndescription: new")]));
        found.folders.insert(key("p/b"));
        found.faults.insert(key("p/b").fault(String::new()));
        assert_eq!(served(&found, &good), [("p/b".into(), "old".into(), true)]);
        // Gone, or with another id, it leaves the id to others.
        found.folders.remove(&key("p/b"));
        assert_eq!(served(&found, &good), [("p/a".into(), "new".into(), false)]);
        let moved = bundles(&[("p/b", "id: two\ndescription: new")]);
        found.folders.insert(key("p/b"));
        found.faults.clear();
        found.bundles.extend(moved);
        assert_eq!(
            served(&found, &good),
            [
                ("p/a".into(), "new".into(), false),
                ("p/b".into(), "new".into(), false)
            ]
        );
    }

    #[test]
    fn who_is_not_served_is_told_whose_id_it_wants() {
        let good = bundles(&[("p/b", "id: one")]);
        let mut found = found(bundles(&[("p/a", "id: one")]));
        found.folders.insert(key("p/b"));
        found.faults.insert(key("p/b").fault(String::new()));
        let losers = losers(&found, &choose(&found, &good));
        assert_eq!(losers.len(), 1);
        assert!(key("p/a").has(&losers[0]));
        assert!(losers[0].message.contains("the plan p/b"), "{losers:?}");
    }

    #[test]
    fn a_plan_that_moves_to_the_id_of_another_stays_as_it_was() {
        let good = bundles(&[("p/a", "id: one"), ("p/b", "id: two\ndescription: old")]);
        let mut found = found(bundles(&[("p/b", "id: one\ndescription: new")]));
        found.folders.insert(key("p/a"));
        found.faults.insert(key("p/a").fault(String::new()));
        assert_eq!(
            served(&found, &good),
            [
                ("p/a".into(), "Plan a of p".into(), true),
                ("p/b".into(), "old".into(), true)
            ]
        );
    }

    #[test]
    fn what_could_not_be_stored_leaves_the_last_version_in_place() {
        let good = bundles(&[("p/a", "description: old"), ("p/b", "description: old")]);
        let mut found = found(bundles(&[
            ("p/a", "description: new"),
            ("p/b", "description: new"),
        ]));
        found.withhold(&key("p/a"));
        assert_eq!(
            served(&found, &good),
            [
                ("p/a".into(), "old".into(), true),
                ("p/b".into(), "new".into(), false)
            ]
        );
    }
}
