//! How a group is conducted: its policy, what it shares of its history, and its audit log.

use protocol::{
    audit::{AuditError, Fact, Verifier},
    group::ShareError,
    ids::{GroupId, MemberId, OpId, Timestamp},
    limits,
    membership::Policy,
};

use super::{Core, VerbError, membership::member_ref, tokens::give_token, words};
use crate::{
    api::{
        conduct::{
            AuditEntry, AuditPage, AuditReport, ConductView, PeerAnchor, PolicyView, SetConduct,
            SetPolicy, SharedHistory,
        },
        types::{GroupRef, MemberRef, VERSION},
    },
    net::address,
    store::{StoreError, hex, rfc3339},
};

/// Messages that are shared at once, at most.
pub const SHARE_MAX: u32 = 1_000;

/// Entries of the audit log in one answer, at most.
pub const AUDIT_PAGE: u32 = 500;

/// Has a group use other relays. Of tokens those for relays of before and of now stay: both are read.
fn move_to(policy: &mut Policy, relays: &[String]) -> Result<(), VerbError> {
    if let Some(bad) = address::no_relay(relays) {
        return Err(VerbError::BadRelay { address: bad.into() });
    }
    if relays.len() > limits::POLICY_RELAYS {
        return Err(VerbError::TooManyRelays);
    }
    let both = address::relays(policy.relays.iter().chain(relays).map(String::as_str));
    let keys: Vec<Vec<u8>> = both.iter().map(|relay| relay.peer_id.to_bytes()).collect();
    let passes: Vec<Vec<u8>> =
        policy.tokens.iter().flatten().map(|pass| pass.relay.clone()).collect();
    for unused in passes.iter().filter(|relay| !keys.contains(relay)) {
        policy.set_token(unused, None);
    }
    policy.relays = relays.to_vec();
    Ok(())
}

impl Core {
    /// A group's policy.
    pub fn policy(&mut self, reference: &str) -> Result<PolicyView, VerbError> {
        let id = self.find_group(reference)?;
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let policy = group.policy();
        Ok(PolicyView {
            v: VERSION,
            group: GroupRef { id: id.to_string(), name: policy.name.clone() },
            relays: policy.relays.clone(),
            evict_after: policy.evict_after_ms.map(|ms| ms / 1000),
            rotate_on_disconnect: policy.rotate_on_disconnect_ms.map(|ms| ms / 1000),
            share_history: policy.shares_history(),
            pair: group.is_pair(),
            relay_tokens: policy
                .tokens
                .iter()
                .flatten()
                .filter_map(|pass| address::peer_text(&pass.relay))
                .collect(),
        })
    }

    /// Changes a group's policy where `change` says something.
    pub fn set_policy(
        &mut self,
        reference: &str,
        change: &SetPolicy,
        now: Timestamp,
    ) -> Result<PolicyView, VerbError> {
        let id = self.find_group(reference)?;
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let mut policy = group.policy().clone();
        let time = |seconds: u64| (seconds > 0).then(|| seconds.saturating_mul(1000));
        if let Some(seconds) = change.evict_after {
            policy.evict_after_ms = time(seconds);
        }
        if let Some(seconds) = change.rotate_on_disconnect {
            policy.rotate_on_disconnect_ms = time(seconds);
        }
        if let Some(share) = change.share_history {
            policy.history = share.then_some(1);
        }
        if let Some(relays) = &change.relays {
            move_to(&mut policy, relays)?;
        }
        if let Some(given) = &change.relay_token {
            give_token(&mut policy, given)?;
        }
        if !policy.check() {
            return Err(VerbError::BadTime);
        }
        if policy != *group.policy() {
            self.act(id, now, |group, step| group.set_policy(step.cx(), policy))?;
        }
        self.policy(reference)
    }

    /// What a group's admins ask of everybody's nodes.
    pub fn conduct(&mut self, reference: &str) -> Result<ConductView, VerbError> {
        let id = self.find_group(reference)?;
        let of = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let group = GroupRef { id: id.to_string(), name: of.policy().name.clone() };
        let conduct = of.conduct();
        Ok(ConductView {
            v: VERSION,
            group,
            disappear: conduct.expires_s,
            receipts: conduct.receipts,
            typing: conduct.typing,
        })
    }

