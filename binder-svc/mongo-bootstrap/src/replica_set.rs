//! The replica set configuration, as mongod gives and takes it, and the changes we make to it: each
//! is of one member, as mongod demands, and leaves everything else as it was.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document, doc};

use super::{
    answer::{ShapeError, number},
    member::{MemberNames, Ordinal},
    observed::{Peer, Standing, State},
};

/// A replica set configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct SetConfig(Document);

impl SetConfig {
    /// A new set with one member.
    pub fn initial(name: &str, ordinal: Ordinal, host: &str) -> Document {
        doc! { "_id": name, "members": [{ "_id": i64::from(ordinal), "host": host }] }
    }

    /// Reads the answer to `replSetGetConfig`.
    pub fn read(answer: &Document) -> Result<Self, ShapeError> {
        let config = answer
            .get_document("config")
            .map_err(|_| ShapeError("config"))?;
        config
            .get_array("members")
            .map_err(|_| ShapeError("members"))?;
        number(config.get("version")).ok_or(ShapeError("version"))?;
        Ok(Self(config.clone()))
    }

    /// What `replSetReconfig` takes.
    pub fn into_document(self) -> Document {
        self.0
    }

    /// With one more member, which neither votes nor can be elected. A host that is a member already
    /// stays as it is.
    #[must_use]
    pub fn with(self, ordinal: Ordinal, host: &str) -> Self {
        let id = self.free_id(ordinal);
        self.changed(|members| {
            if !members.iter().any(|member| is_host(member, host)) {
                members.push(doc! { "_id": id, "host": host, "priority": 0, "votes": 0 }.into());
            }
        })
    }

    /// With a vote for a member, which then can be elected too.
    #[must_use]
    pub fn with_vote(self, host: &str) -> Self {
        self.changed(|members| {
            for member in members.iter_mut().filter(|member| is_host(member, host)) {
                if let Some(member) = member.as_document_mut() {
                    member.insert("priority", 1);
                    member.insert("votes", 1);
                }
            }
        })
    }

    /// Without a member.
    #[must_use]
    pub fn without(self, host: &str) -> Self {
        self.changed(|members| members.retain(|member| !is_host(member, host)))
    }

    /// The members that have names of this set's pods, with their states by `replSetGetStatus`.
    pub fn peers(
        &self,
        status: &Document,
        names: &MemberNames,
    ) -> Result<BTreeMap<Ordinal, Peer>, ShapeError> {
        let states = status
            .get_array("members")
            .map_err(|_| ShapeError("members"))?;
        let state_of = |host: &str| {
            states
                .iter()
                .filter_map(Bson::as_document)
                .find(|member| member.get_str("name").is_ok_and(|name| name == host))
                .and_then(|member| number(member.get("state")))
                .map_or(State::Other, state)
        };
        let peers = self
            .members()
            .iter()
            .filter_map(Bson::as_document)
            .filter_map(|member| {
                let host = member.get_str("host").ok()?;
                let votes = number(member.get("votes")).unwrap_or(1);
                let standing = if votes > 0 {
                    Standing::Voter
                } else {
                    Standing::Joining
                };
                Some((
                    names.ordinal(host)?,
                    Peer {
                        standing,
                        state: state_of(host),
                    },
                ))
            });
        Ok(peers.collect())
    }

    /// The members that have names of this set's pods.
    pub fn ordinals(&self, names: &MemberNames) -> Vec<Ordinal> {
        let members = self.members().iter().filter_map(Bson::as_document);
        names.ordinals(members.filter_map(|member| member.get_str("host").ok()))
    }

    fn members(&self) -> &[Bson] {
        self.0.get_array("members").map_or(&[], Vec::as_slice)
    }

    /// The member's `_id` in the configuration: its ordinal, or the lowest that is free.
    fn free_id(&self, ordinal: Ordinal) -> i64 {
        let taken: Vec<i64> = self
            .members()
            .iter()
            .filter_map(|member| number(member.as_document()?.get("_id")))
            .collect();
        // Of one more number than there are members, one is free.
        let others = 0..=i64::try_from(taken.len()).unwrap_or(i64::MAX);
        std::iter::once(i64::from(ordinal))
            .chain(others)
            .find(|id| !taken.contains(id))
            .unwrap_or_default()
    }

