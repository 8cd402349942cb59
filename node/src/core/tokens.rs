//! The tokens of relays' operators: which of them each relay takes, and what that means to the groups
//! and joins that use it.
//!
//! > A token lies in its group's policy, and that in the store, and nowhere else. What is told and
//! > compared of one is its hash.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    group::{Group, Role},
    ids::{GroupId, InviteId, LogId, Timestamp},
    membership::Policy,
    relay_log::RelayToken,
};

use super::{
    Core, VerbError,
    membership::is_active,
    relays::{Owner, Relay, State, group_relays},
};
use crate::{
    api::types::{GiveToken, GroupRelay, JoinState, RelayState, What},
    net::{
        address,
        relay::{DownReason, RelayKey, RelayPeer, TokenFault, Under},
    },
    store::{JoinRow, StoreError},
};

/// What a relay has said of tokens.
#[derive(Default)]
pub(super) struct Tokens {
    /// Whether it opens logs under tokens only.
    wanted: bool,
    /// What was told of each last: that one is taken, of this connection.
    told: BTreeMap<Under, Option<TokenFault>>,
}

impl Tokens {
    /// The relay is connected.
    pub(super) fn up(&mut self, wanted: bool) {
        self.wanted = wanted;
        if !wanted {
            self.told.clear();
        }
    }

    /// The relay is connected no more.
    pub(super) fn down(&mut self) {
        self.told.retain(|_, fault| fault.is_some());
    }

    /// Forgets what no log of the plan is opened under.
    pub(super) fn keep(&mut self, logs: &BTreeSet<LogId>, passes: &BTreeMap<LogId, RelayToken>) {
        let without = (logs.len() > passes.len()).then_some(None);
        let planned: BTreeSet<Under> =
            passes.values().map(|token| Some(token.hash())).chain(without).collect();
        self.told.retain(|under, _| planned.contains(under));
    }

    fn takes(&self, under: Under) -> bool {
        !self.wanted || self.told.get(&under) == Some(&None)
    }

    fn fault(&self, under: Under) -> Option<TokenFault> {
        self.told.get(&under).copied().flatten()
    }
}

/// Puts a token into a policy, in the place of the one that was there for its relay.
pub(super) fn give_token(policy: &mut Policy, given: &GiveToken) -> Result<(), VerbError> {
    let token = RelayToken::parse(&given.token)?;
    let relays = address::relays(policy.relays.iter().map(String::as_str));
    let asked = given.relay.as_deref();
    let is_meant = |relay: &&RelayPeer| {
        asked.is_none_or(|asked| {
            relay.peer_id.to_string() == asked || address::texts(relay).iter().any(|it| it == asked)
        })
    };
    let mut meant = relays.iter().filter(is_meant);
    match (meant.next(), meant.next(), asked) {
        (Some(relay), None, _) => {
            policy.set_token(&relay.peer_id.to_bytes(), Some(token));
            Ok(())
        }
        (Some(_), Some(_), _) => Err(VerbError::WhichRelay { relays: relays.len() }),
        (None, _, Some(asked)) => Err(VerbError::NotItsRelay { asked: asked.into() }),
        (None, _, None) => Err(VerbError::NoRelay),
    }
}

impl Core {
    /// The token under which somebody's logs are opened at the relay with these PeerId bytes.
    pub(super) fn token_of(&self, owner: Owner, relay: &[u8]) -> Option<&RelayToken> {
        let group = match owner {
            Owner::Group(id) => id,
            Owner::Invite(id) => self.hosted.invites.get(&id)?.row.group,
            Owner::Join(id) => {
                let mut tokens = self.joining.0.get(&id)?.code.tokens.iter();
                return tokens.find(|pass| pass.relay == relay).map(|pass| &pass.token);
            }
        };
        self.pass_or(group, self.groups.get(&group)?.policy().token(relay), relay)
    }

