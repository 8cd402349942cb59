//! Circuits through relays, for streams of files: members are asked to come to one, and ask. They are made by
//! [`crate::files`].
//!
//! > Who is asked comes for a file that it has and the asker may have, by a relay that the group's own policy names, or
//! > not at all. No address is taken from who asks.

use protocol::{
    group::{Circuit, CircuitKey, Group},
    ids::{GroupId, MemberId, Timestamp},
};

use super::{Core, membership::is_active, relays::group_relays};
use crate::{
    net::{Reach, relay::RelayPeer},
    store::StoreError,
};

/// A member waits for this node at a relay.
pub struct Summons {
    /// Who.
    pub member: MemberId,
    /// Where.
    pub relay: RelayPeer,
    /// The key under which it waits.
    pub place: [u8; 32],
    /// The key to come with.
    pub key: CircuitKey,
}

/// What a member has asked, as it came.
pub(super) struct Asked {
    pub(super) group: GroupId,
    pub(super) from: MemberId,
    pub(super) circuit: Circuit,
    pub(super) key: CircuitKey,
}

/// What was asked and is not looked at yet; the oldest goes.
const ASKED: usize = 16;

impl Core {
    /// The relays of a group that are connected; or why there are none, in words.
    pub fn connected_relays(&self, group: GroupId) -> Result<Vec<RelayPeer>, String> {
        if self.options.reach == Reach::Local {
            return Err("this node is for local networks only (--lan-only)".into());
        }
        let group = self.groups.get(&group).filter(|group| is_active(group));
        let group = group.ok_or("this node is in the group no more")?;
        let mut relays = group_relays(group);
        if relays.is_empty() {
            return Err("the group has no relay".into());
        }
        relays.retain(|relay| self.is_served(group, &relay.peer_id));
        if relays.is_empty() {
            Err("no relay of the group is connected".into())
        } else {
            Ok(relays)
        }
    }

    /// The relays by which a member can be asked to come to a circuit; or why there are none, in words.
    pub fn circuit_relays(
        &self,
        group: GroupId,
        member: &MemberId,
    ) -> Result<Vec<RelayPeer>, String> {
        let relays = self.connected_relays(group)?;
        let can_be_told = |group: &Group| group.may_ask_circuit(member);
        self.groups.get(&group).is_some_and(can_be_told).then_some(relays).ok_or_else(untold)
    }

    /// Tells a member that this node waits for it at a relay; gives the key with which it comes, or says why it was not
    /// told.
    pub fn ask_circuit(
        &mut self,
        group: GroupId,
        member: MemberId,
        circuit: &Circuit,
        now: Timestamp,
    ) -> Result<Result<CircuitKey, String>, StoreError> {
        if !self.groups.contains_key(&group) {
            return Ok(Err("this node is in the group no more".into()));
        }
        let asked = self.step(group, now, |group: &mut Group, step| {
            Ok::<_, StoreError>(group.ask_circuit(step.cx(), member, circuit))
        })?;
        self.finish(now);
        Ok(asked.ok_or_else(untold))
    }

    /// Where members wait for this node since this was asked last, each for a file that it may have of this node. Of whom the
    /// store can't say that now, it is asked again the next time.
    pub fn summons(&mut self) -> Result<Vec<Summons>, StoreError> {
        let mut summons = Vec::new();
        // Who asked last waits most likely: of those who do not, each costs a connection.
        while let Some(asked) = self.asked.pop_back() {
            match self.given_to(&asked.from, asked.circuit.file) {
                Ok(Some(_)) => {}
                Ok(None) => continue,
                Err(error) => {
                    self.asked.push_back(asked);
                    return if summons.is_empty() { Err(error) } else { Ok(summons) };
                }
            }
            // Where the group can't be used any more, no relay of it can.
            let relays = self.connected_relays(asked.group).unwrap_or_default();
            let relay = relays.into_iter().find(|it| it.peer_id.to_bytes() == asked.circuit.relay);
            summons.extend(relay.map(|relay| Summons {
                member: asked.from,
                relay,
                place: asked.circuit.place,
                key: asked.key,
            }));
        }
        Ok(summons)
    }

    pub(super) fn note_asked(&mut self, asked: Asked) {
        // Who asks anew for a file waits where it said last.
        let same = |it: &Asked| {
            (it.group, it.from, it.circuit.file) == (asked.group, asked.from, asked.circuit.file)
        };
        self.asked.retain(|it| !same(it));
        if self.asked.len() >= ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back(asked);
    }
}

fn untold() -> String {
    "where the inbox is of who may have it is not known yet".into()
}
