//! Who asked for an operation: kept on the record with its operations, and one
//! line in the log when an operation is accepted and one when it has ended, all
//! with the target [`TARGET`]. The record is the proof: a line can be lost with
//! a process that ends between the write and it.

use std::{fmt, panic};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::{Instrument as _, Level};

/// The target of the lines, by which they can be filtered and sent elsewhere.
pub const TARGET: &str = "audit";

/// Who asked for an operation. All is empty where nobody did: a record that was
/// deleted in the cluster, a binding that goes with its instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Requester {
    /// The platform that the login belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// The user name of the broker login.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub login: String,
    /// The address that the platform's connection came from; that of a proxy, if
    /// one stands between.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer: String,
    /// `user_id` (Cloud Foundry) or `username` (Kubernetes) of the originating identity, as the
    /// platform says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
}

impl Requester {
    /// Whether the broker did it by itself.
    pub fn is_nobody(&self) -> bool {
        *self == Self::default()
    }
}

/// For people, as in an Event.
impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nobody() {
            return f.write_str("the broker");
        }
        if !self.user.is_empty() {
            write!(f, "{} through ", self.user)?;
        }
        write!(f, "platform {} (login {})", self.platform, self.login)
    }
}

/// Runs a write and the lines about it to their end, also if whoever waits for them goes away: a
/// client that hangs up takes no line along. They begin at once.
pub fn told<F>(write: F) -> impl Future<Output = F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let task = tokio::spawn(write.in_current_span());
    async move {
        match task.await {
            Ok(output) => output,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => panic::resume_unwind(panic),
                // The process ends.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// How an operation ends that is open when its record is deleted in the cluster.
pub const INTERRUPTED: &str = "Interrupted: the record was deleted.";

/// What the lines on one operation say.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// OSB instance id.
    pub instance: &'a str,
    /// OSB binding id, of a bind or an unbind.
    pub binding: Option<&'a str>,
    /// The name of the plan.
    pub plan: &'a str,
    /// The operation's id.
    pub operation: &'a str,
    /// Who asked.
    pub by: &'a Requester,
}

/// One line on an entry, with more fields and the message behind it.
macro_rules! line {
    ($entry:ident, $($more:tt)+) => {
        tracing::event!(
            target: TARGET,
            Level::INFO,
            instance.id = $entry.instance,
            binding.id = $entry.binding,
            plan = $entry.plan,
            op.id = $entry.operation,
            by.platform = $entry.by.platform,
            by.login = $entry.by.login,
            by.peer = $entry.by.peer,
            by.user = $entry.by.user,
            $($more)+
        )
    };
}

impl Entry<'_> {
    /// The operation is on its record, and will be carried out whatever happens.
    pub fn accepted(&self) {
        line!(self, "operation accepted");
    }

    /// What comes of it beside its end, such as what is done about it later.
    pub fn note(&self, text: &str) {
        line!(self, "{text}");
    }

    /// Its record was deleted in the cluster, by nobody that the broker knows: what is open ends
    /// with that, and `text` says what becomes of the rest.
    pub fn let_go(&self, is_open: bool, text: &str) {
        if is_open {
            self.ended(false, INTERRUPTED);
        }
        let by = &Requester::default();
        Entry { by, ..*self }.note(text);
    }

    /// It has ended; `description` is what polls say of that.
    pub fn ended(&self, succeeded: bool, description: &str) {
        line!(self, succeeded, description, "operation ended");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_is_told_also_to_nobody() {
        let (sender, told_of) = oneshot::channel();
        drop(told(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sender.send(()).unwrap();
        }));
        told_of.await.unwrap();
        assert_eq!(told(async { 7 }).await, 7);
    }
}
