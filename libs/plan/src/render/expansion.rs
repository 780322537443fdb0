//! Where the kubelet puts variables into text: it reads `$(NAME)` in the command line and the
//! environment of a container. A value is no such reference: each `$` of it is written `$$`, which
//! the kubelet reads as `$`. An author's own `$(NAME)` stays what it is.

use serde_json::Value;

/// A place in an object, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Other,
    /// The list of a pod's containers.
    Containers,
    Container,
    /// The list of a container's environment variables.
    Environment,
    Variable,
    /// What the kubelet puts variables into.
    Expanded,
}

impl Field {
    /// The value of a key.
    pub(super) fn key(self, name: &str) -> Self {
        match (self, name) {
            (_, "containers" | "initContainers" | "ephemeralContainers") => Self::Containers,
            (Self::Container, "command" | "args") | (Self::Variable, "value") => Self::Expanded,
            (Self::Container, "env") => Self::Environment,
            _ => Self::Other,
        }
    }

    /// An item of a list.
    pub(super) fn item(self) -> Self {
        match self {
            Self::Containers => Self::Container,
            Self::Environment => Self::Variable,
            Self::Expanded => Self::Expanded,
            _ => Self::Other,
        }
    }

    /// A value that stands here as a whole.
    pub(super) fn whole(self, value: Value) -> Value {
        match value {
            Value::String(text) if self == Self::Expanded => Value::String(escaped(&text)),
            Value::Array(items) => {
                let items = items.into_iter().map(|item| self.item().whole(item));
                Value::Array(items.collect())
            }
            Value::Object(map) => {
                let entries = map.into_iter().map(|(key, value)| {
                    let value = self.key(&key).whole(value);
                    (key, value)
                });
                Value::Object(entries.collect())
            }
            other => other,
        }
    }

    /// Appends the text of a value to what stands before it.
    pub(super) fn append(self, text: &mut String, value: &str) {
        if self != Self::Expanded {
            text.push_str(value);
            return;
        }
        // The author's own last `$` would be one with what the value begins with.
        let dollars = text.len() - text.trim_end_matches('$').len();
        if value.starts_with(['(', '$']) && dollars % 2 == 1 {
            text.push('$');
        }
        text.push_str(&escaped(value));
    }
}

fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What the kubelet makes of a text: "$$" is "$", and "$(A)" the variable.
    fn expanded(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((name, after)) = after
                .strip_prefix('(')
                .and_then(|after| after.split_once(')'))
            {
                out.extend(["<", name, ">"]);
                rest = after;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out + rest
    }

    proptest::proptest! {
        #[test]
        fn a_value_arrives_as_it_is(own in "[a(]{0,3}\\${0,4}", value in "[$()A]{0,8}") {
            // The author's own text has no reference that is not ended.
            let mut text = own.clone();
            Field::Expanded.append(&mut text, &value);
            let arrived = expanded(&text);
            let before = expanded(&own);
            proptest::prop_assert!(arrived.ends_with(&value), "{} -> {}", text, arrived);
            proptest::prop_assert_eq!(arrived, before + &value);
        }
    }

    #[test]
    fn only_what_the_kubelet_expands_is_escaped() {
        let pod = json!({"spec": {"containers": [{
            "command": ["$(A)"], "args": ["b$"], "image": "$(A)",
            "env": [{"name": "$(A)", "value": "$(A)"}],
            "lifecycle": {"preStop": {"exec": {"command": ["$(A)"]}}},
        }]}, "data": {"command": "$(A)"}});
        assert_eq!(
            Field::Other.whole(pod),
            json!({"spec": {"containers": [{
                "command": ["$$(A)"], "args": ["b$$"], "image": "$(A)",
                "env": [{"name": "$(A)", "value": "$$(A)"}],
                "lifecycle": {"preStop": {"exec": {"command": ["$(A)"]}}},
            }]}, "data": {"command": "$(A)"}})
        );
    }
}