    /// Whether the relay with these PeerId bytes wants a token and does not take a group's.
    pub(super) fn is_shut_out(&self, group: GroupId, relay: &[u8]) -> bool {
        let under = self.token_of(Owner::Group(group), relay).map(RelayToken::hash);
        let mut known = self.relays.iter().filter(|(key, _)| key.to_bytes() == relay);
        known.any(|(_, relay)| relay.of(under).2.is_some())
    }

    fn under(&self, owner: Owner, relay: &RelayKey) -> Under {
        self.token_of(owner, &relay.to_bytes()).map(RelayToken::hash)
    }

    /// Whether a relay is connected and opens somebody's logs.
    pub(super) fn serves(&self, key: &RelayKey, owner: Owner) -> bool {
        let Some(relay) = self.relays.get(key) else { return false };
        matches!(relay.state, State::Up)
            && (!relay.tokens.wanted || relay.tokens.takes(self.under(owner, key)))
    }

    /// How each of a group's relays stands with it.
    pub(super) fn relay_states(&self, group: &Group) -> Vec<GroupRelay> {
        if !is_active(group) {
            return Vec::new();
        }
        let owner = Owner::Group(group.id());
        let shown = |peer: RelayPeer| {
            let under = self.under(owner, &peer.peer_id);
            let known = self.relays.get(&peer.peer_id);
            let (state, reason, fault) =
                known.map_or((RelayState::Connecting, String::new(), None), |it| it.of(under));
            let hint = fault.map(|fault| self.hint(group, fault)).unwrap_or_default().into();
            let address = address::texts(&peer).into_iter().next().unwrap_or_default();
            let wants_token = fault.is_some() || known.is_some_and(|it| it.tokens.wanted);
            let peer = peer.peer_id.to_string();
            GroupRelay { address, state, reason, hint, peer, wants_token }
        };
        group_relays(group).into_iter().map(shown).collect()
    }

    /// A relay has said how it stands with a token.
    pub(super) fn token_stands(
        &mut self,
        key: &RelayKey,
        under: Under,
        fault: Option<TokenFault>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(relay) = self.relays.get_mut(key) else { return Ok(()) };
        relay.tokens.told.insert(under, fault);
        self.after.members = true;
        match fault {
            None => {
                self.refused_due_at(key, now);
                self.joins_on_relay(key, now)?;
            }
            Some(fault) => {
                self.joins_shut_out(key, under, fault, now)?;
                self.tell_cut_off(key, now)?;
            }
        }
        self.tell_token(key, |it| it == under, fault, now)?;
        Ok(())
    }

    /// Tells groups what is known already of the token that they have now: where others have it, too, or
    /// have none either, the relay does not say it again.
    pub(super) fn tell_known(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let is_closed = |key: &RelayKey| self.closed.keys().any(|(_, closed)| closed == key);
        let known: Vec<(RelayKey, Under, Option<TokenFault>)> = self
            .relays
            .iter()
            .flat_map(|(key, relay)| {
                relay.tokens.told.iter().map(move |(it, fault)| (*key, *it, *fault))
            })
            .filter(|(key, _, fault)| fault.is_some() || is_closed(key))
            .collect();
        for (key, under, fault) in known {
            if !self.tell_token(&key, |it| it == under, fault, now)? {
                continue;
            }
            match fault {
                None => self.refused_due_at(&key, now),
                Some(_) => self.tell_cut_off(&key, now)?,
            }
        }
        Ok(())
    }

