//! What may be done to an rpc whose answer was lost. The contracts say it
//! themselves, by protobuf's `idempotency_level`.
//!
//! - `NO_SIDE_EFFECTS`: reads. They are repeated whatever broke.
//! - `IDEMPOTENT`: Provision, Bind, Hold, ReleaseHold. The same request under
//!   the same id (for holds: the same incarnation) finds what the first one
//!   made and answers with it. They are repeated, too.
//! - none: Update, Deprovision, Unbind. A copy that arrives late would undo
//!   what was asked for in between: the parameters of a newer update, or the
//!   next life of an id that was deleted and made again. Once such a request
//!   may have been received, only the platform decides to repeat it.
//!
//! A request that was never sent is repeated in any case.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message as _;
use prost_types::{FileDescriptorSet, method_options::IdempotencyLevel};

/// What the client must know of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rpc {
    pub(super) repeat: Repeat,
    pub(super) answer: Answer,
}

/// When a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// After any fault of the transport.
    Always,
    /// Only if the request was never sent.
    Unsent,
}

/// How a method answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// One message, which is received as a part of the call.
    Message,
    /// Messages that come as long as the connection lives.
    Stream,
}

impl Rpc {
    /// Of a method that the contracts do not have.
    const UNKNOWN: Self = Self {
        repeat: Repeat::Unsent,
        answer: Answer::Stream,
    };

    /// Of the method at `path`: `/package.Service/Method`.
    pub(super) fn at(path: &str) -> Self {
        RPCS.get(path).copied().unwrap_or(Self::UNKNOWN)
    }
}

static RPCS: LazyLock<HashMap<String, Rpc>> = LazyLock::new(|| {
    // The bytes are made by build.rs; that they decode is tested below.
    let set = FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap_or_default();
    set.file.iter().flat_map(of_file).collect()
});

fn of_file(file: &prost_types::FileDescriptorProto) -> Vec<(String, Rpc)> {
    let methods = file
        .service
        .iter()
        .flat_map(|service| service.method.iter().map(move |method| (service, method)));
    methods
        .map(|(service, method)| {
            let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
            let level = method
                .options
                .as_ref()
                .map_or(IdempotencyLevel::IdempotencyUnknown, |options| {
                    options.idempotency_level()
                });
            let rpc = Rpc {
                repeat: match level {
                    IdempotencyLevel::NoSideEffects | IdempotencyLevel::Idempotent => {
                        Repeat::Always
                    }
                    IdempotencyLevel::IdempotencyUnknown => Repeat::Unsent,
                },
                answer: if method.server_streaming() {
                    Answer::Stream
                } else {
                    Answer::Message
                },
            };
            (path, rpc)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_says_whether_it_may_be_repeated() {
        let unsent = RPCS
            .iter()
            .filter(|(_, rpc)| rpc.repeat == Repeat::Unsent)
            .map(|(path, _)| path.as_str());
        let mut unsent: Vec<_> = unsent.collect();
        unsent.sort_unstable();
        assert_eq!(
            unsent,
            [
                "/mongodb_osb.v1.Binder/Unbind",
                "/mongodb_osb.v1.Provisioner/Deprovision",
                "/mongodb_osb.v1.Provisioner/Update",
            ]
        );
        assert_eq!(RPCS.len(), 17);
    }

    #[test]
    fn streams_are_told_from_single_answers() {
        let answer = |path| Rpc::at(path).answer;
        assert_eq!(
            answer("/mongodb_osb.v1.Catalog/WatchCatalog"),
            Answer::Stream
        );
        assert_eq!(answer("/mongodb_osb.v1.Catalog/GetBundle"), Answer::Message);
    }
}