    /// Changes it where `change` says something.
    pub fn set_conduct(
        &mut self,
        reference: &str,
        change: &SetConduct,
        now: Timestamp,
    ) -> Result<ConductView, VerbError> {
        let id = self.find_group(reference)?;
        let of = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let mut conduct = *of.conduct();
        if let Some(seconds) = change.disappear {
            conduct.expires_s = (seconds > 0).then_some(seconds);
        }
        conduct.receipts = change.receipts.unwrap_or(conduct.receipts);
        conduct.typing = change.typing.unwrap_or(conduct.typing);
        if !conduct.check() {
            return Err(VerbError::BadDisappear);
        }
        if conduct != *of.conduct() {
            self.act(id, now, |group, step| group.set_conduct(step.cx(), conduct))?;
        }
        self.conduct(reference)
    }

    /// Shares the last messages that this node has with the group's members of this moment.
    pub fn share_history(
        &mut self,
        reference: &str,
        last: u32,
        now: Timestamp,
    ) -> Result<SharedHistory, VerbError> {
        let id = self.find_group(reference)?;
        self.may_send(&id)?;
        let (mut shared, mut skipped) = (0, 0);
        let with = self.step(id, now, |group, step| {
            let records = step.tx.signed_records(id, last.min(SHARE_MAX))?;
            let mut left = records.as_slice();
            loop {
                let told = match group.share(step.cx(), left) {
                    Ok(told) => told,
                    // What is shared is shared: the rest may be asked for again.
                    Err(_) if shared > 0 => break,
                    Err(ShareError::NotAllowed) => return Err(VerbError::NoSharing),
                    Err(ShareError::Send(reason)) => {
                        return Err(VerbError::NotNow { reason: reason.to_string() });
                    }
                };
                shared += told.count as u64;
                skipped += (told.taken - told.count) as u64;
                left = left.get(told.taken..).unwrap_or_default();
                step.settle(group)?;
                if left.is_empty() {
                    break;
                }
            }
            Ok::<_, VerbError>(group.audience())
        })?;
        self.finish(now);
        let members = self.groups.get(&id).map(protocol::group::Group::members).unwrap_or_default();
        let with: Vec<MemberRef> =
            members.iter().filter(|member| with.contains(&member.id)).map(member_ref).collect();
        Ok(SharedHistory { v: VERSION, shared, skipped, with })
    }