    fn changed(mut self, change: impl FnOnce(&mut Vec<Bson>)) -> Self {
        if let Ok(members) = self.0.get_array_mut("members") {
            change(members);
        }
        let version = number(self.0.get("version")).unwrap_or_default();
        self.0.insert("version", version + 1);
        self
    }
}

/// The state of a number of `replSetGetStatus`.
fn state(number: i64) -> State {
    match number {
        1 => State::Primary,
        2 => State::Secondary,
        _ => State::Other,
    }
}

fn is_host(member: &Bson, host: &str) -> bool {
    member
        .as_document()
        .and_then(|member| member.get_str("host").ok())
        .is_some_and(|other| other.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SetConfig {
        SetConfig::read(&doc! { "config": {
            "_id": "mdb",
            "version": 4,
            "term": 2_i64,
            "members": [
                { "_id": 0, "host": "mdb-0:1", "priority": 1.0, "votes": 1, "tags": { "a": "b" } },
                { "_id": 1, "host": "mdb-1:1", "priority": 0.0, "votes": 0 },
            ],
            "settings": { "electionTimeoutMillis": 10000 },
        }})
        .unwrap()
    }

    #[test]
    fn a_new_member_neither_votes_nor_can_be_elected() {
        let changed = config().with(2, "mdb-2:1").into_document();
        assert_eq!(changed.get("version"), Some(&Bson::Int64(5)));
        let members = changed.get_array("members").unwrap();
        assert_eq!(
            members[2],
            doc! { "_id": 2_i64, "host": "mdb-2:1", "priority": 0, "votes": 0 }.into()
        );
        assert_eq!(members[..2], *config().members());
    }

    #[test]
    fn a_member_gets_a_free_number_if_its_own_is_taken() {
        let changed = config()
            .without("mdb-0:1")
            .with(1, "mdb-7:1")
            .into_document();
        let members = changed.get_array("members").unwrap();
        assert_eq!(
            members[1].as_document().unwrap().get("_id"),
            Some(&Bson::Int64(0))
        );
    }

    #[test]
    fn a_member_that_is_there_is_not_added_twice() {
        assert_eq!(config().with(1, "MDB-1:1").members(), config().members());
    }

    #[test]
    fn a_member_with_a_vote_can_be_elected() {
        let changed = config().with_vote("mdb-1:1").into_document();
        let member = changed.get_array("members").unwrap()[1]
            .as_document()
            .unwrap()
            .clone();
        assert_eq!(
            member,
            doc! { "_id": 1, "host": "mdb-1:1", "priority": 1, "votes": 1 }
        );
    }

    #[test]
    fn all_else_stays_as_it_was() {
        let changed = config().without("mdb-1:1").into_document();
        assert_eq!(
            changed.get_array("members").unwrap()[..],
            config().members()[..1]
        );
        assert_eq!(
            changed.get("settings"),
            config().into_document().get("settings")
        );
        assert_eq!(changed.get("term"), Some(&Bson::Int64(2)));
    }

    #[test]
    fn peers_are_the_members_with_names_of_our_pods_and_their_states() {
        let names: MemberNames = "mdb-{ordinal}:1".parse().unwrap();
        let status = doc! { "members": [
            { "name": "mdb-0:1", "state": 1 },
            { "name": "mdb-1:1", "state": 5 },
            { "name": "other:1", "state": 2 },
        ]};
        let peers = config().with(3, "other:1").peers(&status, &names).unwrap();
        let expected = [
            (
                0,
                Peer {
                    standing: Standing::Voter,
                    state: State::Primary,
                },
            ),
            (
                1,
                Peer {
                    standing: Standing::Joining,
                    state: State::Other,
                },
            ),
        ];
        assert_eq!(peers, BTreeMap::from(expected));
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error() {
        assert_eq!(SetConfig::read(&doc! {}), Err(ShapeError("config")));
        let no_members = doc! { "config": { "version": 1 } };
        assert_eq!(SetConfig::read(&no_members), Err(ShapeError("members")));
        assert_eq!(
            config().peers(&doc! {}, &"a{ordinal}:1".parse().unwrap()),
            Err(ShapeError("members"))
        );
    }
}
