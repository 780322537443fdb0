//! What an instance gets once, when it is made or when its first login is, and keeps for its life:
//! a version of a plan, or another plan, that has it otherwise is for new instances.

use crate::bundle::Bundle;
use crate::descriptor::{Method, Namespace, Server};
use crate::reach::Reach;

impl Bundle {
    /// Why an instance of the plan `running` cannot become one of this; a sentence for the user.
    pub fn is_not_for_instances_of(&self, running: &Self) -> Option<String> {
        let what = if self.pod_security() != running.pod_security() {
            format!(
                "needs Pod Security's level {}, which an instance's namespace gets when it is made",
                self.pod_security().label()
            )
        } else if self.namespace() != running.namespace() {
            let place = match self.namespace() {
                Namespace::Own => "a namespace of their own",
                Namespace::Shared(_) => "a namespace that the plan names",
                Namespace::Context => "the namespace of the platform",
            };
            format!("puts its objects into {place}, and those that exist cannot move")
        } else if running.method() == Method::None {
            // It has no login.
            return None;
        } else if self.method() == Method::None {
            "has no bindings, and logins that exist could not be revoked".to_owned()
        } else if (self.method(), self.binding_server())
            != (running.method(), running.binding_server())
        {
            "makes logins in another way, and those that exist could not be revoked".to_owned()
        } else if self.binding_server() == Server::Shared && !self.has_server_of(running) {
            "makes logins on another server, or by another admin, and those that exist could not be \
             revoked"
                .to_owned()
        } else {
            return None;
        };
        Some(format!(
            "The plan {} as it is now {what}: order a new instance.",
            self.name()
        ))
    }

    /// Whether logins are made on the same server, as far as can be seen. That of an instance's own
    /// goes with the instance, wherever it is.
    fn has_server_of(&self, running: &Self) -> bool {
        Reach::is_same(
            (self.descriptor(), self.name()),
            (running.descriptor(), running.name()),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Tree, catalog};

    const BINDING: &str = "binding: {method: database, hosts: \"['h:1']\", \
                           admin: {username: a, password: \"'x'\"}";

    fn bundle(descriptor: &str) -> Arc<Bundle> {
        let mut tree = Tree::new();
        tree.insert("p/a/plan.yaml", descriptor);
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n";
        tree.insert("p/a/1.yaml", map);
        let mut catalog = catalog::build(&[tree]);
        assert_eq!(catalog.faults, []);
        catalog.plans.remove(0)
    }

    fn at(hosts: &str, server: &str) -> String {
        format!(
            "binding: {{method: database, hosts: \"['{hosts}']\", server: {server}, \
                 admin: {{username: a, password: \"'x'\"}}}}\n"
        )
    }

    #[test]
    fn a_server_that_outlives_the_instance_stays_the_same() {
        assert_eq!(refusal(&at("h:1", "shared"), &at("h:1", "shared")), "");
        let told = refusal(&at("h:1", "shared"), &at("h:2", "shared"));
        assert!(told.contains("on another server"), "{told}");
        assert_eq!(refusal(&at("h:1", "own"), &at("h:2", "own")), "");
        // In whatever it is said.
        for (before, after) in [
            (
                "outputs: {hosts: [\"h:1\"]}\n",
                "outputs: {hosts: [\"h:2\"]}\n",
            ),
            (
                "outputs: {hosts: {each: plan.values.at, value: \"{{ item }}\"}}\nvalues: {at: [h]}\n",
                "outputs: {hosts: {each: plan.values.at, value: \"{{ item }}\"}}\nvalues: {at: [g]}\n",
            ),
        ] {
            let binding = "binding: {method: database, server: shared, hosts: outputs.hosts, \
                           admin: {username: a, password: \"'x'\"}}\n";
            let (before, after) = (format!("{before}{binding}"), format!("{after}{binding}"));
            assert_eq!(refusal(&before, &before), "");
            assert!(
                refusal(&before, &after).contains("on another server"),
                "{after}"
            );
        }
    }

    fn refusal(before: &str, after: &str) -> String {
        let refusal = bundle(after).is_not_for_instances_of(&bundle(before));
        refusal.unwrap_or_default()
    }

    #[test]
    fn what_an_instance_keeps_does_not_change() {
        let (own, shared) = (
            format!("{BINDING}, server: own}}\n"),
            format!("{BINDING}, server: shared}}\n"),
        );
        for (before, after, told) in [
            ("{}\n", "free: false\n", ""),
            ("{}\n", "pod_security: baseline\n", "level baseline"),
            ("{}\n", "namespace: {shared: dbs}\n", "that the plan names"),
            ("namespace: context\n", "{}\n", "of their own"),
            (&own, &own, ""),
            // Who has no login loses none.
            ("{}\n", &own, ""),
            (&own, "{}\n", "has no bindings"),
            (&own, "binding: {method: none}\n", "has no bindings"),
            (&shared, &own, "in another way"),
            (&own, &shared, "in another way"),
        ] {
            let refusal = refusal(before, after);
            assert_eq!(told.is_empty(), refusal.is_empty(), "{after}: {refusal}");
            assert!(refusal.contains(told), "{after}: {refusal}");
        }
    }
}
