//! What each relay is wanted for.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    ids::{LogId, Timestamp},
    relay_log::LogKeys,
};

use super::{Owner, group_relays};
use crate::{
    core::{Core, former::former_relays, membership::is_active},
    net::{
        Reach, address,
        relay::{RelayKey, RelayPeer},
    },
    store::StoreError,
};

/// One relay, and the logs for which it is.
pub(super) type Wanted = (RelayPeer, BTreeMap<LogId, (LogKeys, Owner)>);

impl Core {
    /// The logs of groups, of the invites that are served, and of the joins under way, by the relays where they are.
    pub(super) fn wanted(
        &mut self,
        now: Timestamp,
    ) -> Result<BTreeMap<RelayKey, Wanted>, StoreError> {
        let mut wanted: BTreeMap<RelayKey, Wanted> = BTreeMap::new();
        if self.options.reach == Reach::Local {
            return Ok(wanted);
        }
        let mut want = |relays: &[RelayPeer], logs: &[(LogKeys, Owner)]| {
            for relay in relays {
                let (peer, known) =
                    wanted.entry(relay.peer_id).or_insert_with(|| (relay.clone(), BTreeMap::new()));
                address::merge(peer, relay);
                known.extend(logs.iter().map(|(keys, owner)| (keys.id(), (keys.clone(), *owner))));
            }
        };
        want(&address::relays(self.options.relays.iter().map(String::as_str)), &[]);
        for group in self.groups.values() {
            let id = group.id();
            // Out of a group, the last words are still said, and it is listened for a way back.
            let out = !is_active(group) && !group.listens();
            if out && !self.store.read(|tx| tx.has_outbox(id))? {
                continue;
            }
            let mut logs: Vec<_> =
                group.logs().into_iter().map(|log| (log.keys, Owner::Group(id))).collect();
            if is_active(group) {
                logs.extend(self.hosted.mailboxes(id));
            }
            if !logs.is_empty() {
                want(&group_relays(group), &logs);
                want(&former_relays(&mut self.store, group, now)?, &logs);
            }
        }
        for (id, relays, keys) in self.joining.mailboxes() {
            want(relays, &[(keys, Owner::Join(id))]);
        }
        Ok(wanted)
    }

    /// Other members' inboxes are open while something is under way to them: there may be more of
    /// them than a relay has open for one client.
    pub(super) fn want_inboxes(&self, wanted: &mut BTreeMap<RelayKey, Wanted>) {
        for (key, (_, logs)) in wanted {
            let Some(relay) = self.relays.get(key) else { continue };
            for log in relay.in_flight.values() {
                if logs.contains_key(log) {
                    continue;
                }
                let inbox =
                    self.groups.values().find_map(|group| Some((group.id(), group.inbox(log)?)));
                if let Some((id, keys)) = inbox {
                    logs.insert(*log, (keys, Owner::Group(id)));
                }
            }
        }
    }

    /// Those of these logs that are read from this node's own first entry on. A mailbox holds what passed between all who
    /// came by one code and its hosts; to who comes it is nothing what passed before. But once it has asked by letter it
    /// reads all of those in which it has said nothing yet: the answer goes to each relay, and may be at one before it is.
    pub(super) fn later(&self, logs: &BTreeMap<LogId, (LogKeys, Owner)>) -> BTreeSet<LogId> {
        let is_meant =
            |owner: Owner| matches!(owner, Owner::Join(id) if !self.joining.has_asked(id));
        logs.iter().filter(|(_, (_, owner))| is_meant(*owner)).map(|(log, _)| *log).collect()
    }
}