    /// Tells groups that a relay takes their token or not, where they were told something else; whether
    /// any were.
    pub(super) fn tell_token(
        &mut self,
        key: &RelayKey,
        is_meant: impl Fn(Under) -> bool,
        fault: Option<TokenFault>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut told: Vec<(GroupId, What)> = Vec::new();
        for group in self.groups.values().filter(|group| is_active(group)) {
            let id = group.id();
            let known = self.closed.get(&(id, *key)).copied();
            if known == fault || !is_meant(self.under(Owner::Group(id), key)) {
                continue;
            }
            let Some(peer) = group_relays(group).into_iter().find(|it| it.peer_id == *key) else {
                continue;
            };
            let relay = address::texts(&peer).into_iter().next().unwrap_or_default();
            let what = match fault {
                None => What::RelayOpened { relay },
                Some(fault) => What::RelayClosed {
                    relay,
                    reason: fault.to_string(),
                    hint: self.hint(group, fault).into(),
                },
            };
            told.push((id, what));
        }
        for (id, _) in &told {
            match fault {
                Some(fault) => drop(self.closed.insert((*id, *key), fault)),
                None => drop(self.closed.remove(&(*id, *key))),
            }
        }
        if told.is_empty() {
            return Ok(false);
        }
        self.record(now, |step| told.into_iter().try_for_each(|(id, it)| step.emit(Some(id), it)))?;
        Ok(true)
    }

    /// Joins that wait for this relay say why it is of no use to them.
    fn joins_shut_out(
        &mut self,
        key: &RelayKey,
        under: Under,
        fault: TokenFault,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let detail = match fault {
            TokenFault::Missing => {
                "the relay wants a token, and the invite has none: ask for a new invite"
            }
            TokenFault::Refused => {
                "the relay does not take the invite's token, or no longer: ask for a new invite"
            }
            TokenFault::Spent => "what the relay's token grants is in use; trying again",
        };
        let waiting: Vec<InviteId> = self
            .joining
            .0
            .iter()
            .filter(|(_, it)| it.uses(key) && it.row.state == JoinState::Connecting)
            .filter(|(id, it)| {
                it.row.detail != detail && self.under(Owner::Join(**id), key) == under
            })
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let Some(attempt) = self.joining.0.get(&id) else { continue };
            let row = JoinRow { detail: detail.into(), ..attempt.row.clone() };
            self.tell_join(&row, now)?;
            if let Some(attempt) = self.joining.0.get_mut(&id) {
                attempt.row = row;
            }
        }
        Ok(())
    }

    /// What to do about a token that a relay does not take.
    fn hint(&self, group: &Group, fault: TokenFault) -> &'static str {
        let me = self.me.member();
        let is_admin =
            group.members().iter().any(|member| member.id == me && member.role != Role::Member);
        match (fault, is_admin) {
            (TokenFault::Missing, true) => {
                "ask its operator for one, then: wattle group policy GROUP --relay-token-file FILE"
            }
            (TokenFault::Refused, true) => {
                "ask its operator for a new one, then: wattle group policy GROUP \
                 --relay-token-file FILE"
            }
            (TokenFault::Missing | TokenFault::Refused, false) => {
                "ask an admin of the group, who gives it another one; if that doesn't come by itself, \
                 wattle join with a new invite code of this group takes it"
            }
            (TokenFault::Spent, _) => "it is tried again; its operator can grant more",
        }
    }
}

impl Relay {
    /// How it stands with what is opened under a token, in words, and what is wrong with that.
    fn of(&self, under: Under) -> (RelayState, String, Option<TokenFault>) {
        let shut_out = matches!(self.state, State::Down { reason: DownReason::NoToken(_), .. });
        let fault = match &self.state {
            State::Down { .. } if !shut_out => None,
            State::Down { .. } if under.is_none() => Some(TokenFault::Missing),
            _ => self.tokens.fault(under),
        };
        match &self.state {
            _ if fault.is_some() => {
                let words = fault.map(|it| it.to_string()).unwrap_or_default();
                (RelayState::Down, words, fault)
            }
            State::Up if self.tokens.takes(under) => (RelayState::Up, String::new(), None),
            State::Down { reason, .. } if !shut_out => (RelayState::Down, reason.to_string(), None),
            // It has not said so yet.
            _ => (RelayState::Connecting, String::new(), None),
        }
    }
}
