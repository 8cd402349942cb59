//! Tokens from an invite code, for a member whom a relay has shut out: who was away while the group's
//! token was replaced and the old one revoked can't read the new one at that relay.
//!
//! > Such a token is used in the place of the very one that the policy had then. As soon as the policy
//! > has another one, that is used again. What is of no use any more is not kept: where the policy has
//! > another token or no such relay, or the group was left and all is said. A code that has expired
//! > gives none.

use minicbor::{Decode, Encode};
use protocol::{
    codec,
    group::{Group, GroupState},
    ids::{GroupId, Timestamp},
    invite::InviteCode,
    relay_log::{RelayPass, RelayToken},
};

use super::{
    Core, VerbError,
    joins::{has_ended, view},
    membership::is_active,
    relays::group_relays,
};
use crate::{
    api::types::{JoinState, JoinView},
    net::relay::Under,
    store::{JoinRow, Store, StoreError},
};

/// A token that is used in the place of a group's own.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub(super) struct Pass {
    #[n(0)]
    group: GroupId,
    /// The hash of the token that the policy had, if it had one.
    #[n(1)]
    instead: Under,
    #[n(2)]
    pass: RelayPass,
}

impl Pass {
    /// Whether a group uses that relay still, and its policy has the token in whose place this is.
    fn is_for(&self, group: &Group) -> bool {
        let relay = &self.pass.relay;
        group.policy().token(relay).map(RelayToken::hash) == self.instead
            && group_relays(group).iter().any(|it| it.peer_id.to_bytes() == *relay)
    }
}

/// The store's name for them.
const PASSES: &str = "relay tokens of codes";

/// How many are kept; the oldest make room.
const MOST: usize = 256;

/// Those that were taken before.
pub(super) fn load(store: &mut Store) -> Result<Vec<Pass>, StoreError> {
    match store.read(|tx| tx.meta(PASSES))? {
        Some(bytes) => codec::decode(&bytes).map_err(|_| StoreError::Damaged),
        None => Ok(Vec::new()),
    }
}

impl Core {
    /// Takes the tokens of a code for relays that do not take those of a group that this node is in;
    /// `None`: there is none of use.
    pub(super) fn take_passes(
        &mut self,
        id: GroupId,
        code: &InviteCode,
        now: Timestamp,
    ) -> Result<Option<JoinView>, VerbError> {
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let policy = group.policy();
        let hash = |relay: &[u8]| policy.token(relay).map(RelayToken::hash);
        let of_use = |pass: &&RelayPass| {
            let mut relays = group_relays(group).into_iter();
            relays.any(|relay| relay.peer_id.to_bytes() == pass.relay)
                && self.is_shut_out(id, &pass.relay)
                && self.pass_or(id, policy.token(&pass.relay), &pass.relay) != Some(&pass.token)
        };
        let taken: Vec<Pass> = code
            .tokens
            .iter()
            .filter(of_use)
            .map(|pass| Pass { group: id, instead: hash(&pass.relay), pass: pass.clone() })
            .collect();
        if taken.is_empty() {
            return Ok(None);
        }
        if has_ended(code, now) {
            return Err(VerbError::Expired);
        }
        let mut passes = self.passes.clone();
        passes.retain(|old| {
            old.group != id || taken.iter().all(|new| new.pass.relay != old.pass.relay)
        });
        passes.extend(taken);
        passes.drain(..passes.len().saturating_sub(MOST));
        let bytes = zeroize::Zeroizing::new(codec::encode(&passes));
        let row = JoinRow {
            id: code.secret.id(),
            code: None,
            state: JoinState::Joined,
            detail: String::new(),
            exit: None,
            group: Some(id),
            started: now,
            request: None,
        };
        let shown = self.record(now, |step| {
            step.tx.put_meta(PASSES, &bytes)?;
            step.tx.put_join(&row)?;
            view(step.tx, &row)
        })?;
        self.passes = passes;
        self.after.logs = true;
        self.finish(now);
        Ok(Some(shown))
    }

    /// Lets go of those that are of no use any more.
    pub(super) fn drop_passes(&mut self) -> Result<(), StoreError> {
        let Self { passes, groups, unloaded, store, .. } = self;
        let mut kept = Vec::new();
        for pass in passes.iter() {
            let is_kept = match groups.get(&pass.group) {
                None => unloaded.contains(&pass.group),
                Some(group) if !pass.is_for(group) => false,
                Some(group) => {
                    is_active(group)
                        || group.state() == GroupState::Removed && group.listens()
                        || store.read(|tx| tx.has_outbox(pass.group))?
                }
            };
            if is_kept {
                kept.push(pass.clone());
            }
        }
        if kept.len() == passes.len() {
            return Ok(());
        }
        let bytes = zeroize::Zeroizing::new(codec::encode(&kept));
        store.transaction(|tx| tx.put_meta(PASSES, &bytes))?;
        *passes = kept;
        Ok(())
    }

    /// The token for a relay that was taken from a code in the place of this one, or else this one.
    pub(super) fn pass_or<'a>(
        &'a self,
        group: GroupId,
        token: Option<&'a RelayToken>,
        relay: &[u8],
    ) -> Option<&'a RelayToken> {
        let mut passes = self.passes.iter();
        let taken = passes.find(|it| it.group == group && it.pass.relay == relay);
        let taken = taken.filter(|it| it.instead == token.map(RelayToken::hash));
        taken.map(|it| &it.pass.token).or(token)
    }
}
