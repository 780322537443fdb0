//! What a bind asked for: kept in a Secret beside the record, since user
//! parameters may be secret, and compared with what is asked later.

use std::fmt;

use plan::Bundle;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{grant::Grant, resource::ServiceBindingSpec};

/// What a bind asked for.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The application, if one was named.
    #[serde(default)]
    pub app_guid: String,
    /// OSB `bind_resource` as sent.
    #[serde(default)]
    pub bind_resource: Map<String, Value>,
    /// OSB `context` as sent.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// OSB `parameters` as sent.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// The same with the plan's defaults.
    #[serde(default)]
    pub effective: Map<String, Value>,
    /// What the login may do.
    pub grant: Grant,
}

/// Names nothing: parameters may be secret.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("grant", &self.grant)
            .finish_non_exhaustive()
    }
}

/// What identifies a bind: a later one with the same ids must be equal in this.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// Empty in a rotation that does not say.
    pub service_id: &'a str,
    /// Empty in a rotation that does not say.
    pub plan_id: &'a str,
    /// Empty if none was named.
    pub app_guid: &'a str,
    /// In a rotation, the binding that this one takes over from.
    pub predecessor: Option<&'a str>,
    /// As sent; absent and empty are the same.
    pub parameters: &'a Map<String, Value>,
}

impl Identity<'_> {
    /// Whether this asks for what `spec` and `stored` already are. Parameters
    /// are compared as sent, else as the pinned bundle completes them.
    pub fn is_same(
        &self,
        spec: &ServiceBindingSpec,
        stored: &Request,
        bundle: Option<&Bundle>,
    ) -> bool {
        let rotation = self.predecessor.is_some();
        let unsaid = |text: &str| rotation && text.is_empty();
        self.predecessor == spec.predecessor_binding_id.as_deref()
            && (unsaid(self.service_id) || self.service_id == spec.service_id)
            && (unsaid(self.plan_id) || self.plan_id == spec.plan_id)
            && (unsaid(self.app_guid) || self.app_guid == stored.app_guid)
            && ((rotation && self.parameters.is_empty()) || self.same_parameters(stored, bundle))
    }

    fn same_parameters(&self, stored: &Request, bundle: Option<&Bundle>) -> bool {
        *self.parameters == stored.parameters
            || bundle
                .and_then(|bundle| bundle.bind_parameters(self.parameters).ok())
                .is_some_and(|resolved| resolved.effective == stored.effective)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{grant::Role, testing};

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn stored() -> Request {
        Request {
            app_guid: "app".into(),
            bind_resource: Map::new(),
            context: Map::new(),
            parameters: object(&json!({"roles": ["read"], "database": "hunter2"})),
            effective: Map::new(),
            grant: Grant {
                database: "d".into(),
                roles: vec![Role::Read],
            },
        }
    }

    fn same(change: impl FnOnce(&mut Identity<'_>)) -> bool {
        let parameters = object(&json!({"database": "hunter2", "roles": ["read"]}));
        let mut identity = Identity {
            service_id: "s1",
            plan_id: "p1",
            app_guid: "app",
            predecessor: None,
            parameters: &parameters,
        };
        change(&mut identity);
        identity.is_same(testing::ready().spec(), &stored(), None)
    }

    #[test]
    fn a_replay_is_the_same_and_any_difference_is_not() {
        assert!(same(|_| ()));
        assert!(!same(|identity| identity.service_id = "s2"));
        assert!(!same(|identity| identity.plan_id = "p2"));
        assert!(!same(|identity| identity.app_guid = ""));
        assert!(!same(|identity| identity.predecessor = Some("b0")));
        let other = Map::new();
        let differs = Identity {
            service_id: "s1",
            plan_id: "p1",
            app_guid: "app",
            predecessor: None,
            parameters: &other,
        };
        assert!(!differs.is_same(testing::ready().spec(), &stored(), None));
    }

    #[test]
    fn a_rotation_need_not_repeat_what_its_predecessor_said() {
        let mut spec = testing::ready().spec().clone();
        spec.predecessor_binding_id = Some("b0".into());
        let nothing = Map::new();
        let mut rotation = Identity {
            service_id: "",
            plan_id: "",
            app_guid: "",
            predecessor: Some("b0"),
            parameters: &nothing,
        };
        assert!(rotation.is_same(&spec, &stored(), None));
        rotation.predecessor = Some("b9");
        assert!(!rotation.is_same(&spec, &stored(), None));
    }

    #[test]
    fn debug_shows_no_parameter() {
        assert!(!format!("{:?}", stored()).contains("hunter2"));
    }
}