    /// A page of a group's audit log, from this entry on.
    pub fn audit(
        &mut self,
        reference: &str,
        from: Option<u64>,
        limit: u32,
    ) -> Result<AuditPage, VerbError> {
        let id = self.find_group(reference)?;
        let limit = limit.min(AUDIT_PAGE);
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let from = from.unwrap_or_else(|| group.audit_next().saturating_sub(u64::from(limit)));
        let entries = self.store.read(|tx| tx.audit(id, from, limit))?;
        let entries = entries
            .iter()
            .map(|bytes| {
                let entry = protocol::audit::Entry::from_bytes(bytes).ok_or(StoreError::Damaged)?;
                Ok(AuditEntry {
                    seq: entry.seq,
                    at: rfc3339(entry.at),
                    event: entry.fact.word().into(),
                    text: self.told(id, &entry.fact),
                    entry: hex(bytes),
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(AuditPage { v: VERSION, group: self.group_ref(id), entries })
    }

    /// Checks a group's audit log, against itself and against what bundles tell of it.
    pub fn verify_audit(&mut self, reference: &str) -> Result<AuditReport, VerbError> {
        let id = self.find_group(reference)?;
        let group = self.groups.get(&id).ok_or(StoreError::Damaged)?;
        let me = self.me.member();
        let own = group.anchors(&me).into_iter().map(|anchor| (anchor.head, anchor.at));
        let mut verifier = Verifier::new(id, me, own);
        let peers = group
            .members()
            .iter()
            .filter(|member| member.id != me)
            .filter_map(|member| {
                let anchor = group.anchors(&member.id).pop()?;
                Some(PeerAnchor {
                    member: member_ref(member),
                    at: rfc3339(anchor.at),
                    head: hex(&anchor.head),
                })
            })
            .collect();
        let (next, group) = (group.audit_next(), self.group_ref(id));
        let checked = self.store.read(|tx| {
            let mut from = 0;
            loop {
                let page = tx.audit(id, from, AUDIT_PAGE)?;
                if page.is_empty() {
                    return Ok::<_, StoreError>(verifier.finish());
                }
                for bytes in page {
                    match verifier.push(&bytes) {
                        Ok(entry) => from = entry.seq + 1,
                        Err(error) => return Ok(Err(error)),
                    }
                }
            }
        })?;
        let report = AuditReport { v: VERSION, group, peers, ..AuditReport::default() };
        Ok(match checked {
            Ok(found) if found.next != next => AuditReport {
                error: AuditError::Order { expected: next, found: found.next }.to_string(),
                ..report
            },
            Ok(found) => AuditReport {
                holds: true,
                first: found.first,
                entries: found.next - found.first,
                checkpoints: found.checkpoints,
                anchors: found.anchors,
                ..report
            },
            Err(error) => AuditReport { error: error.to_string(), ..report },
        })
    }

    pub(super) fn group_ref(&self, id: GroupId) -> GroupRef {
        let name = self.groups.get(&id).map(|group| group.policy().name.clone());
        GroupRef { id: id.to_string(), name: name.unwrap_or_default() }
    }

    /// Whom an op is about, where that is not its author.
    fn subject(&self, group: GroupId, op: &OpId, author: &MemberId) -> Option<MemberId> {
        let op = self.groups.get(&group)?.op(op)?;
        op.subject().filter(|member| member != author)
    }

    /// What an entry says, in words, with names where they are known.
    fn told(&self, group: GroupId, fact: &Fact) -> String {
        let name = |member: &MemberId| {
            let card = self.groups.get(&group).and_then(|group| group.card(member));
            let id = member.to_string();
            let short = id.get(..8).unwrap_or_default().to_owned();
            card.map_or(short.clone(), |card| format!("{} ({short})", card.card().name))
        };
        match fact {
            Fact::Checkpoint(_) => "all entries before, signed".into(),
            Fact::Began(run) => format!("run {run}"),
            Fact::Handshake(member) => name(member),
            Fact::Rekey { member, times } => format!("{}, {times} times", name(member)),
            Fact::Certificate { member, until, .. } => {
                format!("{}, until {}", name(member), rfc3339(*until))
            }
            Fact::ChainMade { chain, reason, recipients } => {
                format!("{chain} for {recipients}, because of {}", reason.word())
            }
            Fact::ChainOpened { member, chain, .. } => format!("{chain} of {}", name(member)),
            Fact::ChainClosed { chain, count } => format!("{chain} after {count} messages"),
            Fact::SlotFailed { member, chain } => format!("{chain} of {}", name(member)),
            Fact::SlotRefused { member, chain } => format!("{chain} by {}", name(member)),
            Fact::Sealed { chain, since, with, without } => {
                let of = match since {
                    Some(since) if since == chain => "and".into(),
                    Some(since) => format!("as {since}"),
                    None => "all of".into(),
                };
                let with = with.iter().map(|member| format!(" +{}", name(member)));
                let without = without.iter().map(|member| format!(" -{}", name(member)));
                format!("{chain} to {of}{}", with.chain(without).collect::<String>())
            }
            Fact::OpAccepted { op, kind, author } => {
                let (what, of) = (words::op(*kind), self.subject(group, op, author));
                let of =
                    of.as_ref().map_or_else(String::new, |member| format!(" {}", name(member)));
                format!("{what}{of}, by {} ({})", name(author), short(&op.to_string()))
            }
            Fact::OpVoid { op, kind, author, why } => {
                let (what, of) = (words::op(*kind), self.subject(group, op, author));
                let of =
                    of.as_ref().map_or_else(String::new, |member| format!(" {}", name(member)));
                let (op, why) = (op.to_string(), words::void(*why));
                format!("{what}{of}, by {} ({}): {why}", name(author), short(&op))
            }
            Fact::RemovalCut { member, cut } => {
                format!("{}, {} chains", name(member), cut.len())
            }
            Fact::InviteCreated { invite, max_uses, expires } => {
                format!("{invite} for {max_uses}, until {}", rfc3339(*expires))
            }
            Fact::InviteUsed { invite, member } => format!("{invite} by {}", name(member)),
            Fact::InviteRevoked(invite) => invite.to_string(),
            Fact::Equivocation(member) | Fact::Clone(member) => name(member),
            Fact::Rollback => String::new(),
            Fact::Verified { member, verified } => {
                format!("{}: {}", name(member), if *verified { "yes" } else { "no" })
            }
            Fact::HistoryShared { by, count } => format!("{count} messages by {}", name(by)),
            Fact::Other { event, .. } => format!("event {event}"),
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}
