//! `Debug` for the messages that carry secrets: the name, and nothing else.

use std::fmt;

use crate::v1;

macro_rules! redacted {
    ($($message:ident),+ $(,)?) => {$(
        impl fmt::Debug for v1::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message)).finish_non_exhaustive()
            }
        }
    )+};
}

redacted!(
    Requester,
    ProvisionRequest,
    UpdateRequest,
    FetchInstanceResponse,
    Instance,
    BindRequest,
    BindResponse,
    Binding,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_shows_nothing_of_its_content() {
        let binding = v1::Binding {
            expires_at: "hunter2".into(),
            ..Default::default()
        };
        assert_eq!(format!("{binding:?}"), "Binding { .. }");
    }
}
