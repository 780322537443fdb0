//! The stack for whoever checks it from outside, such as schemathesis with
//! gateway/openapi.yaml, or a public conformance suite.

use crate::{platform::Platform, stack::LOGIN};

/// `cargo test -p demo --test osb -- --ignored --nocapture`, until it is ended.
#[tokio::test]
#[ignore = "never ends"]
async fn the_stack_stays_up() {
    let platform = Platform::new().await;
    let (user, password) = LOGIN;
    eprintln!("http://{user}:{password}@{}", platform.stack.gateway);
    std::future::pending::<()>().await;
}
